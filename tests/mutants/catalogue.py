"""The mistakes, and the tests that are expected to notice them."""

from dataclasses import dataclass

RULES = "src/paystate/domain/payments/rules.py"
SETTLE = "src/paystate/flows/settle_payment.py"
VERIFY = "tests/flows/test_verify.py"
RULE_TESTS = "tests/domain/test_payment_rules.py"


@dataclass(frozen=True)
class Patch:
    """One exact text, found once in one file, and what replaces it."""

    path: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """A mistake with its name in words and the tests to run against it."""

    name: str
    patches: tuple[Patch, ...]
    tests: tuple[str, ...]


def _ignored(fact: str, condition: str) -> Mutant:
    return Mutant(
        f"{fact} ignored",
        (Patch(RULES, f"    if {condition}:\n", f"    if False and {condition}:\n"),),
        (f"{VERIFY}::test_a_success_that_does_not_match_goes_to_review",),
    )


MUTANTS = (
    Mutant(
        "amount compared with ≥",
        (
            Patch(
                RULES,
                "verdict.amount != situation.payment.amount",
                "(verdict.amount or 0) < situation.payment.amount",
            ),
        ),
        (f"{VERIFY}::test_a_success_that_does_not_match_goes_to_review",),
    ),
    _ignored("currency", "verdict.currency != situation.payment.currency"),
    _ignored("reference", "verdict.reference != situation.attempt.provider_reference"),
    _ignored("provider account", "verdict.account != situation.account"),
    _ignored("live flag", "verdict.live != situation.live"),
    Mutant(
        "FAILED accepted after PAID",
        (
            Patch(
                RULES,
                "if payment.state not in (State.OPEN, State.PENDING_VERIFICATION, State.FAILED):",
                "if payment.state not in (State.OPEN, State.PENDING_VERIFICATION, State.FAILED, State.PAID):",
            ),
            Patch(RULES, '    if AttemptState.SUCCEEDED in attempts:\n        return None, ""\n', ""),
            Patch(
                RULES,
                "reached = before if before in (AttemptState.SUCCEEDED, *ENDED) else state",
                "reached = state",
            ),
            Patch(
                "src/paystate/domain/payments/states.py",
                "    | {(_S.FAILED, to) for to in",
                "    | {(_S.PAID, _S.FAILED)}\n    | {(_S.FAILED, to) for to in",
            ),
        ),
        (f"{VERIFY}::test_failed_then_paid_is_paid_and_paid_then_failed_stays_paid", RULE_TESTS),
    ),
    Mutant(
        "no answer taken as failure",
        (
            Patch(
                RULES,
                '        return Decision("no_answer", attempt.state)\n',
                '        return Decision("no_answer", AttemptState.FAILED, move=State.FAILED if pending else None)\n',
            ),
        ),
        (f"{VERIFY}::test_no_answer_is_never_a_failure", RULE_TESTS),
    ),
    Mutant(
        "unknown status taken as failure",
        (
            Patch(
                "src/paystate/adapters/providers/sandbox.py",
                "OUTCOMES.get(checkout.status, Outcome.UNKNOWN)",
                "OUTCOMES.get(checkout.status, Outcome.FAILED)",
            ),
        ),
        (f"{VERIFY}::test_an_unknown_status_is_kept_and_never_a_failure",),
    ),
    Mutant(
        "row not re-read under the lock",
        (
            Patch(
                SETTLE,
                "attempts = {a.id: a for a in attempt_store.lock_of_payments(tx, who, payment_ids)}",
                "attempts = {a.attempt.id: a.attempt for a in batch}",
            ),
        ),
        (
            f"{VERIFY}::test_a_worker_that_lost_its_claim_changes_nothing",
            f"{VERIFY}::test_a_hint_during_the_asking_is_not_lost",
        ),
    ),
    Mutant(
        "claim number not checked",
        (
            Patch(
                SETTLE,
                "[a for a in batch if attempts[a.attempt.id].claim_no == a.attempt.claim_no]",
                "list(batch)",
            ),
            Patch(
                "src/paystate/domain/payments/attempt_store.py",
                'bulk_update(tx, attempts, list(rows), keys=["id", "claim_no"])',
                'bulk_update(tx, attempts, list(rows), keys=["id"])',
            ),
        ),
        (f"{VERIFY}::test_a_worker_that_lost_its_claim_changes_nothing",),
    ),
    Mutant(
        "proof not unique",
        (
            Patch(
                "src/paystate/domain/payments/proof_model.py",
                '    # Over the whole installation: one provider transaction proves at most one payment (invariant 5).\n    sa.UniqueConstraint("provider", "account", "live", "transaction_id"),\n',
                "",
            ),
        ),
        ("tests/domain/test_constraints.py",),
    ),
    Mutant(
        "expiry without asking",
        (
            Patch(
                "src/paystate/domain/payments/store.py",
                "_HELD = sa.exists().where(attempts.c.payment_id == payments.c.id, unsettled())",
                "_HELD = sa.false()",
            ),
        ),
        ("tests/flows/test_expire.py",),
    ),
    Mutant(
        "late money dropped",
        (
            Patch(
                RULES,
                '    late = frozenset({"late"})\n    if payment.late_policy == "accept":',
                '    late = frozenset({"late"})\n    if payment.late_policy != "accept":\n        return Decision("too_late", AttemptState.SUCCEEDED)\n    if payment.late_policy == "accept":',
            ),
        ),
        ("tests/flows/test_expire.py", RULE_TESTS),
    ),
    Mutant(
        "event written outside the commit",
        (
            Patch(
                "src/paystate/flows/move_payment.py",
                "    _record_events(tx, who, [(s.payment.state, p) for s, p in zip(steps, reached, strict=True)])\n",
                "    LATER.append((who, [(s.payment.state, p) for s, p in zip(steps, reached, strict=True)]))\n",
            ),
            Patch(
                "src/paystate/flows/move_payment.py",
                "def record_creation(",
                "LATER: list = []\n\n\ndef flush(tx):\n    while LATER:\n        _record_events(tx, *LATER.pop())\n\n\ndef record_creation(",
            ),
            Patch(
                "src/paystate/flows/apply_answers.py",
                "    await _note_connections(ctx, batch)\n",
                "    from paystate.flows.move_payment import flush\n    await ctx.db.write(flush)\n    await _note_connections(ctx, batch)\n",
            ),
        ),
        (f"{VERIFY}::test_a_paid_checkout_makes_the_payment_paid",),
    ),
    Mutant(
        "slot kept after FAILED",
        (
            Patch(
                "src/paystate/domain/payments/moves.py",
                "if changed.state in SLOTLESS or changed.cancel_requested_at is not None:",
                "if changed.state in SLOTLESS - {State.FAILED} or changed.cancel_requested_at is not None:",
            ),
        ),
        (f"{VERIFY}::test_a_failed_checkout_fails_the_payment_and_frees_its_slot", RULE_TESTS),
    ),
)
