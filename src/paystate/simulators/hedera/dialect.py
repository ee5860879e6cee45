"""How Hedera speaks: consensus timestamps as ids, results in capitals, and no word to anybody unasked."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiohttp import web

from paystate.kit.clock import SECOND, Instant
from paystate.simulators.bodies import read_form
from paystate.simulators.fault_answers import UNKNOWN_STATUS
from paystate.simulators.stage import NO_DETAILS, Answer, Stage
from paystate.simulators.till import Account, Checkout, Dialect, Happening, Landing, Message
from paystate.simulators.till.dialect import Lie

TRANSACTIONS = "/api/v1/transactions"
COUNTED_PER_MILLISECOND = 1_000_000


class HederaDialect(Dialect):
    """A receiving account per till account. Of `extra`: `associated` ("no": cannot hold USDC), `maxAutoAssociations`,
    and `stakingReward`, tinybars that come with every transfer and are nobody's payment.
    """

    brand = "Hedera Wallet"
    accounts = (
        Account(
            id="0.0.800001",
            live=True,
            webhook_secret="",
            extra={"associated": "yes", "maxAutoAssociations": "0", "stakingReward": "1234"},
        ),
    )
    operations = ("start", "ask", "account")
    """One call lists and asks alike, of all payments at once: a fault cannot be aimed at a single one."""

    page_path = "/wallet"
    wrong_fields: Mapping[str, str] = {"accountId": "0.0.899999", "network": "devnet"}
    untold: Mapping[Lie, str] = {
        "account": "a mirror node that is asked about one account shows nothing of another",
        "live": "each network has mirror nodes of its own",
        "reference": "a transfer with another memo is not this payment's",
    }
    signed_with: Sequence[Mapping[str, str]] = ()

    def connection_fields(self, account: Account) -> dict[str, str]:
        network = "mainnet" if account.live else "testnet"
        return {"accountId": account.id, "network": network, "baseUrl": self.stage.base_url}

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._count = 0

    def messages(self, happening: Happening) -> Iterable[Message]:
        """A mirror node tells nobody."""
        del happening
        return []

    def key_of(self, request: web.Request) -> str | None:
        """Nobody needs a key."""
        del request
        return None

    def read_body(self, request: web.Request, raw: bytes) -> dict[str, Any] | None:
        del request
        return read_form(raw)

    def error(self, status: int, code: str, message: str, details: Mapping[str, Any] = NO_DETAILS) -> Answer:
        del code, details
        return Answer(status, {"_status": {"messages": [{"message": message}]}})

    def not_found(self, request: web.Request) -> Answer:
        """Of transactions there are simply none (yet)."""
        if request.path == TRANSACTIONS:
            return Answer(200, {"transactions": [], "links": {"next": None}})
        return self.error(404, "not_found", "Not found")

    def unknown_status(self, body: Any) -> Any:
        if not isinstance(body, Mapping) or "transactions" not in body:
            return body
        return {
            **body,
            "transactions": [{**row, "result": UNKNOWN_STATUS.upper()} for row in body["transactions"]],
        }

    def transaction_id(self, checkout: Checkout, now: Instant) -> str:
        """The time of consensus to the nanosecond: the millisecond of now, and a count that makes it unique."""
        del checkout
        self._count = (self._count + 1) % COUNTED_PER_MILLISECOND
        return f"{now // SECOND}.{now % SECOND * 1_000 + self._count:09d}"

    def fee(self, amount: int, currency: str) -> int:
        """The payer pays it."""
        del amount, currency
        return 0

    def landing(self, checkout: Checkout, act: str) -> Landing | None:
        """A wallet leads nowhere."""
        del checkout, act
        return None

    def reset(self) -> None:
        super().reset()
        self._count = 0
