"""Citations: every id and every page that code, tests and docs name is explained in this repository."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache

import pytest
from tests.house.source import ROOT, Module, modules, our_files

from paystate.domain.ledger import templates
from paystate.domain.payments.states import MOVES, State
from paystate.flows import audit, audit_secrets

REFERENCE = ROOT / "docs" / "reference"
FOLDERS = ("src/paystate", "tests", "benchmarks", "tools")
PAGES = ("requirements", "threats", "bad-input", "faults")
LONGEST_LINE = 160

ID = r"(?:BI[1-9]\d*|[A-FJKLMOPQTWX][1-9]\d?)"
DEFINED = re.compile(rf"(?m)^\| ({ID}) \|")
CITED = re.compile(rf"(?<![\w#.+/-])({ID})(?!\w|\.\d)")
"""Up to two digits, but for the corpus: the codes of linters have three."""

FAULTS = re.compile(rf"\bfaults? ((?:{ID}(?:, | and )?)+)")
INVARIANTS = re.compile(r"\binvariants? ((?:\d+(?:, | and )?)+)")
PAGE = re.compile(r"[A-Za-z0-9_][\w-]*\.md\b")


@cache
def defined(page: str) -> tuple[str, ...]:
    """The ids that a page of the reference explains, one row each."""
    return tuple(DEFINED.findall((REFERENCE / f"{page}.md").read_text()))


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading."""
    chapter = (REFERENCE / f"{page}.md").read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in chapter.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def prose(text: str) -> Iterator[tuple[int, str]]:
    """The comments and docstrings of a Python file, with their lines; directives for linters are none."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(words))):
                yield node.lineno, words
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.partition("noqa")[0]


def dangling_ids(words: str) -> list[str]:
    """Ids in these words that no page explains. Only after the word "fault" do B, C and D mean a fault."""
    known = {found for page in PAGES for found in defined(page)}
    wrong = [one for one in CITED.findall(words) if one not in known]
    named = [one for listed in FAULTS.findall(words) for one in re.findall(ID, listed)]
    return wrong + [f"fault {one}" for one in named if one not in defined("faults")]


def dangling_invariants(words: str) -> list[str]:
    """Numbers in these words that are no invariant's."""
    known = {row[0] for row in rows("invariants", "What must hold")}
    return [n for listed in INVARIANTS.findall(words) for n in re.findall(r"\d+", listed) if n not in known]


def every_module() -> list[Module]:
    return [module for folder in FOLDERS for module in modules(folder)]


def test_every_cited_id_is_explained():
    wrong, seen = [], 0
    for module in every_module():
        for line, words in prose(module.text):
            seen += len(CITED.findall(words))
            wrong += [f"{module.name}:{line} {one}" for one in dangling_ids(words)]
        # Cases of the corpus carry their id as a name, not as prose.
        wrong += [
            f"{module.name} {one}" for one in re.findall(r"\bBI\d+\b", module.text) if dangling_ids(one)
        ]
    assert wrong == []
    assert seen > 100


def test_every_cited_invariant_is_one():
    wrong, seen = [], 0
    for module in every_module():
        if module.path.name != "test_house_citations.py":
            seen += len(INVARIANTS.findall(module.text))
            wrong += [f"{module.name}: {one}" for one in dangling_invariants(module.text)]
    assert wrong == []
    assert seen > 10


def test_every_id_that_docs_cite_is_explained():
    wrong = []
    for path in our_files():
        if path.suffix == ".md" and path.parent != ROOT:
            text = path.read_text()
            wrong += [f"{path.name} {one}" for one in (*dangling_ids(text), *dangling_invariants(text))]
    assert wrong == []


def test_a_missing_explanation_would_be_seen():
    assert dangling_ids(f"(T99, BI{200})") == ["T99", f"BI{200}"]
    assert dangling_ids("BI95, T99.") == ["T99"]
    assert dangling_ids("requirements A2, Z9; see E.164, #C0FFEE, F401") == []
    assert dangling_ids("T98 and fault C9") == ["T98", "C9", "fault C9"]
    assert dangling_ids("fault A2") == ["fault A2"]
    assert dangling_invariants("invariants 3, 22 and 23") == ["23"]
    assert list(prose('x = "T99"  # T98\n"""T97"""\n')) == [(2, "T97"), (1, "# T98")]


@pytest.mark.parametrize("page", PAGES)
def test_each_id_is_explained_once(page):
    found = defined(page)
    assert sorted(set(found)) == sorted(found)
    assert len(found) > 20


def test_corpus_facts_and_threats_have_no_gaps():
    assert set(defined("bad-input")) == {f"BI{n}" for n in range(1, 97)}
    assert set(defined("threats")) == {f"F{n}" for n in range(1, 14)} | {f"T{n}" for n in range(1, 59)}


def test_every_page_that_is_named_exists():
    """A name without its folder counts too: nothing may point to papers that only their writer has."""
    ours = {path.name for path in our_files() if path.suffix == ".md"}
    wrong, seen = [], 0
    for path in our_files():
        if path.suffix != ".lock":
            named = PAGE.findall(path.read_text(errors="replace"))
            seen += len(named)
            wrong += [f"{path.relative_to(ROOT)}: {one}" for one in named if one not in ours]
    assert wrong == []
    assert seen > 50


def test_paths_into_the_docs_lead_somewhere():
    named = {
        one
        for module in every_module()
        for one in re.findall(r"\bdocs/[\w/-]+\.md\b", module.text)
        if not (ROOT / one).is_file()
    }
    assert named == set()


def test_the_table_of_moves_is_the_code_s():
    told = [
        (None if row[0] == "–" else State(row[0]), State(row[1])) for row in rows("payment-states", "Moves")
    ]
    assert len(told) == len(set(told))
    assert set(told) == MOVES


def test_the_invariants_are_those_of_the_audit():
    told = {int(row[0]): row[1] for row in rows("invariants", "What must hold")}
    checked = {rule.number: rule.name for rule in audit.RULES}
    assert told == checked | {audit_secrets.NUMBER: audit_secrets.NAME}
    assert [row[0] for row in rows("invariants", "What holds it")] == [str(n) for n in sorted(told)]


def test_each_file_of_an_invariant_is_the_one_that_checks_it():
    for number, _, _, file in rows("invariants", "What must hold"):
        text = (ROOT / "src" / "paystate" / "flows" / f"{file.strip('`')}.py").read_text()
        assert re.search(rf"Rule\(\s*{number},|NUMBER, NAME = {number},", text), (number, file)


def test_every_journal_of_the_code_is_told():
    """One row for each public function of the templates that makes a journal."""
    made = [
        node.name
        for node in ast.parse((ROOT / "src/paystate/domain/ledger/templates.py").read_text()).body
        if isinstance(node, ast.FunctionDef)
        and not node.name.startswith("_")
        and ast.unparse(node.returns or ast.Constant("")) == "Journal"
    ]
    assert all(hasattr(templates, name) for name in made)
    assert len(rows("payment-states", "Journals")) == len(made)


def test_lines_of_the_reference_are_short():
    pages = sorted(REFERENCE.glob("*.md"))
    ours = [p for p in pages if p.stem in (*PAGES, "invariants", "payment-states")]
    long = [
        f"{p.name}:{n}"
        for p in ours
        for n, line in enumerate(p.read_text().splitlines(), 1)
        if len(line) > LONGEST_LINE
    ]
    assert (len(ours), long) == (6, [])
