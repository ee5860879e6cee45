"""The shape of the code: what a file says first, how long it may be, what it may be called."""

import ast
import re

import pytest
from tests.house.source import ROOT, Module, modules, our_files

FUNCTION_LINES = 50
FILE_LINES = 400
PARAMETERS = 5
FACE_NAMES = 20

OURS = (*modules(), *modules("tools"), *modules("benchmarks"))
VAGUE = re.compile(r"(^|_)(utils?|helpers?|managers?|base|common|misc|handlers?)($|_)")
VAGUE_CLASS = re.compile(r"(Util|Helper|Manager|Base|Handler)s?$")
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|NotImplemented" + r"Error)\b")


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def positional(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    names = [a.arg for a in (*function.args.posonlyargs, *function.args.args)]
    return len([n for n in names if n not in ("self", "cls")])


def says_what_it_is_for(module: Module) -> bool:
    first = module.text.partition("\n")[0]
    return re.match(r'"""[A-Za-z`].{10,}[.:;,)`](""")?$', first) is not None or module.text == ""


def test_a_module_first_says_what_it_is_for():
    assert [m.name for m in (*OURS, *modules("tests")) if not says_what_it_is_for(m)] == []


def test_functions_are_short():
    long = [
        f"{m.at(f)} {f.name}: {lines_of(f)}"
        for m in OURS
        for f in m.functions()
        if lines_of(f) > FUNCTION_LINES
    ]
    assert long == []


def test_files_are_short():
    sizes = {m.name: m.text.count("\n") for m in OURS}
    assert {name: size for name, size in sizes.items() if size > FILE_LINES} == {}


def is_command(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Its parameters are options of the command line, which names them; nobody calls it otherwise."""
    first = function.args.args[:1]
    return (
        bool(first)
        and first[0].annotation is not None
        and ast.unparse(first[0].annotation) == "typer.Context"
    )


def test_parameters_are_few_before_they_are_named():
    called = [(m, f) for m in OURS for f in m.functions() if not is_command(f)]
    assert [f"{m.at(f)} {f.name}" for m, f in called if positional(f) > PARAMETERS] == []


def test_names_say_something():
    assert [m.name for m in OURS if VAGUE.search(m.path.stem)] == []
    classes = [(m, c) for m in OURS for c in m.walk(ast.ClassDef)]
    assert [f"{m.at(c)} {c.name}" for m, c in classes if VAGUE_CLASS.search(c.name)] == []


def test_a_room_shows_a_small_face():
    faces = {}
    for module in modules("src/paystate/domain"):
        if module.path.name == "__init__.py":
            listed = [n for n in module.walk(ast.Assign) if ast.unparse(n.targets[0]) == "__all__"]
            faces[module.name] = sum(len(n.value.elts) for n in listed)
    assert len(faces) > 5
    assert {name: size for name, size in faces.items() if size > FACE_NAMES} == {}


def test_nothing_is_left_unfinished():
    left = []
    for path in our_files():
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if UNFINISHED.search(line):
                left.append(f"{path.relative_to(ROOT)}:{number}")
    assert left == []


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ('"""Money as whole minor units."""\n', True),
        ('"""Money as whole minor units.\n\nMore.\n"""\n', True),
        ("import os\n", False),
        ('#!/bin/sh\n"""Money as whole minor units."""\n', False),
        ('"""Money"""\n', False),
    ],
)
def test_the_rule_for_first_lines_can_fail(tmp_path, text, good):
    path = tmp_path / "x.py"
    path.write_text(text)
    assert says_what_it_is_for(Module(path)) is good
