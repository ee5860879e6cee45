"""Writes the figures of the house into its map: files, lines and lengths of functions, floor by floor."""
# ruff: noqa: INP001 - a script, not a package

import ast
import statistics
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "paystate"
MAP = ROOT / "docs" / "architecture.md"
HEAD = "| floor | files | lines | functions | median | nine in ten | longest |"
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
    """Write the table over the one that ends the map."""
    rows = [row(f"`{floor}`", sorted((PACKAGE / floor).rglob("*.py"))) for floor in FLOORS]
    rows.append(row("all", sorted(PACKAGE.rglob("*.py"))))
    before = MAP.read_text().partition(HEAD)[0]
    MAP.write_text("\n".join([f"{before}{HEAD}", "|---|---|---|---|---|---|---|", *rows, ""]))


if __name__ == "__main__":
    main()
