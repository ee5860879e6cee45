"""Asks a provider about one claimed attempt: the proof call, the stored start again, or the end of a checkout."""

import asyncio
from dataclasses import dataclass, field, replace
from functools import partial

from paystate.domain.connections import Connection
from paystate.domain.payments import Attempt, AttemptState, Outcome, Payment, rules
from paystate.domain.payments.port import (
    Account,
    Closes,
    CredentialsRefused,
    NoAnswer,
    NotThere,
    Provider,
    StartRefused,
    Subject,
    Verdict,
)
from paystate.flows.context import Context
from paystate.flows.keep_tokens import with_account
from paystate.flows.settlement_rows import Asked
from paystate.kit.clock import SECOND, Instant, monotonic
from paystate.machinery.failpoints import declare, failpoint
from paystate.machinery.logs import get_logger

ASK_SECONDS = 10.0
START_SECONDS = 30.0
RETRY_AFTER_MAX_SECONDS = 3_600.0
START_ERRORS_BEFORE_ASKING = 2
log = get_logger(__name__)
AFTER_GET = declare("verify.after_get", "the provider has answered, nothing is written yet")


@dataclass(frozen=True, slots=True)
class Claim:
    """An attempt leased to us, with its payment and connection as they stood then."""

    attempt: Attempt
    payment: Payment
    connection: Connection
    request: bytes | None
    now: Instant
    traces: tuple[str, ...] = field(default=(), repr=False)

    @property
    def subject(self) -> Subject:
        """What the provider is asked about."""
        attempt = self.attempt
        return Subject(
            attempt.provider_reference,
            attempt.checkout_id,
            attempt.created_at,
            self.payment.money,
            self.traces,
        )


def answered(claim: Claim, verdict: Verdict) -> Asked:
    """An answer that came without a question of its own, in a list."""
    return Asked(claim.attempt, claim.connection.account, claim.connection.live, 0, verdict=verdict)


def unanswered(claim: Claim, error: NoAnswer) -> Asked:
    """Nothing came back, or nothing was asked."""
    return Asked(claim.attempt, claim.connection.account, claim.connection.live, 0, **_silence(error))  # type: ignore[arg-type]


async def ask_provider(ctx: Context, claim: Claim) -> Asked:
    """Ask, within ten seconds in all, and put whatever came back into one value. Raises nothing of the provider's."""
    started = monotonic()
    result: dict[str, object] = {}
    try:
        async with asyncio.timeout(
            START_SECONDS if claim.attempt.state is AttemptState.CREATED else ASK_SECONDS
        ):
            result = await with_account(ctx, claim.connection, partial(_exchange, ctx, claim))
    except StartRefused as error:
        result = {"refused": error.reason}
    except NoAnswer as error:
        result = _silence(error)
    except TimeoutError:
        result = {"silence": "timeout"}
    except Exception:
        # An adapter's mistake, or a secret that does not open, is no answer either: loud, and asked again later.
        log.exception("adapter_failed", attempt_id=claim.attempt.id, connection_id=claim.connection.id)
        result = {"silence": "adapter_failed"}
    failpoint(AFTER_GET)
    duration = int((monotonic() - started) * SECOND)
    return Asked(claim.attempt, claim.connection.account, claim.connection.live, duration, **result)  # type: ignore[arg-type]


async def _exchange(ctx: Context, claim: Claim, account: Account) -> dict[str, object]:
    provider = ctx.provider(claim.attempt.provider)
    subject = claim.subject
    if _resend(claim, provider):
        started = await provider.start(
            account, claim.request or b"", idempotency_key=claim.attempt.idempotency_key
        )
        subject = replace(subject, checkout_id=started.checkout_id)
        verdict = await provider.ask(account, subject)
        return await _end(provider, claim, account, subject, verdict) | {"started": started}
    verdict = await provider.ask(account, subject)
    return await _end(provider, claim, account, subject, verdict)


def _resend(claim: Claim, provider: Provider) -> bool:
    """A start whose answer we do not have is sent again unchanged while its key lives, unless it failed twice alike."""
    attempt = claim.attempt
    return (
        attempt.state is AttemptState.CREATED
        and attempt.checkout_id is None
        and claim.request is not None
        and claim.now <= attempt.start_until
        and attempt.start_failures < START_ERRORS_BEFORE_ASKING
        and (isinstance(provider, Closes) or not rules.must_close(claim.payment, attempt, claim.now))
    )


async def _end(
    provider: Provider, claim: Claim, account: Account, subject: Subject, verdict: Verdict
) -> dict[str, object]:
    """End an unpaid checkout whose time is over, where the provider can; the newer verdict counts."""
    unpaid = verdict.outcome is Outcome.PENDING
    if not (unpaid and rules.must_close(claim.payment, claim.attempt, claim.now)):
        return {"verdict": verdict}
    if not isinstance(provider, Closes):
        return {"verdict": verdict, "unclosable": True}
    known = subject if subject.checkout_id is not None else replace(subject, checkout_id=verdict.checkout_id)
    return {"verdict": await provider.close(account, known)}


def _silence(error: NoAnswer) -> dict[str, object]:
    wait = error.retry_after_seconds
    return {
        "silence": error.reason,
        "not_there": isinstance(error, NotThere),
        "credentials_refused": isinstance(error, CredentialsRefused),
        "server_error": error.server_error,
        "retry_after_us": None
        if wait is None
        else int(min(max(wait, 1.0), RETRY_AFTER_MAX_SECONDS) * SECOND),
    }
