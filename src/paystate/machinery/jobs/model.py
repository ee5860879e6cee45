"""The two tables of jobs: what an operator changed about each, and every run."""

import sqlalchemy as sa

from paystate.machinery.db.schema import json_text, metadata, micros, one_of

QUEUED, RUNNING, SUCCEEDED, FAILED, SKIPPED = STATES = ("QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "SKIPPED")
"""SKIPPED: a tick that met a run still open; the tick counts as done."""

TRIGGERS = ("schedule", "manual", "api", "cli", "replay")

job_settings = sa.Table(
    "job_settings",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("schedule", sa.Text, comment="NULL: as configured or declared; the same for the next three"),
    sa.Column("time_zone", sa.Text),
    sa.Column("batch_size", sa.BigInteger),
    sa.Column("timeout_seconds", sa.BigInteger),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("ticked_until", micros, nullable=False, comment="Ticks up to this moment are dealt with"),
    sa.Column("succeeded_count", sa.BigInteger, nullable=False),
    sa.Column("failed_count", sa.BigInteger, nullable=False),
    sa.Column(
        "cleared_before", micros, nullable=False, comment="Older runs are hidden from history and statistics"
    ),
    sa.Column("updated_at", micros, nullable=False),
)

job_runs = sa.Table(
    "job_runs",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("job", sa.Text, nullable=False),
    sa.Column("tick_at", micros, comment="The scheduled moment; NULL when a person or a program asked"),
    sa.Column("trigger", sa.Text, one_of("trigger", TRIGGERS), nullable=False),
    sa.Column("state", sa.Text, one_of("state", STATES), nullable=False),
    sa.Column("owner", sa.Text, comment="The process that holds, or last held, the lease"),
    sa.Column(
        "claim_no", sa.BigInteger, nullable=False, comment="Counts claims; a finish must name the current one"
    ),
    sa.Column("lease_until", micros),
    sa.Column("started_at", micros),
    sa.Column("finished_at", micros),
    sa.Column("result", json_text),
    sa.Column("error", sa.Text, comment="One line, without secrets"),
    sa.Column("progress_done", sa.BigInteger),
    sa.Column("progress_total", sa.BigInteger),
    sa.Column("replay_of", sa.Text),
    sa.Column("created_at", micros, nullable=False),
    sa.UniqueConstraint("job", "tick_at"),
    sa.Index("ix_job_runs_job", "job", "id"),
    sa.Index(
        "uq_job_runs_open",
        "job",
        unique=True,
        sqlite_where=sa.text("state IN ('QUEUED', 'RUNNING')"),
        postgresql_where=sa.text("state IN ('QUEUED', 'RUNNING')"),
    ),
)
