"""The first schema of: job_runs, job_settings."""

import sqlalchemy as sa
from alembic import op


def create() -> None:
    """Create them in a database that has the parts before this one."""
    _job_runs()
    _job_settings()


def _job_runs_1_of_2() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column(
            "tick_at",
            sa.BigInteger(),
            nullable=True,
            comment="The scheduled moment; NULL when a person or a program asked",
        ),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column(
            "owner", sa.Text(), nullable=True, comment="The process that holds, or last held, the lease"
        ),
        sa.Column(
            "claim_no",
            sa.BigInteger(),
            nullable=False,
            comment="Counts claims; a finish must name the current one",
        ),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True, comment="One line, without secrets"),
        sa.Column("progress_done", sa.BigInteger(), nullable=True),
        sa.Column("progress_total", sa.BigInteger(), nullable=True),
        sa.Column("replay_of", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_runs")),
        sa.UniqueConstraint("job", "tick_at", name=op.f("uq_job_runs_job_tick_at")),
        sa.CheckConstraint(
            "state IN ('QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'SKIPPED')",
            name=op.f("ck_job_runs_state_known"),
        ),
    ]


def _job_runs_2_of_2() -> list[sa.schema.SchemaItem]:
    return [
        sa.CheckConstraint(
            "trigger IN ('schedule', 'manual', 'api', 'cli', 'replay')",
            name=op.f("ck_job_runs_trigger_known"),
        ),
    ]


def _job_runs() -> None:
    op.create_table("job_runs", *_job_runs_1_of_2(), *_job_runs_2_of_2())
    op.create_index("ix_job_runs_job", "job_runs", ["job", "id"], unique=False)
    op.create_index(
        "uq_job_runs_open",
        "job_runs",
        ["job"],
        unique=True,
        sqlite_where=sa.text("state IN ('QUEUED', 'RUNNING')"),
        postgresql_where=sa.text("state IN ('QUEUED', 'RUNNING')"),
    )


def _job_settings() -> None:
    op.create_table(
        "job_settings",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "schedule",
            sa.Text(),
            nullable=True,
            comment="NULL: as configured or declared; the same for the next three",
        ),
        sa.Column("time_zone", sa.Text(), nullable=True),
        sa.Column("batch_size", sa.BigInteger(), nullable=True),
        sa.Column("timeout_seconds", sa.BigInteger(), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column(
            "ticked_until", sa.BigInteger(), nullable=False, comment="Ticks up to this moment are dealt with"
        ),
        sa.Column("succeeded_count", sa.BigInteger(), nullable=False),
        sa.Column("failed_count", sa.BigInteger(), nullable=False),
        sa.Column(
            "cleared_before",
            sa.BigInteger(),
            nullable=False,
            comment="Older runs are hidden from history and statistics",
        ),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_job_settings")),
    )
