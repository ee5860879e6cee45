"""Tables of the ledger: accounts with cached balances, journals, entries, seals."""

import sqlalchemy as sa

from paystate.machinery.db.schema import (
    amount_check,
    append_only,
    declare_ddl,
    json_text,
    metadata,
    micros,
    refuse_update_of,
)

MAX_BALANCE = 9 * 10**18

accounts = sa.Table(
    "ledger_accounts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("merchant_id", sa.Text, sa.ForeignKey("merchants.id"), nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False, comment="'' where the account has no sub-accounts"),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column(
        "normal", sa.SmallInteger, sa.CheckConstraint("normal IN (1, -1)", name="normal"), nullable=False
    ),
    sa.Column("floored", sa.Boolean, nullable=False, comment="its balance never goes below zero"),
    sa.Column("balance", sa.BigInteger, nullable=False, comment="on its normal side"),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("merchant_id", "code", "owner", "currency"),
    sa.UniqueConstraint("id", "merchant_id", "currency"),
    sa.CheckConstraint("NOT floored OR balance >= 0", name="floor"),
    # Beyond 64 bits SQLite would go on with an inexact number; both databases stop before that.
    sa.CheckConstraint(f"balance BETWEEN -{MAX_BALANCE} AND {MAX_BALANCE}", name="balance_range"),
    postgresql_with={"fillfactor": 50},
)

journals = sa.Table(
    "journals",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("merchant_id", sa.Text, sa.ForeignKey("merchants.id"), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False, comment="makes it once, as payment:{id}:captured"),
    sa.Column("input_hash", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("tags", json_text, nullable=False),
    sa.Column("effective_at", micros, nullable=False),
    sa.Column("posted_at", micros, nullable=False),
    sa.Column("reverses_id", sa.Text, sa.ForeignKey("journals.id")),
    sa.Column("commit_id", sa.Text, nullable=False),
    sa.UniqueConstraint("merchant_id", "key"),
    # In this order it also serves a merchant's list, newest first.
    sa.UniqueConstraint("merchant_id", "id", name="uq_journals_merchant_id_id"),
    # A journal is reversed at most once; partial, since nearly all rows have nothing to say here.
    sa.Index(
        "uq_journals_reverses_id",
        "reverses_id",
        unique=True,
        sqlite_where=sa.text("reverses_id IS NOT NULL"),
        postgresql_where=sa.text("reverses_id IS NOT NULL"),
    ),
)

entries = sa.Table(
    "journal_entries",
    metadata,
    sa.Column("journal_id", sa.Text, primary_key=True),
    sa.Column("seq", sa.SmallInteger, primary_key=True),
    sa.Column("merchant_id", sa.Text, nullable=False),
    sa.Column("account_id", sa.Text, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column(
        "side",
        sa.SmallInteger,
        sa.CheckConstraint("side IN (1, -1)", name="side"),
        nullable=False,
        comment="1 debit, -1 credit",
    ),
    sa.Column("amount", sa.BigInteger, amount_check(), nullable=False),
    sa.ForeignKeyConstraint(["journal_id", "merchant_id"], ["journals.id", "journals.merchant_id"]),
    sa.ForeignKeyConstraint(
        ["account_id", "merchant_id", "currency"],
        ["ledger_accounts.id", "ledger_accounts.merchant_id", "ledger_accounts.currency"],
    ),
    sa.Index("ix_journal_entries_account_id", "account_id", "journal_id"),
    sqlite_with_rowid=False,
)

seals = sa.Table(
    "journal_seals",
    metadata,
    sa.Column("journal_id", sa.Text, sa.ForeignKey("journals.id"), primary_key=True),
    sqlite_with_rowid=False,
    comment="SQLite only: a journal counts once its seal proved the sums to be zero",
)

append_only("journals")
append_only("journal_entries")
append_only("journal_seals")
refuse_update_of("ledger_accounts", "id", "merchant_id", "code", "owner", "currency", "normal", "floored")

declare_ddl(
    "journal_balance",
    sqlite=(
        "CREATE TRIGGER journal_seals_balance BEFORE INSERT ON journal_seals WHEN EXISTS ("
        "SELECT 1 FROM journal_entries WHERE journal_id = NEW.journal_id GROUP BY currency HAVING sum(side * amount) <> 0"
        ") OR NOT EXISTS (SELECT 1 FROM journal_entries WHERE journal_id = NEW.journal_id) "
        "BEGIN SELECT RAISE(ABORT, 'journal does not balance'); END",
        "CREATE TRIGGER journal_entries_sealed BEFORE INSERT ON journal_entries "
        "WHEN EXISTS (SELECT 1 FROM journal_seals WHERE journal_id = NEW.journal_id) "
        "BEGIN SELECT RAISE(ABORT, 'journal is sealed'); END",
    ),
    postgresql=(
        "CREATE FUNCTION paystate_journal_balance() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF EXISTS (SELECT 1 FROM added GROUP BY journal_id, currency HAVING sum(side * amount) <> 0) THEN "
        "RAISE EXCEPTION 'journal does not balance' USING ERRCODE = 'check_violation'; END IF; "
        # All entries come in one statement: entry 1 exists once, so nothing can be added to a journal later.
        "IF EXISTS (SELECT 1 FROM added GROUP BY journal_id HAVING min(seq) <> 1) THEN "
        "RAISE EXCEPTION 'journal is sealed' USING ERRCODE = 'restrict_violation'; END IF; RETURN NULL; END $$",
        "CREATE TRIGGER journal_entries_balance AFTER INSERT ON journal_entries REFERENCING NEW TABLE AS added "
        "FOR EACH STATEMENT EXECUTE FUNCTION paystate_journal_balance()",
    ),
)
