"""Writes the reference pages that follow from the code: jobs and failpoints."""
# ruff: noqa: INP001 - a script, not a package

import ast
import importlib
import pkgutil
from pathlib import Path

import paystate.flows
from paystate.machinery.jobs.declare import registry

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"

JOBS = """# Jobs

Every scheduled job of Paystate, as its code declares it. Schedules are cron expressions in the installation's time
zone (`PAYSTATE_TIME_ZONE`, UTC by default); an operator may change schedule, time zone, batch size and time-out, or
switch a job off. Each tick runs once over all processes. A job may be run again at any time: what it does twice it
does once.

| job | schedule | time-out | what it does |
|---|---|---|---|
{rows}

Written by `python tools/write_reference.py`.
"""

FAILPOINTS = """# Failpoints

Named places where a test can make the process die, stall or fail. They cost one truth test when none is set and are
refused when `PAYSTATE_ENV=production`.

`PAYSTATE_FAILPOINTS="name=action"`, several separated by `;`. Actions: `kill` (SIGKILL), `exit` or `exit:code`, `raise`,
`sleep:seconds`, `hog:megabytes`. With `@N` only the Nth pass acts, without it every pass:
`PAYSTATE_FAILPOINTS="verify.after_get=kill@2"`. With `PAYSTATE_FAILPOINTS_LOG=file` a point that acts first writes its
name there.

| failpoint | where it stands |
|---|---|
{rows}

Written by `python tools/write_reference.py`.
"""


def jobs_page() -> str:
    """The page of jobs, by name; a job is declared in a flow."""
    for info in pkgutil.iter_modules(paystate.flows.__path__):
        importlib.import_module(f"paystate.flows.{info.name}")
    rows = [
        f"| `{job.name}` | `{job.schedule}` | {job.timeout_seconds} s | {job.description} |"
        for _, job in sorted(registry.items())
    ]
    return JOBS.format(rows="\n".join(rows))


def declared_failpoints() -> dict[str, str]:
    """Each `NAME = declare("name", "meaning")` of the product, by name."""
    found: dict[str, str] = {}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            match node:
                case ast.Assign(value=ast.Call(func=ast.Name(id="declare"), args=[name, meaning])):
                    found[ast.literal_eval(name)] = ast.literal_eval(meaning)
    return dict(sorted(found.items()))


def failpoints_page() -> str:
    """The page of failpoints, by name."""
    rows = [f"| `{name}` | {meaning} |" for name, meaning in declared_failpoints().items()]
    return FAILPOINTS.format(rows="\n".join(rows))


def main() -> None:
    """Write both pages anew."""
    (REFERENCE / "jobs.md").write_text(jobs_page())
    (REFERENCE / "failpoints.md").write_text(failpoints_page())


if __name__ == "__main__":
    main()
