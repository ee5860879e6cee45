"""Time has one source, transactions one owner, money no fractions."""

import ast
import re

from tests.house.source import Module, below, besides, dotted, modules

WALL = re.compile(
    r"(^|\.)(time\.(time|time_ns|localtime|gmtime|ctime|strftime)|datetime\.(now|utcnow|today|fromtimestamp)|date\.today)$"
)
WALL_IMPORTS = {"time", "time_ns", "localtime", "gmtime"}
SQL_TIME = re.compile(
    r"\bnow\(\)|\bcurrent_timestamp\b|\bcurrent_time\b|\bclock_timestamp\b|\bstatement_timestamp\b"
    r"|\b(strftime|julianday|unixepoch|datetime)\('",
    re.IGNORECASE,
)
COMMIT = re.compile(r"\s*(COMMIT|ROLLBACK|BEGIN|END TRANSACTION)\b(?! SELECT)(?! RAISE)")
OWNERS = ("machinery/db", "migrations/run.py")
FRACTIONS = {"float", "Float", "Decimal", "Numeric", "round"}


def clock_reads(module: Module) -> list[str]:
    found = [module.at(n) for n in module.walk(ast.Attribute) if WALL.search(dotted(n))]
    for node in module.walk(ast.ImportFrom):
        if node.module == "time" and WALL_IMPORTS & {alias.name for alias in node.names}:
            found += [module.at(node)]
    return found


def test_only_the_clock_reads_the_wall_clock():
    assert [at for m in besides("kit/clock.py") for at in clock_reads(m)] == []
    assert [at for m in below("kit/clock.py") for at in clock_reads(m)] != []


def test_sql_never_reads_the_time_but_through_the_transaction():
    written = [m.at(s) for m in besides("machinery/db") for s in m.strings() if SQL_TIME.search(s.value)]
    called = [
        m.at(n)
        for m in besides("machinery/db")
        for n in m.walk(ast.Attribute)
        if re.search(r"\bfunc\.(now|current_timestamp|clock_timestamp)$", dotted(n))
    ]
    assert written + called == []


def ends_transactions(module: Module) -> list[str]:
    calls = [
        module.at(n)
        for n in module.walk(ast.Call)
        if isinstance(n.func, ast.Attribute) and n.func.attr in ("commit", "rollback", "begin")
    ]
    return calls + [module.at(s) for s in module.strings() if COMMIT.match(s.value)]


def test_only_the_database_begins_and_commits():
    schema = "migrations/schema.py"
    assert [at for m in besides(*OWNERS, schema) for at in ends_transactions(m)] == []
    assert [at for m in below(*OWNERS) for at in ends_transactions(m)] != []


def fractions(module: Module) -> list[str]:
    found = [module.at(n) for n in module.walk(ast.Constant) if isinstance(n.value, float)]
    found += [module.at(n) for n in module.walk(ast.Name) if n.id in FRACTIONS]
    found += [module.at(n) for n in module.walk(ast.Attribute) if n.attr in FRACTIONS]
    return found + [module.at(n) for n in module.walk(ast.BinOp, ast.AugAssign) if isinstance(n.op, ast.Div)]


MONEY = (
    "kit/money.py", "domain/ledger", "domain/escrow", "domain/wallets", "domain/orders", "domain/payments",
    "flows/settle_payment.py", "flows/settlement_rows.py", "flows/create_payment.py",
)  # fmt: skip


def seconds_only(module: Module) -> set[str]:
    """Where a fraction is plainly a duration: beside a name that ends in `_seconds`."""
    found = set()
    for node in module.walk(ast.AnnAssign, ast.Assign, ast.arg):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
        names = [getattr(t, "id", getattr(t, "arg", "")) for t in targets]
        if all(n.lower().endswith("_seconds") for n in names):
            found.add(module.at(node))
    return found


def test_no_fraction_comes_near_money():
    assert [at for m in below(*MONEY) for at in fractions(m) if at not in seconds_only(m)] == []
    assert len(below(*MONEY)) > 15


def test_the_rules_can_fail(tmp_path, monkeypatch):
    path = tmp_path / "bad.py"
    path.write_text(
        '"""Bad."""\nimport time\nfrom datetime import datetime\nfrom time import time_ns\n'
        "def f(tx, amount):\n    tx.conn.commit()\n    tx.conn.execute('COMMIT')\n"
        "    x = datetime.now(), time.time(), time_ns()\n    return amount / 2 + 0.5 + float(amount)\n"
    )
    bad = Module(path)
    monkeypatch.setattr("tests.house.source.ROOT", tmp_path)
    assert len(clock_reads(bad)) == 3
    assert len(ends_transactions(bad)) == 2
    assert len(fractions(bad)) == 3
    assert SQL_TIME.search("UPDATE x SET at = NOW()")
    assert len(modules()) > 80
