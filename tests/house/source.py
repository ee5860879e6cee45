"""Reads our own source as trees and lines, for the rules of the house."""

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "paystate"
TEXT = {
    ".py",
    ".md",
    ".toml",
    ".sh",
    ".html",
    ".js",
    ".css",
    ".svg",
    ".txt",
    ".lock",
    ".yml",
    ".yaml",
    ".json",
    "",
}


@dataclass(frozen=True)
class Module:
    """One Python file of ours."""

    path: Path

    @cached_property
    def name(self) -> str:
        """Its path from the root, as `src/paystate/kit/money.py`."""
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def docstrings(self) -> set[int]:
        """Identities of the constants that are docstrings, which may name what code may not."""
        return {
            id(node.value)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }

    def at(self, node: ast.AST) -> str:
        return f"{self.name}:{getattr(node, 'lineno', 1)}"

    def walk(self, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
        return (node for node in ast.walk(self.tree) if isinstance(node, kinds))

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        return self.walk(ast.FunctionDef, ast.AsyncFunctionDef)  # type: ignore[return-value]

    def strings(self) -> Iterator[ast.Constant]:
        """Every string in the code that is not a docstring."""
        for node in self.walk(ast.Constant):
            if isinstance(node.value, str) and id(node) not in self.docstrings:  # type: ignore[attr-defined]
                yield node  # type: ignore[misc]


@cache
def modules(folder: str = "src/paystate") -> tuple[Module, ...]:
    """Every Python file below the folder, in order."""
    return tuple(Module(path) for path in sorted((ROOT / folder).rglob("*.py")))


def below(*folders: str) -> list[Module]:
    """The modules of the product below these folders (or that are these files), as `kit` or `app.py`."""
    wanted = tuple(f"src/paystate/{folder}" for folder in folders)
    return [m for m in modules() if m.name in wanted or m.name.startswith(tuple(f"{w}/" for w in wanted))]


def besides(*folders: str) -> list[Module]:
    """All others."""
    left_out = set(below(*folders))
    return [m for m in modules() if m not in left_out]


@cache
def our_files() -> tuple[Path, ...]:
    """Every text file that is, or is about to be, in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    return tuple(
        ROOT / name
        for name in sorted(set(filter(None, listed)))
        if Path(name).suffix in TEXT and (ROOT / name).is_file()
    )


def dotted(node: ast.AST) -> str:
    """`a.b.c` of an attribute, a name or a call; "" for anything else."""
    match node:
        case ast.Call(func=func):
            return dotted(func)
        case ast.Attribute(value=value, attr=attr):
            return f"{dotted(value)}.{attr}"
        case ast.Name(id=name):
            return name
        case _:
            return ""
