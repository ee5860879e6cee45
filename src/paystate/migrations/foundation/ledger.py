"""The first schema of: journals, ledger_accounts, journal_entries, journal_seals."""

import sqlalchemy as sa
from alembic import op

from paystate.migrations.statements import run_statements


def create() -> None:
    """Create them in a database that has the parts before this one."""
    _journals()
    _ledger_accounts()
    _journal_entries()
    _journal_seals()
    _triggers()


def _journals() -> None:
    op.create_table(
        "journals",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False, comment="makes it once, as payment:{id}:captured"),
        sa.Column("input_hash", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("effective_at", sa.BigInteger(), nullable=False),
        sa.Column("posted_at", sa.BigInteger(), nullable=False),
        sa.Column("reverses_id", sa.Text(), nullable=True),
        sa.Column("commit_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_journals_merchant_id")),
        sa.ForeignKeyConstraint(["reverses_id"], ["journals.id"], name=op.f("fk_journals_reverses_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journals")),
        sa.UniqueConstraint("merchant_id", "id", name="uq_journals_merchant_id_id"),
        sa.UniqueConstraint("merchant_id", "key", name=op.f("uq_journals_merchant_id_key")),
    )
    op.create_index(
        "uq_journals_reverses_id",
        "journals",
        ["reverses_id"],
        unique=True,
        sqlite_where=sa.text("reverses_id IS NOT NULL"),
        postgresql_where=sa.text("reverses_id IS NOT NULL"),
    )


def _ledger_accounts() -> None:
    op.create_table(
        "ledger_accounts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False, comment="'' where the account has no sub-accounts"),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("normal", sa.SmallInteger(), nullable=False),
        sa.Column("floored", sa.Boolean(), nullable=False, comment="its balance never goes below zero"),
        sa.Column("balance", sa.BigInteger(), nullable=False, comment="on its normal side"),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["merchant_id"], ["merchants.id"], name=op.f("fk_ledger_accounts_merchant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_accounts")),
        sa.UniqueConstraint(
            "id", "merchant_id", "currency", name=op.f("uq_ledger_accounts_id_merchant_id_currency")
        ),
        sa.UniqueConstraint(
            "merchant_id",
            "code",
            "owner",
            "currency",
            name=op.f("uq_ledger_accounts_merchant_id_code_owner_currency"),
        ),
        sa.CheckConstraint("NOT floored OR balance >= 0", name=op.f("ck_ledger_accounts_floor")),
        sa.CheckConstraint(
            "balance BETWEEN -9000000000000000000 AND 9000000000000000000",
            name=op.f("ck_ledger_accounts_balance_range"),
        ),
        sa.CheckConstraint("normal IN (1, -1)", name=op.f("ck_ledger_accounts_normal")),
        postgresql_with={"fillfactor": 50},
    )


def _journal_entries() -> None:
    op.create_table(
        "journal_entries",
        sa.Column("journal_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.SmallInteger(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("side", sa.SmallInteger(), nullable=False, comment="1 debit, -1 credit"),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id", "merchant_id", "currency"],
            ["ledger_accounts.id", "ledger_accounts.merchant_id", "ledger_accounts.currency"],
            name=op.f("fk_journal_entries_account_id_merchant_id_currency"),
        ),
        sa.ForeignKeyConstraint(
            ["journal_id", "merchant_id"],
            ["journals.id", "journals.merchant_id"],
            name=op.f("fk_journal_entries_journal_id_merchant_id"),
        ),
        sa.PrimaryKeyConstraint("journal_id", "seq", name=op.f("pk_journal_entries")),
        sa.CheckConstraint(
            "amount > 0 AND amount <= 1000000000000000", name=op.f("ck_journal_entries_amount_range")
        ),
        sa.CheckConstraint("side IN (1, -1)", name=op.f("ck_journal_entries_side")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_journal_entries_account_id", "journal_entries", ["account_id", "journal_id"], unique=False
    )


