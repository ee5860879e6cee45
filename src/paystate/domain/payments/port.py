"""What payments need from a provider: small capabilities, each an own protocol, never a flag."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar, cast, runtime_checkable

from paystate.domain.payments.states import Outcome
from paystate.kit.clock import Instant
from paystate.kit.money import Money

EPOCH = Instant(0)


@dataclass(frozen=True, slots=True)
class Account:
    """A merchant's account at a provider with its credentials in the clear, for the time of a call."""

    connection_id: str
    account: str
    live: bool
    settings: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)
    token: str | None = field(default=None, repr=False)
    """A current access token, where the adapter `RenewsTokens` and these credentials need one."""


@dataclass(frozen=True, slots=True)
class CheckoutOrder:
    """What a provider is asked to collect. `reference` is the attempt's own, 16–25 of a–z0–9."""

    reference: str
    money: Money
    description: str
    return_url: str
    cancel_url: str
    webhook_url: str
    expires_at: Instant | None


@dataclass(frozen=True, slots=True)
class Offer:
    """Where the customer goes: a redirect, a form to post, or instructions to follow."""

    kind: Literal["redirect", "form", "instructions"]
    url: str
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Started:
    """The provider made a checkout (or answered again with the one it had made for this key).

    `checkout_id` is None where a start makes no call and the provider has no id of its own to give yet.
    """

    checkout_id: str | None
    offer: Offer


@dataclass(frozen=True, slots=True)
class Subject:
    """The checkout we ask about: by the provider's id where we have it, else by our reference.

    `created_at` and `money` are the attempt's, for providers that can only be searched. `traces`: what messages named
    beside our reference, newest first; each is only a claim until the provider answers for it.
    """

    reference: str
    checkout_id: str | None
    created_at: Instant = EPOCH
    money: Money | None = None
    traces: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the provider's API said. Amounts in minor units; `provider_at` is the provider's time of payment."""

    outcome: Outcome
    reference: str
    account: str
    live: bool
    detail: str
    raw_digest: str
    checkout_id: str | None = None
    amount: int | None = None
    currency: str | None = None
    transaction_id: str | None = None
    method: str | None = None
    fee: int | None = None
    provider_at: Instant | None = None
    amount_refunded: int = 0
    disputed: bool = False
    further: "tuple[Verdict, ...]" = ()
    """Other transactions of the same checkout, where a provider took money more than once."""


@dataclass(frozen=True, slots=True)
class Named:
    """A checkout that a message names, by our reference or by the provider's id.

    `trace`: a handle to ask with, where a provider answers neither to our reference nor to an id of the start (Netcash).
    """

    reference: str | None = None
    checkout_id: str | None = None
    trace: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Message:
    """A provider's webhook after its signature was checked. It is a hint: it only names what to look at.

    `gave_up`: it says that the customer left without paying, which is worth a look but no waiting for money.
    """

    event_id: str
    kind: str
    named: Sequence[Named]
    authentic: bool
    gave_up: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose credentials these are."""

    account: str
    live: bool
    name: str


@dataclass(frozen=True, slots=True)
class Token:
    """An access token and how long it lives from now."""

    value: str = field(repr=False)
    lives_seconds: float


@dataclass(frozen=True, slots=True)
class RefundOrder:
    """Money to give back: of which transaction (and checkout), how much, under which key of ours."""

    transaction_id: str
    checkout_id: str | None
    money: Money
    idempotency_key: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RefundAnswer:
    """A refund as the provider knows it. `key` is ours where the provider keeps it."""

    refund_id: str
    outcome: Literal["PENDING", "SUCCEEDED", "FAILED"]
    money: Money | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """One page of a provider's list; a missing row never is an answer."""

    verdicts: Sequence[Verdict]
    next_cursor: str | None


