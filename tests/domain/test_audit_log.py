"""The audit log: positions without gaps, and a chain that shows every change."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from paystate.domain import audit
from paystate.domain.audit import AuditEntry, ChainReport, chain_store
from paystate.domain.audit import store as audit_store
from paystate.domain.audit.model import audit_log
from paystate.domain.audit.rules import GENESIS, seal
from paystate.kit.clock import MINUTE, SECOND, FrozenClock
from paystate.kit.ids import MerchantId, System
from paystate.kit.paging import PageRequest
from paystate.machinery.db import Database, Tx

SYSTEM = System("test")
SHOP, OTHER = MerchantId("mer_shop"), MerchantId("mer_other")


def an_entry(resource: str = "pay_1", merchant: MerchantId | None = SHOP, **changes: object) -> AuditEntry:
    values = {
        "merchant_id": merchant,
        "actor": "operator:ann",
        "action": "payment.resolved",
        "resource_id": resource,
        "before": {"state": "REQUIRES_MANUAL_REVIEW"},
        "after": {"state": "PAID"},
        "reason": "paid in cash",
        "address": "192.0.2.1",
        "request_id": "req_1",
    }
    return AuditEntry(**{**values, **changes})


def record(database: Database, *entries: AuditEntry) -> None:
    database.write_sync(lambda tx: audit.record(tx, SYSTEM, entries))


def number(database: Database) -> int:
    return database.write_sync(lambda tx: audit.number_entries(tx, SYSTEM))


def close(database: Database, older_than: int = 0) -> audit.AuditBlock | None:
    return database.write_sync(lambda tx: audit.close_block(tx, SYSTEM, older_than=older_than))


def verify(database: Database, exported: dict[int, str] | None = None) -> ChainReport:
    return database.snapshot_sync(lambda tx: audit.verify_chain(tx, SYSTEM, exported=exported))


def entries(database: Database, who: MerchantId | System = SYSTEM, **more: object) -> list[audit.AuditRecord]:
    return list(database.read_sync(lambda tx: audit.list_entries(tx, who, PageRequest(100), **more)).rows)


def by_position(database: Database) -> dict[int | None, str]:
    return {e.position: e.resource_id for e in entries(database)}


def three_blocks(database: Database) -> None:
    """Blocks of two entries each over 1…6, then a tail of two."""
    for n in range(0, 6, 2):
        record(database, an_entry(f"pay_{n + 1}"), an_entry(f"pay_{n + 2}"))
        number(database)
        assert close(database) is not None
    record(database, an_entry("pay_7"), an_entry("pay_8"))
    number(database)


def test_an_entry_tells_who_what_and_why(database: Database, clock: FrozenClock) -> None:
    record(database, an_entry())
    (stored,) = entries(database)
    for name in AuditEntry.__dataclass_fields__:
        assert getattr(stored, name) == getattr(an_entry(), name), name
    assert (stored.at, stored.position) == (clock.now(), None)
    assert number(database) == 1
    assert entries(database)[0].position == 1


def test_entries_of_one_set_share_a_commit_and_keep_their_order(database: Database) -> None:
    record(database, *(an_entry(f"pay_{n}") for n in range(20)))
    assert number(database) == 20
    assert by_position(database) == {n + 1: f"pay_{n}" for n in range(20)}
    assert len({e.commit_id for e in entries(database)}) == 1


def test_an_entry_stands_only_with_its_commit(database: Database) -> None:
    def fail(tx: Tx) -> None:
        audit.record(tx, SYSTEM, [an_entry()])
        raise LookupError

    with pytest.raises(LookupError):
        database.write_sync(fail)
    record(database, an_entry("pay_2"))
    assert number(database) == 1
    assert by_position(database) == {1: "pay_2"}


def test_a_merchant_sees_its_own_entries_only(database: Database) -> None:
    record(database, an_entry(), an_entry("mer_other", OTHER), an_entry("settings", None))
    assert [e.resource_id for e in entries(database, SHOP)] == ["pay_1"]
    assert [e.resource_id for e in entries(database, OTHER)] == ["mer_other"]
    assert len(entries(database)) == 3
    assert entries(database, OTHER, resource_id="pay_1") == []
    assert [e.resource_id for e in entries(database, SHOP, resource_id="pay_1", actor="operator:ann")] == [
        "pay_1"
    ]
    assert entries(database, SHOP, actor="operator:bob") == []
    for foreign in (an_entry("x", OTHER), an_entry("x", None)):
        with pytest.raises(AssertionError):
            database.write_sync(lambda tx, e=foreign: audit.record(tx, SHOP, [e]))


def test_entries_are_listed_newest_first(database: Database, clock: FrozenClock) -> None:
    for n in range(3):
        clock.advance(SECOND)
        record(database, an_entry(f"pay_{n}"))
    page = database.read_sync(lambda tx: audit.list_entries(tx, SHOP, PageRequest(2)))
    assert [e.resource_id for e in page.rows] == ["pay_2", "pay_1"]
    page = database.read_sync(lambda tx: audit.list_entries(tx, SHOP, PageRequest(2, page.next_position)))
    assert [e.resource_id for e in page.rows] == ["pay_0"]


def test_a_late_committer_gets_a_later_position(database: Database) -> None:
    """Its id is older than the numbered ones; nobody who read up to 2 may miss it."""
    if database.dialect == "sqlite":
        late_ids = "aud_0"  # one writer: nothing commits late, only an older id can turn up
        record(database, an_entry("pay_1"), an_entry("pay_2"))
        number(database)
        database.write_sync(lambda tx: tx.execute(_raw_insert(), {"id": late_ids}))
        assert number(database) == 1
        assert by_position(database) == {1: "pay_1", 2: "pay_2", 3: "late"}
        return
    written, may_commit = threading.Event(), threading.Event()

    def late(tx: Tx) -> None:
        audit.record(tx, SYSTEM, [an_entry("late")])
        written.set()
        assert may_commit.wait(10)

    thread = threading.Thread(target=database.write_sync, args=(late,))
    thread.start()
    assert written.wait(10)
    record(database, an_entry("pay_1"), an_entry("pay_2"))
    assert number(database) == 2
    may_commit.set()
    thread.join(10)
    assert number(database) == 1
    assert by_position(database) == {1: "pay_1", 2: "pay_2", 3: "late"}


def _raw_insert() -> sa.TextClause:
    return sa.text(
        "INSERT INTO audit_log (id, actor, action, resource_id, before, after, reason, commit_id, at) "
        "VALUES (:id, 'a', 'b', 'late', '{}', '{}', 'r', 'c', 1)"
    )


def test_sequencers_and_writers_at_once_leave_no_gap(database: Database) -> None:
    done = threading.Event()

    def write(name: str) -> None:
        for n in range(25):
            record(database, an_entry(f"{name}-{n}"), an_entry(f"{name}-{n}b"))

    def sequence() -> None:
        while not done.is_set():
            number(database)
            close(database)

    with ThreadPoolExecutor(5) as pool:
        sequencers = [pool.submit(sequence) for _ in range(2)]
        try:
            for writer in [pool.submit(write, f"w{n}") for n in range(3)]:
                writer.result(60)
        finally:
            done.set()
        for sequencer in sequencers:
            sequencer.result(60)
    number(database)
    close(database)
    positions = database.read_sync(
        lambda tx: tx.rows(sa.text("SELECT position FROM audit_log ORDER BY position"))
    )
    assert [p for (p,) in positions] == list(range(1, 151))
    report = verify(database)
    assert (report.problems, report.entries, report.open_tail) == ((), 150, 0)


def test_numbering_goes_by_batches(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_store, "NUMBER_LIMIT", 3)
    record(database, *(an_entry(f"pay_{n}") for n in range(7)))
    assert [number(database) for _ in range(4)] == [3, 3, 1, 0]
    assert by_position(database) == {n + 1: f"pay_{n}" for n in range(7)}


def test_a_block_closes_when_its_oldest_entry_is_old_enough(database: Database, clock: FrozenClock) -> None:
    assert close(database) is None
    record(database, an_entry("pay_1"))
    assert close(database) is None  # not numbered yet
    number(database)
    clock.advance(MINUTE - 1)
    record(database, an_entry("pay_2"))
    number(database)
    assert close(database, MINUTE) is None
    assert (verify(database).open_tail, verify(database).open_since) == (2, clock.now() - MINUTE + 1)
    clock.advance(1)
    block = close(database, MINUTE)
    assert (block.id, block.first_position, block.last_position, block.previous_hash) == (1, 1, 2, "0" * 64)
    assert (verify(database).open_tail, verify(database).open_since) == (0, None)
    assert close(database, 0) is None
    assert database.read_sync(lambda tx: audit.chain_head(tx, SYSTEM)) == block


def test_blocks_follow_each_other_and_stay_small(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_store, "BLOCK_LIMIT", 3)
    monkeypatch.setattr(chain_store, "BLOCKS_A_READ", 2)
    record(database, *(an_entry(f"pay_{n}") for n in range(13)))
    number(database)
    blocks = []
    while block := close(database):
        blocks.append(block)
    assert [(b.id, b.first_position, b.last_position) for b in blocks] == [
        (1, 1, 3), (2, 4, 6), (3, 7, 9), (4, 10, 12), (5, 13, 13),
    ]  # fmt: skip
    assert [b.previous_hash for b in blocks[1:]] == [b.hash for b in blocks[:-1]]
    report = verify(database)
    assert (report.problems, report.blocks, report.head) == ((), 5, blocks[-1].hash)


def test_a_whole_chain_has_no_problem(database: Database) -> None:
    assert verify(database) == ChainReport((), 0, 0, 0, None, 0, "0" * 64)
    three_blocks(database)
    record(database, an_entry("pay_9"))
    report = verify(database)
    assert (report.problems, report.blocks, report.entries) == ((), 3, 6)
    assert (report.open_tail, report.unnumbered) == (2, 1)


def test_a_block_can_be_recomputed_with_nothing_but_sha256() -> None:
    """The chain's arithmetic as it is published, so that no driver or encoder changes it unseen."""
    entry = (1, "aud_1", None, "a", "b", "c", "{}", '{"é":1}', "r", None, None, "cmt_1", 5)
    first = hashlib.sha256(
        ("0" * 64 + '[1,"aud_1",null,"a","b","c","{}","{\\"é\\":1}","r",null,null,"cmt_1",5]').encode()
    ).hexdigest()
    last = hashlib.sha256((first + f'[1,1,1,"{"0" * 64}",9]').encode()).hexdigest()
    assert seal(GENESIS, [entry], (1, 1, 1, GENESIS, 9)) == last


