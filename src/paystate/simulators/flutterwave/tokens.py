"""The token address of the simulated Flutterwave: a client's id and secret are traded for a token of ten minutes."""

import hmac

from paystate.simulators.calls import Call, Operation
from paystate.simulators.flutterwave.dialect import TOKEN_PATH
from paystate.simulators.stage import Answer
from paystate.simulators.till import Account, Till

TOKEN_SECONDS = 600


class Tokens:
    """Its errors are those of OAuth, not of Flutterwave."""

    def __init__(self, till: Till) -> None:
        self._till = till

    def serve(self) -> None:
        self._till.serve("POST", TOKEN_PATH, Operation("token", self.token, public=True))

    def token(self, call: Call) -> Answer:
        form = call.body or {}
        if form.get("grant_type") != "client_credentials":
            return _refusal(400, "invalid_request", "Missing form parameter: grant_type")
        account = self._account(str(form.get("client_id", "")), str(form.get("client_secret", "")))
        if account is None:
            return _refusal(401, "invalid_client", "Invalid client or Invalid client credentials")
        lives = int(account.extra.get("tokenSeconds", TOKEN_SECONDS))
        given = {
            "access_token": self._till.dialect.lend_token(account.keys[0], lives),
            "expires_in": lives,
            "refresh_expires_in": 0,
            "token_type": "Bearer",
            "not-before-policy": 0,
            "scope": "profile email",
        }
        return Answer(200, given)

    def _account(self, client: str, secret: str) -> Account | None:
        for account in self._till.state.accounts.values():
            known = account.extra.get("clientSecret", "")
            if client and account.extra.get("clientId") == client and account.keys and known:
                return account if hmac.compare_digest(known.encode(), secret.encode()) else None
        return None


def _refusal(status: int, error: str, description: str) -> Answer:
    return Answer(status, {"error": error, "error_description": description})
