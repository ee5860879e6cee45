"""Papers: what is written down is true of this repository, stands alone, and leaves nothing out."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest
from tests.house.source import ROOT, dotted, modules, our_files

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
def reference():
    """The script that writes the reference pages, as a module."""
    spec = importlib.util.spec_from_file_location("write_reference", ROOT / "tools" / "write_reference.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_every_failpoint_is_passed(reference):
    """A constant is passed where it stands, or, imported, in another module."""
    declared: dict[tuple[str, str], str] = {}
    passed: set[tuple[str, str]] = set()
    for module in modules():
        home = {
            alias.name: f"src/{(node.module or '').replace('.', '/')}.py"
            for node in module.walk(ast.ImportFrom)
            for alias in node.names
        }
        for node in module.walk(ast.Assign):
            if isinstance(node.value, ast.Call) and dotted(node.value).rpartition(".")[2] == "declare":
                name = ast.literal_eval(node.value.args[0])
                declared[module.name, ast.unparse(node.targets[0])] = name
        for node in module.walk(ast.Call):
            if dotted(node).rpartition(".")[2] in ("failpoint", "afailpoint"):
                name = ast.unparse(node.args[0])
                passed.add((home.get(name, module.name), name))
    assert {declared[key] for key in set(declared) - passed} == set()
    assert sorted(declared.values()) == sorted(reference.declared_failpoints())


@pytest.mark.parametrize("page", ["jobs", "failpoints"])
def test_the_reference_says_what_the_code_says(reference, page):
    """If this fails: python tools/write_reference.py."""
    assert (ROOT / "docs" / "reference" / f"{page}.md").read_text() == getattr(reference, f"{page}_page")()


def test_every_job_says_what_it_does(reference):
    reference.jobs_page()
    assert {name for name, job in reference.registry.items() if len(job.description) < 10} == set()
    assert len(reference.registry) > 3


def test_every_route_of_the_api_says_what_it_does():
    """In its docstring, which is the text of the OpenAPI document, and by `operation(…)`, which names its problems."""
    verbs = {"get", "post", "patch", "put", "delete"}
    bare, seen = [], 0
    for module in modules("src/paystate/entrypoints/api"):
        for function in module.functions():
            calls = [
                d
                for d in function.decorator_list
                if isinstance(d, ast.Call) and isinstance(d.func, ast.Attribute)
            ]
            route = [d for d in calls if d.func.attr in verbs]
            seen += len(route)
            named = all(any(dotted(k.value) == "operation" for k in d.keywords) for d in route)
            if route and not (named and len(ast.get_docstring(function) or "") > 5):
                bare.append(f"{module.at(function)} {function.name}")
    assert bare == []
    assert seen > 5
