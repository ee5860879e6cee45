"""What differs from provider to provider: ids, words, webhooks, test cards, and where the page sends the browser."""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import web

from paystate.kit.clock import SECOND, Instant
from paystate.kit.ids import new_id
from paystate.simulators.bodies import read_json
from paystate.simulators.fault_answers import with_unknown_status
from paystate.simulators.stage import NO_DETAILS, Answer, Stage
from paystate.simulators.till.objects import Account, Checkout, Refund

OPERATIONS = ("start", "ask", "list", "close", "refund", "ask_refund", "account")
FEE_BASIS_POINTS = 150
MAX_TOKENS = 10_000
RETURNING = frozenset(
    {"pay", "pay_slowly", "pay_wrong_amount", "pay_other_currency", "pay_late", "pay_by_card"}
)
"""Acts on the page after which a browser goes back to the shop."""

Kind = Literal["checkout", "decline", "refund", "event"]
Lie = Literal["amount", "currency", "reference", "account", "live"]
"""What a forced payment may differ in from what was asked for."""

Name = Literal[
    "checkout.paid",
    "checkout.processing",
    "checkout.declined",
    "checkout.failed",
    "checkout.expired",
    "checkout.closed",
    "refund.pending",
    "refund.succeeded",
    "refund.failed",
    "dispute.created",
]
_PREFIXES: dict[Kind, str] = {"checkout": "chk", "decline": "try", "refund": "ref", "event": "evt"}


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that a provider may tell by webhook; the checkout is as it is afterwards."""

    name: Name
    checkout: Checkout
    at: Instant
    refund: Refund | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One webhook: the provider's word for what happened, and the exact bytes."""

    type: str
    body: bytes
    id: str


@dataclass(frozen=True, slots=True)
class Card:
    """What a published test card does; `code` is the bank's word when it declines."""

    act: Literal["pay", "decline", "process", "fail", "dispute"]
    code: str = "card_declined"


@dataclass(frozen=True, slots=True)
class Vector:
    """A signature that the provider, or its own library, is known to accept: at this second, of these bytes."""

    secret: str
    body: bytes
    headers: Mapping[str, str]
    at_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Landing:
    """Where a browser goes: by GET, or with `fields` by a form that posts itself."""

    url: str
    fields: Mapping[str, str] | None = None


class Dialect(ABC):
    """One provider's way of speaking. Override what differs; `messages` and the attributes without a value must be given."""

    brand: str
    accounts: tuple[Account, ...]
    """There from the start and after each reset; the first is the default."""
    operations: tuple[str, ...] = OPERATIONS
    page_path: str = "/checkout"
    cards: Mapping[str, Card] = {}
    """By number without spaces; every other number pays."""

    wrong_fields: Mapping[str, str] = {"secretKey": "sk_of_nobody"}
    """By field of a connection, a value of its shape that is nobody's: refused when the provider is asked who it is."""
    untold: Mapping[Lie, str] = {}
    """Lies about a payment that no answer here can show, each with the reason."""
    open_after_decline: bool = True
    """After a declined try the checkout says that it can still be paid; else it says failed, until another try pays."""
    signed_with: Sequence[Mapping[str, str]] = ({},)
    """The `extra` of an account that signs its webhooks, one for each generation of signatures; none: never signed."""
    sends_unsigned: bool = False
    """Whether the webhooks of an account without such `extra` carry no signature."""
    vectors: Sequence[Vector] = ()

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._tokens: dict[str, tuple[str, int | None]] = {}

    @abstractmethod
    def messages(self, happening: Happening) -> Iterable[Message]:
        """The webhooks of this happening: none, one or several."""

    def connection_fields(self, account: Account) -> dict[str, str]:
        """What a merchant types in to connect this account to an installation."""
        return {
            "secretKey": account.keys[-1] if account.keys else "",
            "webhookSecret": account.webhook_secret,
            "baseUrl": self.stage.base_url,
        }

    # --- webhooks

    def webhook_url(self, account: Account, checkout: Checkout) -> str | None:
        """The checkout's own address, else the account's."""
        return checkout.webhook_url or account.webhook_url

    def signing_secret(self, account: Account) -> str:
        return account.webhook_secret

    def sign(self, secret: str, body: bytes, event_id: str) -> Mapping[str, str]:
        """The headers of this moment; a Content-Type among them replaces JSON."""
        del secret, body, event_id
        return {}

    # --- calls

    def key_of(self, request: web.Request) -> str | None:
        """The key a call carries, or the one its access token stands for; by default `Authorization: Bearer`."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer":
            return None
        key, until = self._tokens.get(given.strip(), (given.strip(), None))
        return key if until is None or self.stage.now() < until else None

    def lend_token(self, key: str, seconds: int) -> str:
        """A new access token that stands for a key for a while (OAuth)."""
        token = secrets.token_urlsafe(32)
        self._tokens[token] = (key, self.stage.now() + seconds * SECOND)
        if len(self._tokens) > MAX_TOKENS:
            del self._tokens[next(iter(self._tokens))]
        return token

    def expire_tokens(self) -> int:
        """All at once; how many there were."""
        gone = len(self._tokens)
        self._tokens = {token: (key, 0) for token, (key, _) in self._tokens.items()}
        return gone

    def read_body(self, request: web.Request, raw: bytes) -> dict[str, Any] | None:
        del request
        return read_json(raw)

    def headers(self) -> Mapping[str, str]:
        """What every answer carries."""
        return {}

    def error(self, status: int, code: str, message: str, details: Mapping[str, Any] = NO_DETAILS) -> Answer:
        """How a refusal looks. `code` may be ours (`invalid_key`, `not_found`, `rate_limited`, …): translate it."""
        del details
        return Answer(status, {"error": {"code": code, "message": message}})

    def not_found(self, request: web.Request) -> Answer:
        """The `not_found404` fault: for a list this may be an empty one."""
        del request
        return self.error(404, "not_found", "There is no such object.")

    def unknown_status(self, body: Any) -> Any:
        """An answer with a status nobody has heard of; by default wherever it says `status` in words."""
        return with_unknown_status(body)

    # --- objects

    def new_id(self, kind: Kind, account: Account, now: Instant) -> str:
        del account
        return new_id(_PREFIXES[kind], now)

    def transaction_id(self, checkout: Checkout, now: Instant) -> str:
        """Of a payment of this checkout; called once for each payment, also for those after the first."""
        del checkout
        return new_id("txn", now)

    def fee(self, amount: int, currency: str) -> int:
        """In minor units of the currency; 1.5 %, rounded down."""
        del currency
        return amount * FEE_BASIS_POINTS // 10_000

    # --- the page

    def page_url(self, checkout: Checkout) -> str:
        return f"{self.stage.base_url}{self.page_path}/{checkout.id}"

    def landing(self, checkout: Checkout, act: str) -> Landing | None:
        """Where the browser goes after an act on the page; None: it stays."""
        if act == "leave":
            return Landing(checkout.cancel_url)
        return Landing(checkout.return_url) if act in RETURNING else None

    def landing_extra(self, url: str) -> dict[str, str]:
        """The `extra` of an account whose browsers all come back to this address; none: each checkout has its own."""
        del url
        return {}

    def reset(self) -> None:
        """Forget what the dialect itself remembers; extend it for counters of your own."""
        self._tokens.clear()
