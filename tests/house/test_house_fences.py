"""Fences: who may read, where a state changes, how secrets are compared, what templates may not do."""

import ast
import re
from collections.abc import Iterator

from tests.house.source import PACKAGE, Module, below, besides, dotted, modules

STORES = [m for m in modules("src/paystate/domain") if re.search(r"(store|moves|views)\.py$", m.name)]
WHO = {"Who", "System", "MerchantId"}
MOVES = "domain/payments/moves.py"
STORE = "domain/payments/store.py"
SECRET_WORDS = {
    "sig",
    "signature",
    "signatures",
    "token",
    "secret",
    "digest",
    "hexdigest",
    "hmac",
    "mac",
    "password",
}
PUBLIC = {"raw_digest", "digest_of_schema"}
"""Digests of what everybody may know, compared only to see whether something changed."""


def public_functions(module: Module) -> Iterator[ast.FunctionDef]:
    for node in module.tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node


def test_every_store_function_says_for_whom():
    wrong = []
    for module in STORES:
        for function in public_functions(module):
            arguments = [*function.args.posonlyargs, *function.args.args]
            if not arguments or arguments[0].arg != "tx":
                continue
            second = arguments[1] if len(arguments) > 1 else None
            if (
                second is None
                or second.arg != "who"
                or ast.unparse(second.annotation or ast.Constant(0)) not in WHO
            ):
                wrong.append(f"{module.at(function)} {function.name}")
    assert wrong == []
    assert len(STORES) > 8


def test_sql_is_reached_only_with_a_transaction():
    """A public store function that takes no `tx` runs no statement."""
    wrong = []
    for module in STORES:
        for function in public_functions(module):
            arguments = {a.arg for a in function.args.args}
            names = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
            if "tx" in names and "tx" not in arguments:
                wrong.append(f"{module.at(function)} {function.name}")
    assert wrong == []


def writes_of_payments(module: Module) -> list[str]:
    """Statements that change rows of `payments` or `payment_moves`."""
    found = []
    for node in module.walk(ast.Call):
        name, arguments = dotted(node), [ast.unparse(a) for a in node.args]
        if re.search(r"(^|\.)(payments|payment_moves)\.(update|insert|delete)$", name):
            found.append(module.at(node))
        if name in ("bulk_update", "bulk_insert") and {"payments", "payment_moves"} & set(arguments):
            found.append(module.at(node))
    raw = re.compile(r"\b(UPDATE|INSERT INTO|DELETE FROM)\s+(payments|payment_moves)\b", re.IGNORECASE)
    return found + [module.at(s) for s in module.strings() if raw.search(s.value)]


def writes_a_state(module: Module) -> list[str]:
    """A `state=` given to `.values(…)`, or a key "state" of a row that is written down."""
    found = [
        module.at(n)
        for n in module.walk(ast.Dict)
        for k in n.keys
        if isinstance(k, ast.Constant) and k.value == "state"
    ]
    for node in module.walk(ast.Call):
        if dotted(node).endswith(".values") and any(k.arg in ("state", "seq") for k in node.keywords):
            found += [module.at(node)]
    return found


def test_a_payment_changes_its_state_in_one_place():
    assert [at for m in besides(MOVES, STORE) for at in writes_of_payments(m)] == []
    assert [at for m in below(STORE) for at in writes_a_state(m)] == []
    # The store writes other columns, in one function that refuses the state.
    assert len([at for m in below(STORE) for at in writes_of_payments(m)]) == 1
    assert [at for m in below(MOVES) for at in writes_of_payments(m)] != []


def words_of(node: ast.AST) -> set[str]:
    """The words in the last name of an expression: `self.webhook_secret` → {webhook, secret}."""
    name = dotted(node).rpartition(".")[2]
    if name in PUBLIC:
        return set()
    return set(re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower().split("_"))


def careless_comparisons(module: Module) -> list[str]:
    found = []
    for node in module.walk(ast.Compare):
        sides = [node.left, *node.comparators]
        equal = any(isinstance(op, (ast.Eq, ast.NotEq)) for op in node.ops)
        # Against a constant of the code ("" or a kind) nothing can be learnt.
        if (
            equal
            and not any(isinstance(s, ast.Constant) for s in sides)
            and any(words_of(s) & SECRET_WORDS for s in sides)
        ):
            found.append(module.at(node))
    return found


def test_secrets_are_compared_in_constant_time():
    # A simulator's digests are its own and no secret; it may not import the product's `ct_eq` either.
    assert [at for m in besides("simulators") for at in careless_comparisons(m)] == []


def test_templates_cannot_switch_escaping_off():
    unsafe = re.compile(
        r"\|\s*safe\b|Markup\(|autoescape\s*(=\s*False|false)|\bhx-on|\son[a-z]+\s*=\s*[\"']|javascript:"
    )
    files = [p for p in PACKAGE.rglob("*") if p.suffix in (".html", ".jinja", ".j2")]
    assert [str(p.relative_to(PACKAGE)) for p in files if unsafe.search(p.read_text())] == []
    python = re.compile(r"\bMarkup\(|autoescape\s*=\s*False")
    assert [m.name for m in modules() if python.search(m.text)] == []


def test_flows_write_no_sql():
    """But for the audit: it reads across all rooms, and must not trust their stores."""
    wrong = []
    for module in below("flows"):
        if not module.path.stem.startswith("audit"):
            imported = [(n, a.name) for n in module.walk(ast.Import) for a in n.names]
            imported += [(n, n.module or "") for n in module.walk(ast.ImportFrom)]
            wrong += [
                module.at(n) for n, name in imported if name.startswith(("sqlalchemy", "psycopg", "sqlite3"))
            ]
    assert wrong == []


def test_adapters_take_only_words_from_the_domain():
    """From a port, from the states, or the enums on a room's face."""
    words = {"Outcome", "State", "AttemptState", "Trigger"}
    wrong = []
    for module in below("adapters"):
        for node in module.walk(ast.ImportFrom):
            source = node.module or ""
            if not source.startswith("paystate.domain") or source.endswith((".port", ".states")):
                continue
            if not {alias.name for alias in node.names} <= words:
                wrong.append(module.at(node))
    assert wrong == []


def test_the_rules_can_fail(tmp_path, monkeypatch):
    path = tmp_path / "bad.py"
    path.write_text(
        '"""Bad."""\ndef f(tx, sig, given):\n    tx.execute(payments.update().values(state="PAID"))\n'
        '    tx.execute("UPDATE payments SET state = 1")\n    bulk_update(tx, payments, [{"state": 1}], keys=["id"])\n'
        "    return sig == given or given != self.webhook_secret\n"
    )
    monkeypatch.setattr("tests.house.source.ROOT", tmp_path)
    bad = Module(path)
    assert len(writes_of_payments(bad)) == 3
    assert len(writes_a_state(bad)) == 2
    assert len(careless_comparisons(bad)) == 2
