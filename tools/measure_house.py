"""Prints the figures of the house: files, lines and lengths of functions, floor by floor."""
# ruff: noqa: INP001, T201 - a script that prints

import ast
import statistics
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "paystate"
FLOORS = ("entrypoints", "flows", "adapters", "simulators", "migrations", "domain", "machinery", "kit")


def lengths(path: Path) -> list[int]:
    """Lines of each function in the file."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return [
        (n.end_lineno or n.lineno) - n.lineno + 1
        for n in nodes
        if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def row(name: str, files: list[Path]) -> str:
    """One line of the table."""
    functions = sorted(n for file in files for n in lengths(file))
    lines = sum(len(file.read_text().splitlines()) for file in files)
    if not functions:
        return f"| {name} | {len(files)} | {lines:,} | | | | |"
    ninth = functions[int(len(functions) * 0.9)]
    median = int(statistics.median(functions))
    return f"| {name} | {len(files)} | {lines:,} | {len(functions)} | {median} | {ninth} | {functions[-1]} |"


def main() -> None:
    """Print the table as Markdown."""
    print(
        "| floor | files | lines | functions | median | nine in ten | longest |\n|---|---|---|---|---|---|---|"
    )
    for floor in FLOORS:
        print(row(f"`{floor}`", sorted((PACKAGE / floor).rglob("*.py"))))
    print(row("all", sorted(PACKAGE.rglob("*.py"))))


if __name__ == "__main__":
    main()
