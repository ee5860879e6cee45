"""Papers: what is written down is true of this repository, stands alone, and leaves nothing out."""

import ast
import importlib
import pkgutil
import re
from pathlib import Path

import pytest
from tests.house.source import ROOT, dotted, modules, our_files

import paystate
from paystate.machinery import failpoints
from paystate.machinery.jobs.declare import registry

PAPERS = [p for p in our_files() if p.suffix == ".md"]
ELSEWHERE = re.compile(r"\.\./sha" + r"red|(?<![\w.:/-])/(wo" + r"rk|ro" + r"ot|ho" + r"me)/\w")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
DECISIONS = ROOT / "docs" / "decisions"


def heading_slugs(path: Path) -> set[str]:
    found = re.findall(r"(?m)^#+\s+(.+)$", path.read_text())
    return {re.sub(r"[^\w\- ]", "", h.strip().lower()).replace(" ", "-") for h in found}


def test_no_file_points_to_somebody_s_machine():
    wrong = []
    for path in our_files():
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if ELSEWHERE.search(line):
                wrong.append(f"{path.relative_to(ROOT)}:{number}")
    assert wrong == []


def test_locks_name_no_registry():
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()
        assert "--hash=sha256:" in text
        assert not re.search(r"https?://|--(extra-)?index-url|--find-links", text)


def test_every_link_leads_somewhere():
    broken = []
    for path in PAPERS:
        for target in LINK.findall(path.read_text()):
            if re.match(r"https?://|mailto:", target):
                continue
            name, _, anchor = target.partition("#")
            there = (path.parent / name).resolve() if name else path
            if not there.exists() or (anchor and anchor not in heading_slugs(there)):
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert broken == []
    assert len(PAPERS) > 12


def test_decisions_are_numbered_without_gaps_and_listed():
    numbers = sorted(int(p.name[:4]) for p in DECISIONS.glob("[0-9]*.md"))
    assert numbers == list(range(1, len(numbers) + 1))
    listed = (DECISIONS / "README.md").read_text()
    assert [p.name for p in DECISIONS.glob("*.md") if p.name != "README.md" and p.name not in listed] == []


def names_in(requirements: str) -> set[str]:
    return set(re.findall(r'(?m)^\s*"([a-z0-9-]+)', requirements))


def test_every_runtime_dependency_has_its_reason():
    block = (ROOT / "pyproject.toml").read_text().partition("dependencies = [")[2].partition("\n]")[0]
    written = (ROOT / "docs" / "decisions" / "dependencies.md").read_text()
    rows = set(re.findall(r"(?m)^\| `([a-z0-9-]+)` \|", written))
    assert names_in(block) - rows == set()


@pytest.fixture(scope="module")
def everything_imported() -> None:
    """Every module of the product that may be imported; Alembic's scripts run only inside a migration."""
    for info in pkgutil.walk_packages(paystate.__path__, "paystate."):
        if not info.name.endswith(("__main__", ".env")) and ".versions" not in info.name:
            importlib.import_module(info.name)


def test_every_failpoint_is_passed_and_written_down(everything_imported):
    declared: dict[str, str] = {}
    passed: set[str] = set()
    for module in modules():
        for node in module.walk(ast.Assign):
            if isinstance(node.value, ast.Call) and dotted(node.value).rpartition(".")[2] == "declare":
                declared[ast.unparse(node.targets[0])] = ast.literal_eval(node.value.args[0])
        for node in module.walk(ast.Call):
            if dotted(node) in ("failpoint", "afailpoint"):
                passed.add(ast.unparse(node.args[0]).rpartition(".")[2])
    assert set(declared) - passed == set()
    written = (ROOT / "docs" / "reference" / "failpoints.md").read_text()
    names = set(failpoints.declared())
    assert set(declared.values()) == names
    assert {name for name in names if f"`{name}`" not in written} == set()


def test_every_job_is_written_down(everything_imported):
    written = (ROOT / "docs" / "reference" / "jobs.md").read_text()
    assert {name for name in registry if f"| `{name}` |" not in written} == set()
    assert {name for name, job in registry.items() if len(job.description) < 10} == set()
    assert set(re.findall(r"(?m)^\| `([a-z-]+)` \|", written)) <= set(registry)
