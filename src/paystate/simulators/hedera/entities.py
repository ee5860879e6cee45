"""What the mirror node knows besides transactions: accounts, tokens, the exchange rate, the newest block."""

from typing import Any

from paystate.kit.clock import HOUR, SECOND
from paystate.simulators.calls import Call, Operation, refuse
from paystate.simulators.hedera.transfers import MICROSECOND, USDC, timestamp
from paystate.simulators.stage import Answer
from paystate.simulators.till import Account, Till

TESTNET_USDC = "0.0.429274"
RATE = {"cent_equivalent": 596_987, "hbar_equivalent": 30_000}
BLOCK_SECONDS = 2
BALANCE = 100_000_000_000


class Entities:
    """Each answer in the shape of the mirror node (0.154.0), without what nobody reads."""

    def __init__(self, till: Till) -> None:
        self._till = till

    def serve(self) -> None:
        for path, act in (
            ("/accounts/{id}", self.account),
            ("/accounts/{id}/tokens", self.holdings),
            ("/tokens/{id}", self.token),
            ("/network/exchangerate", self.rate),
            ("/blocks", self.blocks),
        ):
            self._till.serve("GET", f"/api/v1{path}", Operation("account", act, public=True))

    def account(self, call: Call) -> Answer:
        account = self._account(call)
        known: dict[str, Any] = {
            "account": account.id,
            "alias": None,
            "balance": {"balance": BALANCE, "timestamp": self._now(), "tokens": []},
            "decline_reward": False,
            "deleted": account.extra.get("deleted") == "yes",
            "evm_address": None,
            "max_automatic_token_associations": int(account.extra.get("maxAutoAssociations", "0")),
            "memo": "",
            "receiver_sig_required": False,
            "transactions": [],
            "links": {"next": None},
        }
        return Answer(200, known)

    def holdings(self, call: Call) -> Answer:
        account, wanted = self._account(call), call.request.query.get("token.id")
        tokens = [] if account.extra.get("associated") == "no" else [USDC, TESTNET_USDC]
        rows = [
            {"token_id": token, "balance": 0, "decimals": 6, "automatic_association": False}
            for token in tokens
            if wanted in (None, token)
        ]
        return Answer(200, {"tokens": rows, "links": {"next": None}})

    def token(self, call: Call) -> Answer:
        token = call.request.match_info["id"]
        if token not in (USDC, TESTNET_USDC):
            raise refuse("not_found", "Not found", 404)
        known = {"token_id": token, "name": "USD Coin", "symbol": "USDC", "decimals": "6", "deleted": False}
        return Answer(200, known | {"type": "FUNGIBLE_COMMON", "pause_status": "UNPAUSED", "custom_fees": {}})

    def rate(self, call: Call) -> Answer:
        """Of fees, not of a market; it holds to the full hour."""
        del call
        ends = (self._till.stage.now() // HOUR + 1) * HOUR // SECOND
        rates = {
            "current_rate": RATE | {"expiration_time": ends},
            "next_rate": RATE | {"expiration_time": ends + HOUR // SECOND},
        }
        return Answer(200, rates | {"timestamp": self._now()})

    def blocks(self, call: Call) -> Answer:
        """The newest one, whatever was asked: how fresh the mirror is."""
        del call
        now = self._till.stage.now()
        number = now // (BLOCK_SECONDS * SECOND)
        start = timestamp((now - BLOCK_SECONDS * SECOND) * MICROSECOND)
        block = {"number": number, "count": 0, "timestamp": {"from": start, "to": self._now()}}
        return Answer(200, {"blocks": [block], "links": {"next": None}})

    def _now(self) -> str:
        return timestamp(self._till.stage.now() * MICROSECOND)

    def _account(self, call: Call) -> Account:
        account = self._till.state.accounts.get(call.request.match_info["id"])
        if account is None:
            raise refuse("not_found", "Not found", 404)
        return account