UNGUARD = {
    "sqlite": (
        "DROP TRIGGER audit_log_no_delete",
        "DROP TRIGGER audit_log_numbered_once",
        "DROP TRIGGER audit_log_fixed",
        "DROP TRIGGER audit_blocks_no_update",
        "DROP TRIGGER audit_blocks_no_delete",
    ),
    "postgresql": (
        "ALTER TABLE audit_log DISABLE TRIGGER USER",
        "ALTER TABLE audit_blocks DISABLE TRIGGER USER",
    ),
}


def tamper(tx: Tx, *statements: str) -> None:
    """What somebody does who owns the database: first the triggers go."""
    for statement in (*UNGUARD[tx.dialect], *statements):
        tx.conn.exec_driver_sql(statement.replace("{zeros}", "0" * 64))


def problems_after(database: Database, *statements: str) -> tuple[str, ...]:
    """What a check says after these statements, which are then undone, triggers and all."""

    class Undo(Exception):
        pass

    def work(tx: Tx) -> None:
        tamper(tx, *statements)
        raise Undo(audit.verify_chain(tx, SYSTEM).problems)

    with pytest.raises(Undo) as undo:
        database.write_sync(work)
    return undo.value.args[0]


def test_the_database_itself_refuses_to_change_the_log(database: Database) -> None:
    three_blocks(database)
    for statement in (
        "UPDATE audit_log SET reason = 'nothing to see'",
        "UPDATE audit_log SET at = 1",
        "UPDATE audit_log SET position = position + 100 WHERE position = 8",
        "UPDATE audit_log SET position = NULL WHERE position = 8",
        "DELETE FROM audit_log",
        "DELETE FROM audit_log WHERE position = 8",
        "UPDATE audit_blocks SET hash = 'x'",
        "DELETE FROM audit_blocks",
    ):
        with pytest.raises(sa.exc.DBAPIError):
            database.write_sync(lambda tx, s=statement: tx.conn.exec_driver_sql(s))
    assert verify(database).problems == ()


