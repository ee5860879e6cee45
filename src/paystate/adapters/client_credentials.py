"""Accounts that are reached by a secret key, or by a client's id and secret that are traded for access tokens."""

from urllib.parse import urlencode

import msgspec

from paystate.adapters.provider_calls import ASK_SECONDS, call, call_json, expect, no_404, parsed_as, said
from paystate.domain.payments.port import Account, CredentialsRefused, NoAnswer, Token
from paystate.machinery.http import Answer, Http

NO_SUCH_CLIENT = frozenset({"invalid_client", "unauthorized_client", "invalid_grant"})


class _Given(msgspec.Struct):
    access_token: str
    expires_in: int


class _Refused(msgspec.Struct):
    error: str


def needs_token(account: Account) -> bool:
    """Without a secret key, with a client's id and secret."""
    client = account.settings.get("clientId") and account.secrets.get("clientSecret")
    return bool(client) and not account.secrets.get("secretKey")


def credential_of(account: Account) -> str:
    """The field that a 401 or 403 of the API speaks about."""
    return "secretKey" if account.secrets.get("secretKey") else "clientSecret"


class Door:
    """Calls of one provider with whichever of both credentials an account has."""

    def __init__(self, http: Http, account: Account, token_url: str) -> None:
        self._http = http
        self._account = account
        self._token_url = token_url

    async def call(self, method: str, url: str, *, body: bytes = b"", seconds: float = ASK_SECONDS) -> Answer:
        """One call. A token that was withdrawn before its time is renewed by whoever keeps the tokens."""
        return await call_json(self._http, method, url, await self._bearer(), body=body, seconds=seconds)

    async def fetch_token(self) -> Token:
        """The grant `client_credentials` of OAuth 2. Raises NoAnswer, CredentialsRefused."""
        form = {
            "client_id": self._account.settings.get("clientId", ""),
            "client_secret": self._account.secrets.get("clientSecret", ""),
            "grant_type": "client_credentials",
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        body = urlencode(form).encode()
        answer = await call(self._http, "POST", self._token_url, headers=headers, body=body)
        if answer.status in (400, 401) and parsed_as(_Refused, answer.body).error in NO_SUCH_CLIENT:
            raise CredentialsRefused(field="clientSecret", answered=said(answer))
        given = parsed_as(_Given, expect(no_404(answer), 200, credential="clientSecret"))
        if not given.access_token or given.expires_in <= 0:
            raise NoAnswer("unreadable")
        return Token(given.access_token, float(given.expires_in))

    async def _bearer(self) -> str:
        """The key or token. Before a connection is stored nobody could keep a token for it: one is fetched then."""
        account = self._account
        if account.secrets.get("secretKey"):
            return account.secrets["secretKey"]
        if not needs_token(account):
            raise _incomplete(account)
        return account.token or (await self.fetch_token()).value


def _incomplete(account: Account) -> CredentialsRefused:
    """Names the field that is missing: a secret key, or the other half of the client's credentials."""
    client, secret = account.settings.get("clientId"), account.secrets.get("clientSecret")
    missing = "clientSecret" if client else "clientId" if secret else "secretKey"
    return CredentialsRefused(field=missing, answered="Give a secretKey, or clientId and clientSecret.")
