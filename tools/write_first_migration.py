"""Writes the first migration from the declared schema: run it until the first release, never after."""
# ruff: noqa: INP001 - a script, not a package

import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from alembic.autogenerate import render_python_code
from alembic.migration import MigrationContext
from alembic.operations import ops

from paystate.machinery.db.schema import Ddl, clock_row, ddl, metadata
from paystate.migrations.schema import MODELS

MIGRATIONS = Path(importlib.import_module("paystate.migrations").__file__ or "").parent
FOUNDATION = MIGRATIONS / "foundation"
REVISION = MIGRATIONS / "versions" / "2026_11_20_foundation.py"
LINES = 36
"""What one function holds before its columns go to a function of their own."""

CONTEXT = MigrationContext.configure(dialect_name="postgresql")


@dataclass(frozen=True)
class Part:
    """The tables and triggers that one model declares."""

    name: str
    tables: list[sa.Table]
    triggers: list[Ddl]


def parts() -> list[Part]:
    """One part per model, in an order in which each refers to earlier ones only."""
    modules = [importlib.import_module(name) for name in ("paystate.machinery.db.schema", *MODELS)]
    found = []
    for module in modules:
        own = {value for value in vars(module).values() if isinstance(value, sa.Table)}
        tables = [table for table in metadata.sorted_tables if table in own]
        names = {table.name for table in tables}
        found.append(Part(part_name(module.__name__), tables, [d for d in ddl if table_of(d) in names]))
    assert sum(len(p.tables) for p in found) == len(metadata.tables)
    assert sum(len(p.triggers) for p in found) == len(ddl)
    return found


def table_of(item: Ddl) -> str:
    """The table its trigger stands on; what stands on none comes first of all, beside the clock."""
    match = re.search(r"CREATE TRIGGER .*? ON (\w+)", " ".join(item.postgresql + item.sqlite))
    return match[1] if match else clock_row.name


def part_name(module: str) -> str:
    """`paystate.domain.payments.proof_model` → `payments_proof`; `….payments.model` → `payments`."""
    words = [w for w in module.split(".") if w not in ("paystate", "machinery", "domain", "model", "schema")]
    return "_".join(w.removesuffix("_model") for w in words)


def code_of(op: ops.MigrateOperation) -> str:
    """The operation as Alembic writes it, with booleans that fit both databases."""
    code = render_python_code(ops.UpgradeOps([op]), migration_context=CONTEXT)
    code = re.sub(r"(?m)^\s*#.*$", "", code)
    code = code.replace("server_default=sa.text('false')", "server_default=sa.false()")
    return code.replace("server_default=sa.text('true')", "server_default=sa.true()").strip()


def arguments_of(table: sa.Table) -> tuple[list[str], list[str]]:
    """(each column and constraint as code, the options behind them)."""
    code = code_of(ops.CreateTableOp.from_table(table))
    lines = [line.strip().removesuffix(",") for line in code.splitlines()[1:-1]]
    starts = re.compile(
        r"sa\.(Column|CheckConstraint|ForeignKeyConstraint|PrimaryKeyConstraint|UniqueConstraint)\("
    )
    beside_columns = [c for column in table.columns for c in column.constraints]
    every = {*table.constraints, *beside_columns}
    checks = sorted(check_code(c) for c in every if isinstance(c, sa.CheckConstraint))
    written = [n for n in lines if starts.match(n) and not n.startswith("sa.CheckConstraint")]
    return written + checks, [n for n in lines if not starts.match(n)]


def check_code(check: sa.CheckConstraint) -> str:
    """A check as code; Alembic itself leaves out those that stand beside a column."""
    name = CONTEXT.dialect.identifier_preparer.format_constraint(check)
    return f"sa.CheckConstraint({str(check.sqltext)!r}, name=op.f({name!r}))"


def height(line: str) -> int:
    """About how many lines the formatter makes of it."""
    return 1 if len(line) <= 101 else 3 if len(line) <= 108 else 6