def _journal_seals() -> None:
    op.create_table(
        "journal_seals",
        sa.Column("journal_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["journal_id"], ["journals.id"], name=op.f("fk_journal_seals_journal_id")),
        sa.PrimaryKeyConstraint("journal_id", name=op.f("pk_journal_seals")),
        comment="SQLite only: a journal counts once its seal proved the sums to be zero",
        sqlite_with_rowid=False,
    )


def _triggers() -> None:
    run_statements(
        sqlite=[
            "CREATE TRIGGER journals_no_update BEFORE UPDATE ON journals BEGIN SELECT RAISE(ABORT, 'journals is append-only'); END",
            "CREATE TRIGGER journals_no_delete BEFORE DELETE ON journals BEGIN SELECT RAISE(ABORT, 'journals is append-only'); END",
        ],
        postgresql=[
            "CREATE TRIGGER journals_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journals FOR EACH STATEMENT EXECUTE FUNCTION paystate_append_only()"
        ],
    )
    run_statements(
        sqlite=[
            "CREATE TRIGGER journal_entries_no_update BEFORE UPDATE ON journal_entries BEGIN SELECT RAISE(ABORT, 'journal_entries is append-only'); END",
            "CREATE TRIGGER journal_entries_no_delete BEFORE DELETE ON journal_entries BEGIN SELECT RAISE(ABORT, 'journal_entries is append-only'); END",
        ],
        postgresql=[
            "CREATE TRIGGER journal_entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal_entries FOR EACH STATEMENT EXECUTE FUNCTION paystate_append_only()"
        ],
    )
    run_statements(
        sqlite=[
            "CREATE TRIGGER journal_seals_no_update BEFORE UPDATE ON journal_seals BEGIN SELECT RAISE(ABORT, 'journal_seals is append-only'); END",
            "CREATE TRIGGER journal_seals_no_delete BEFORE DELETE ON journal_seals BEGIN SELECT RAISE(ABORT, 'journal_seals is append-only'); END",
        ],
        postgresql=[
            "CREATE TRIGGER journal_seals_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal_seals FOR EACH STATEMENT EXECUTE FUNCTION paystate_append_only()"
        ],
    )
    run_statements(
        sqlite=[
            "CREATE TRIGGER ledger_accounts_fixed BEFORE UPDATE OF id, merchant_id, code, owner, currency, normal, floored ON ledger_accounts WHEN NEW.id IS NOT OLD.id OR NEW.merchant_id IS NOT OLD.merchant_id OR NEW.code IS NOT OLD.code OR NEW.owner IS NOT OLD.owner OR NEW.currency IS NOT OLD.currency OR NEW.normal IS NOT OLD.normal OR NEW.floored IS NOT OLD.floored BEGIN SELECT RAISE(ABORT, 'ledger_accounts: id, merchant_id, code, owner, currency, normal, floored never change'); END"
        ],
        postgresql=[
            "CREATE TRIGGER ledger_accounts_fixed BEFORE UPDATE OF id, merchant_id, code, owner, currency, normal, floored ON ledger_accounts FOR EACH ROW WHEN (NEW.id IS DISTINCT FROM OLD.id OR NEW.merchant_id IS DISTINCT FROM OLD.merchant_id OR NEW.code IS DISTINCT FROM OLD.code OR NEW.owner IS DISTINCT FROM OLD.owner OR NEW.currency IS DISTINCT FROM OLD.currency OR NEW.normal IS DISTINCT FROM OLD.normal OR NEW.floored IS DISTINCT FROM OLD.floored) EXECUTE FUNCTION paystate_append_only()"
        ],
    )
    run_statements(
        sqlite=[
            "CREATE TRIGGER journal_seals_balance BEFORE INSERT ON journal_seals WHEN EXISTS (SELECT 1 FROM journal_entries WHERE journal_id = NEW.journal_id GROUP BY currency HAVING sum(side * amount) <> 0) OR NOT EXISTS (SELECT 1 FROM journal_entries WHERE journal_id = NEW.journal_id) BEGIN SELECT RAISE(ABORT, 'journal does not balance'); END",
            "CREATE TRIGGER journal_entries_sealed BEFORE INSERT ON journal_entries WHEN EXISTS (SELECT 1 FROM journal_seals WHERE journal_id = NEW.journal_id) BEGIN SELECT RAISE(ABORT, 'journal is sealed'); END",
        ],
        postgresql=[
            "CREATE FUNCTION paystate_journal_balance() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF EXISTS (SELECT 1 FROM added GROUP BY journal_id, currency HAVING sum(side * amount) <> 0) THEN RAISE EXCEPTION 'journal does not balance' USING ERRCODE = 'check_violation'; END IF; IF EXISTS (SELECT 1 FROM added GROUP BY journal_id HAVING min(seq) <> 1) THEN RAISE EXCEPTION 'journal is sealed' USING ERRCODE = 'restrict_violation'; END IF; RETURN NULL; END $$",
            "CREATE TRIGGER journal_entries_balance AFTER INSERT ON journal_entries REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION paystate_journal_balance()",
        ],
    )
