"""Invariants of repetition: what may be sent, asked or run again has one identity and happens once."""

from paystate.flows.audit_check import Fault, Rule, repeated

_HASHED = {"sqlite": "sha256_hex({})", "postgresql": "encode(sha256({}), 'hex')"}
_REQUEST_CHANGED = (
    "SELECT id AS subject, 'the request it would send again is not the one it was made with' AS detail "
    "FROM attempts WHERE {} <> request_hash"
)
REQUEST_CHANGED = (
    Fault(_REQUEST_CHANGED.format(_HASHED["sqlite"].format("request")), only="sqlite"),
    Fault(_REQUEST_CHANGED.format(_HASHED["postgresql"].format("request")), only="postgresql"),
)
KEY_SHARED = repeated("attempts", ("idempotency_key",))
REFERENCE_SHARED = repeated("attempts", ("provider_reference",))
CHECKOUT_SHARED = repeated("attempts", ("connection_id", "checkout_id"), where="checkout_id IS NOT NULL")

_ANSWER_CHANGED = (
    "SELECT merchant_id || ' ' || route AS subject, 'the answer kept for a key is not the one that was given' AS detail "
    "FROM idempotency_keys WHERE state = 'DONE' AND coalesce({}, '') <> coalesce(body_hash, '')"
)
ANSWER_CHANGED = (
    Fault(_ANSWER_CHANGED.format(_HASHED["sqlite"].format("body")), only="sqlite"),
    Fault(
        _ANSWER_CHANGED.format(_HASHED["postgresql"].format("convert_to(body, 'UTF8')")), only="postgresql"
    ),
)
KEY_ANSWERED_TWICE = repeated(
    "idempotency_keys", ("merchant_id", "route", "key"), subject="merchant_id route"
)

KEPT_RESOURCES = (
    ("pay", "payments"),
    ("att", "attempts"),
    ("cas", "cases"),
    ("con", "connections"),
    ("cus", "customers"),
    ("key", "api_keys"),
    ("mer", "merchants"),
    ("rfd", "refunds"),
)
"""(prefix of the id, table): what the answer to a POST may name."""

ACKNOWLEDGED_GONE = tuple(
    Fault(
        f"SELECT k.resource_id AS subject, 'was acknowledged by ' || k.route || ' and does not exist' AS detail "
        f"FROM idempotency_keys k LEFT JOIN {table} r ON r.id = k.resource_id "
        f"WHERE k.state = 'DONE' AND k.resource_id LIKE '{prefix}!_%' ESCAPE '!' AND r.id IS NULL"
    )
    for prefix, table in KEPT_RESOURCES
)
MADE_TWICE = (
    repeated("payments", ("merchant_id", "reference"), where="reference IS NOT NULL"),
    repeated("payments", ("merchant_id", "slot_key"), where="slot_key IS NOT NULL"),
    repeated("attempts", ("payment_id", "connection_id"), where="state IN ('CREATED', 'LIVE', 'PROCESSING')"),
)

INBOX_TWICE = repeated("provider_events", ("connection_id", "provider_event_id"))

TICK_RUN_TWICE = repeated("job_runs", ("job", "tick_at"), where="tick_at IS NOT NULL")
OPEN_TWICE = repeated("job_runs", ("job",), where="state IN ('QUEUED', 'RUNNING')")
CLAIM_LOST = Fault(
    """
    SELECT id AS subject, job || ' is ' || state || CASE
        WHEN state IN ('QUEUED', 'RUNNING') THEN ', and finished'
        WHEN claim_no = 0 OR owner IS NULL THEN ' by nobody'
        WHEN lease_until IS NOT NULL THEN ' while somebody holds it'
        ELSE ' before it began' END AS detail
    FROM job_runs
    WHERE (state IN ('QUEUED', 'RUNNING') AND finished_at IS NOT NULL)
        OR (state IN ('SUCCEEDED', 'FAILED') AND (
            claim_no = 0 OR owner IS NULL OR lease_until IS NOT NULL
            OR finished_at IS NULL OR finished_at < started_at
        ))
    """
)
"""A finish clears the lease of the claim it was made under; what a stale owner writes leaves one of these marks."""

INVARIANTS = (
    Rule(
        8,
        "Every outside effect has one stable id and one body",
        (*REQUEST_CHANGED, KEY_SHARED, REFERENCE_SHARED, CHECKOUT_SHARED),
    ),
    Rule(
        15,
        "One idempotency key leads to one resource and to equal answers",
        (*ANSWER_CHANGED, KEY_ANSWERED_TWICE),
    ),
    Rule(
        16,
        "What was acknowledged exists, and what was retried exists once",
        (*ACKNOWLEDGED_GONE, *MADE_TWICE),
    ),
    Rule(17, "One inbox row per provider event", (INBOX_TWICE,)),
    Rule(
        18,
        "No job is finished by an owner whose claim was lost; one run per schedule and tick",
        (TICK_RUN_TWICE, OPEN_TWICE, CLAIM_LOST),
    ),
)
