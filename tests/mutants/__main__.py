"""Runs every mutant: `.venv/bin/python -m tests.mutants [part of a name]`. Exit code 1 when one survives."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.mutants.catalogue import MUTANTS, Mutant, Patch

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 300
COPIED = ("src", "tests", "pyproject.toml")


def main() -> int:
    """Each mutant in a copy of its own; the tests must pass without it and fail with it."""
    wanted = " ".join(sys.argv[1:])
    chosen = [m for m in MUTANTS if wanted in m.name]
    if not chosen:
        print(f"No mutant is called like that. There are: {', '.join(m.name for m in MUTANTS)}")
        return 2
    tests = sorted({test for mutant in chosen for test in mutant.tests})
    print(f"{len(chosen)} mutants; first their {len(tests)} tests without any mistake …", flush=True)
    with tempfile.TemporaryDirectory(prefix="paystate-mutants-") as folder:
        original = Path(folder) / "original"
        _copy(ROOT, original)
        clean = _run(original, tuple(tests))
        if clean.returncode != 0:
            print(clean.stdout[-4000:], "\nThe tests fail without a mutant; nothing was proven.", sep="")
            return 1
        survivors = [mutant.name for mutant in chosen if not _caught(original, mutant)]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} caught.")
    for name in survivors:
        print(f"SURVIVED: {name}")
    return 1 if survivors else 0


def _caught(original: Path, mutant: Mutant) -> bool:
    copy = original.parent / "mutant"
    _copy(original, copy)
    for patch in mutant.patches:
        _apply(copy, patch)
    outcome = _run(copy, mutant.tests)
    shutil.rmtree(copy)
    failed = outcome.returncode == 1
    first = next((line for line in outcome.stdout.splitlines() if line.startswith("FAILED")), "")
    word = "caught  " if failed else f"SURVIVED ({outcome.returncode})"
    print(f"  {word} {mutant.name:34} {first.removeprefix('FAILED ')[:110]}", flush=True)
    if outcome.returncode not in (0, 1):
        print(outcome.stdout[-2000:] + outcome.stderr[-2000:])
    return failed


def _copy(source: Path, target: Path) -> None:
    target.mkdir()
    for name in COPIED:
        path = source / name
        shutil.copytree(path, target / name) if path.is_dir() else shutil.copy(path, target / name)


def _run(copy: Path, tests: tuple[str, ...]) -> "subprocess.CompletedProcess[str]":
    environ = os.environ | {"PYTHONPATH": f"{copy / 'src'}{os.pathsep}{copy}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:randomly", *tests]
    return subprocess.run(
        command, cwd=copy, env=environ, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
    )


def _apply(copy: Path, patch: Patch) -> None:
    path = copy / patch.path
    text = path.read_text()
    if text.count(patch.old) != 1:
        raise SystemExit(f"{patch.path} no longer holds exactly once:\n{patch.old}")
    path.write_text(text.replace(patch.old, patch.new))


if __name__ == "__main__":
    sys.exit(main())