class NoAnswer(Exception):
    """The provider gave no usable answer: time-out, 5xx, garbage, 429. Never a failure of the payment.

    `sent` is False only when certainly nothing reached the provider. `server_error` marks a 5xx of its own.
    """

    def __init__(
        self,
        reason: str,
        *,
        sent: bool = True,
        retry_after_seconds: float | None = None,
        server_error: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent
        self.retry_after_seconds = retry_after_seconds
        self.server_error = server_error


class NotThere(NoAnswer):
    """The provider does not know the checkout (yet): shortly after creation this is "not yet"."""

    def __init__(self) -> None:
        super().__init__("not_found")


class CredentialsRefused(NoAnswer):
    """401 or 403: the connection is parked with an alert, the payments are not touched.

    `field` is the connection's field that is wrong, `answered` what the provider said, without secrets.
    """

    def __init__(
        self, reason: str = "credentials_refused", *, field: str | None = None, answered: str = ""
    ) -> None:
        super().__init__(reason)
        self.field = field
        self.answered = answered


class StartRefused(Exception):
    """The provider understood the start and refused it for good; nothing was made there."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SignatureInvalid(Exception):
    """A webhook's signature is missing, wrong, or too old."""


class Provider(Protocol):
    """What every provider can do."""

    name: str
    fields: Mapping[str, str]
    """Names of the connection's fields and what each is; those in `secret_fields` are sealed."""
    secret_fields: frozenset[str]
    optional_fields: Mapping[str, str]
    """Fields that may be left out, and what holds then: the provider's real base URL, or nothing."""

    def check(self, money: Money) -> None:
        """Raise Refused `currency_not_supported_by_provider` or `amount_below_minimum`."""

    def prepare(self, account: Account, order: CheckoutOrder) -> bytes:
        """The exact request bytes of the start; stored, and sent again unchanged after a crash."""

    async def start(self, account: Account, request: bytes, *, idempotency_key: str) -> Started:
        """Make the checkout. Raises NoAnswer, CredentialsRefused, StartRefused."""

    async def ask(self, account: Account, subject: Subject) -> Verdict:
        """The proof call. Raises NoAnswer, NotThere, CredentialsRefused."""

    async def identify(self, account: Account) -> Identity:
        """Whose credentials these are. Raises NoAnswer, CredentialsRefused."""


@runtime_checkable
class Closes(Protocol):
    """The provider can end a checkout so that it can no longer be paid."""

    async def close(self, account: Account, subject: Subject) -> Verdict:
        """End the checkout and say how it stands now; a paid one answers SUCCEEDED. Raises as `ask`."""


@runtime_checkable
class Lists(Protocol):
    """The provider can list checkouts made in a window of time, oldest first."""

    async def list_checkouts(
        self, account: Account, *, since: Instant, until: Instant, cursor: str | None
    ) -> Listed: ...


@runtime_checkable
class Refunds(Protocol):
    """The provider can give money back through its API, and says what it gave back so far."""

    async def refund(self, account: Account, order: RefundOrder) -> RefundAnswer:
        """Start it. Raises NoAnswer (it may have happened: look at `refunds_of`), StartRefused, CredentialsRefused."""

    async def refunds_of(
        self, account: Account, transaction_id: str, checkout_id: str | None
    ) -> Sequence[RefundAnswer]:
        """Every refund of this transaction, whoever started it, oldest first."""


@runtime_checkable
class KeepsRefundKeys(Protocol):
    """The provider carries a refund out once per key: after a lost answer the same order is sent again."""

    refund_key_seconds: int
    """How long the key holds at the provider."""


@runtime_checkable
class RenewsTokens(Protocol):
    """Some credentials of this provider are traded for access tokens that expire."""

    def needs_token(self, account: Account) -> bool:
        """Whether these credentials are of that kind."""

    async def fetch_token(self, account: Account) -> Token:
        """A new access token. Raises NoAnswer, CredentialsRefused."""


@runtime_checkable
class Paced(Protocol):
    """The provider allows fewer or more calls than our default, perhaps not per account."""

    calls_per_second: int

    def budget_key(self, account: Account) -> str:
        """Whatever shares this budget: the connection, or an address that many connections call."""


@runtime_checkable
class AsksByTrace(Protocol):
    """Its proof call needs a handle that only its messages bring: `Subject.traces`."""

    traces_asked: int
    """How many of the newest are asked about at once."""


@runtime_checkable
class Pushes(Protocol):
    """Customers send the money themselves: more or less than asked, in several transfers. Nothing there can be closed.

    `ask` names every transfer it knows, the first as the verdict and the others as `further`.
    """

    transfers_counted: int
    """How many transfers of one payment are added up; one more goes to a person."""


@runtime_checkable
class LandsOnFixedPath(Protocol):
    """Its return addresses are fixed per account; browsers land on `/pay/return/{connectionId}`, by GET or POST."""

    def read_return(self, account: Account, fields: Mapping[str, str]) -> Message:
        """What the browser brought, as a hint. Raises ValueError."""


@runtime_checkable
class SendsWebhooks(Protocol):
    """The provider sends messages to `/api/webhooks/{provider}/{connectionId}`."""

    def read_webhook(
        self, account: Account, headers: Mapping[str, str], body: bytes, *, now: Instant
    ) -> Message:
        """Check the signature on the raw bytes and name what it is about. Raises SignatureInvalid, ValueError."""


T = TypeVar("T")
_ABLE: dict[tuple[type, type], bool] = {}


def able(provider: object, capability: type[T]) -> T | None:
    """The provider as one with this capability, or None; remembered, since looking at a protocol's members is slow."""
    key = (type(provider), capability)
    known = _ABLE.get(key)
    if known is None:
        known = _ABLE[key] = isinstance(provider, capability)
    return cast("T", provider) if known else None