def test_a_change_of_any_column_of_an_entry_is_found(database: Database) -> None:
    three_blocks(database)
    columns = [c.name for c in audit_log.c if c.name not in ("position", "at")]
    assert len(columns) == 11
    changes = [f"{column} = '{{\"x\": 1}}'" for column in columns]
    for change in (*changes, "at = at + 1", "merchant_id = NULL", "address = NULL"):
        (problem,) = problems_after(database, f"UPDATE audit_log SET {change} WHERE position = 3")
        assert problem.startswith("block 2 (entries 3 to 4) was changed"), change
    assert verify(database).problems == ()


ROW_TAMPERING = (
    ("DELETE FROM audit_log WHERE position = 4", 2),
    ("UPDATE audit_log SET position = NULL WHERE position = 4", 2),
    ("DELETE FROM audit_log WHERE position = 6", 3),
    (
        "UPDATE audit_log SET position = 99 WHERE position = 3; UPDATE audit_log SET position = 3 WHERE position = 4; "
        "UPDATE audit_log SET position = 4 WHERE position = 99",
        2,
    ),
    ("UPDATE audit_blocks SET closed_at = closed_at + 1 WHERE id = 2", 2),
    ("UPDATE audit_blocks SET hash = '{zeros}' WHERE id = 2", 2),
    ("UPDATE audit_blocks SET hash = '{zeros}' WHERE id = 3", 3),
    ("UPDATE audit_blocks SET previous_hash = '{zeros}' WHERE id = 3", 3),
    ("UPDATE audit_blocks SET last_position = 5 WHERE id = 2", 2),
    ("UPDATE audit_blocks SET first_position = 2 WHERE id = 2", 2),
    ("UPDATE audit_blocks SET id = 9 WHERE id = 3", 9),
    ("DELETE FROM audit_blocks WHERE id = 2", 3),
    ("DELETE FROM audit_blocks WHERE id = 1", 2),
    ("DELETE FROM audit_blocks WHERE id = 2; DELETE FROM audit_log WHERE position IN (3, 4)", 3),
)