def chunks(items: Iterable[str]) -> list[list[str]]:
    """The items in heaps that fit one function each."""
    heaps: list[list[str]] = [[]]
    used = 0
    for item in items:
        if used + height(item) > LINES:
            heaps.append([])
            used = 0
        heaps[-1].append(item)
        used += height(item)
    return heaps


def table_code(table: sa.Table) -> str:
    """The functions that create one table with its indexes."""
    arguments, options = arguments_of(table)
    indexes = sorted(table.indexes, key=lambda i: str(i.name))
    made = [code_of(ops.CreateIndexOp.from_index(i)) for i in indexes]
    heaps = chunks(arguments)
    if len(heaps) == 1 and sum(map(height, arguments + made)) <= LINES:
        body = [f"op.create_table({', '.join([repr(table.name), *arguments, *options])})", *made]
        return function(f"_{table.name}", "None", body)
    names = [f"_{table.name}_{n}_of_{len(heaps)}" for n in range(1, len(heaps) + 1)]
    spread = [f"*{name}()" for name in names]
    body = [f"op.create_table({', '.join([repr(table.name), *spread, *options])})", *made]
    pieces = [
        function(name, "list[sa.schema.SchemaItem]", [f"return [{', '.join(heap)},]"])
        for name, heap in zip(names, heaps, strict=True)
    ]
    return "\n\n".join([*pieces, function(f"_{table.name}", "None", body)])


def function(name: str, answers: str, body: list[str]) -> str:
    """A function as code."""
    return f"def {name}() -> {answers}:\n" + "\n".join(f"    {line}" for line in body) + "\n"


def trigger_code(triggers: list[Ddl]) -> str:
    """The function that creates the triggers, for either database."""
    return function(
        "_triggers",
        "None",
        [f"run_statements(sqlite={list(i.sqlite)!r}, postgresql={list(i.postgresql)!r})" for i in triggers],
    )


def part_code(part: Part) -> str:
    """One file of the foundation."""
    listed = ", ".join(t.name for t in part.tables)
    calls = [f"_{t.name}()" for t in part.tables] + (["_triggers()"] if part.triggers else [])
    imports = ["import sqlalchemy as sa", "from alembic import op", ""]
    if part.triggers:
        imports.append("from paystate.migrations.statements import run_statements")
    pieces = [
        f'"""The first schema of: {listed}."""\n',
        "\n".join(imports),
        function(
            "create", "None", ['"""Create them in a database that has the parts before this one."""', *calls]
        ),
        *(table_code(t) for t in part.tables),
    ]
    if part.triggers:
        pieces.append(trigger_code(part.triggers))
    return "\n\n".join(pieces)


def revision_code(found: list[Part]) -> str:
    """The revision: every part in its order, then the one row of the clock."""
    names = [p.name for p in found]
    return f'''"""The foundation: every table, index and trigger of the first release."""

from alembic import op

from paystate.migrations.foundation import {", ".join(sorted(names))}

revision = "2026_11_20_foundation"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything in an empty database; a part refers to earlier ones only."""
    for part in ({", ".join(names)}):
        part.create()
    op.execute("INSERT INTO clock (id, offset_us) VALUES (1, 0)")
'''


def main() -> None:
    """Write all files anew and format them."""
    found = parts()
    shutil.rmtree(FOUNDATION, ignore_errors=True)
    FOUNDATION.mkdir()
    REVISION.parent.mkdir(exist_ok=True)
    (FOUNDATION / "__init__.py").write_text(
        '"""The first migration, one file per model; history, not to be edited."""\n'
    )
    for part in found:
        (FOUNDATION / f"{part.name}.py").write_text(part_code(part))
    REVISION.write_text(revision_code(found))
    ruff = [sys.executable, "-m", "ruff"]
    written = [str(FOUNDATION), str(REVISION)]
    subprocess.run([*ruff, "check", "--fix", "--quiet", *written], check=False)  # noqa: S603 - our own files
    subprocess.run([*ruff, "format", "--quiet", *written], check=True)  # noqa: S603 - our own files
    print(f"{len(found)} parts, {sum(len(p.tables) for p in found)} tables")  # noqa: T201 - its report


if __name__ == "__main__":
    main()