def test_a_changed_or_missing_row_is_found(database: Database) -> None:
    three_blocks(database)
    for statements, block in ROW_TAMPERING:
        problems = problems_after(database, *statements.split("; "))
        assert problems, statements
        assert problems[0].startswith(f"block {block} "), statements
    assert verify(database).problems == ()


def test_a_gap_in_the_open_tail_is_found(database: Database) -> None:
    three_blocks(database)
    assert problems_after(database, "DELETE FROM audit_log WHERE position = 7") == (
        "entries are missing between 6 and 8",
    )


def test_a_rewritten_end_is_found_by_an_exported_head(database: Database, clock: FrozenClock) -> None:
    """Whoever owns the database can cut the end off and let it be sealed again; the copy elsewhere tells."""
    three_blocks(database)
    head = database.read_sync(lambda tx: audit.chain_head(tx, SYSTEM))
    exported = {head.id: head.hash}
    assert verify(database, exported).problems == ()
    cut = "DELETE FROM audit_blocks WHERE id = 3", "UPDATE audit_log SET reason = 'x' WHERE position = 6"
    database.write_sync(lambda tx: tamper(tx, *cut))
    assert verify(database, exported).problems == ("block 3 was exported and is gone",)
    assert (verify(database).problems, verify(database).open_tail) == ((), 4)
    clock.advance(SECOND)
    close(database)
    assert verify(database).problems == ()
    assert verify(database, exported).problems == ("block 3 is not the one that was exported",)


def test_the_list_of_problems_has_an_end(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_store, "PROBLEM_LIMIT", 2)
    three_blocks(database)
    assert len(problems_after(database, "UPDATE audit_log SET reason = 'x'")) == 2
