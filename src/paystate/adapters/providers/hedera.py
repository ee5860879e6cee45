"""Hedera: HBAR and USDC sent to an account with a memo, found at a mirror node; nothing is ever sent by us.

There is no checkout to make, to close or to be told about: whoever knows account and memo can pay, less or more, at any
time, for ever. A receipt is one transaction; its consensus timestamp is unique in its network and stands for it.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote, urlencode

import msgspec

from paystate.adapters.hedera_mirror import (
    Movement,
    Page,
    consensus_time,
    instant_of,
    movements,
    read_page,
    timestamp_of,
)
from paystate.adapters.provider_calls import base_url, call, expect, no_404, parsed, refuse_currency
from paystate.domain.payments import Outcome
from paystate.domain.payments.port import (
    Account,
    CheckoutOrder,
    CredentialsRefused,
    Identity,
    Listed,
    NoAnswer,
    NotThere,
    Offer,
    Started,
    Subject,
    Verdict,
)
from paystate.kit.clock import MINUTE, Instant
from paystate.kit.errors import Refused
from paystate.kit.money import EXPONENTS, Money
from paystate.machinery.http import Answer, Http

MIRRORS = {
    "mainnet": "https://mainnet.mirrornode.hedera.com",
    "testnet": "https://testnet.mirrornode.hedera.com",
    "previewnet": "https://previewnet.mirrornode.hedera.com",
}
ASSETS = ("HBAR", "USDC")
USDC_TOKENS = {"mainnet": "0.0.456858", "testnet": "0.0.429274"}
"""The token ids that hold where the connection names none; `identify` asks the network whether they really are USDC."""

TRANSACTIONS = "/api/v1/transactions"
PAGE_ROWS = 100
PAGES_READ = 50
CLOCKS_APART = 5 * MINUTE
"""A consensus time is the network's; ours may be ahead of it."""

_ENTITY = re.compile(r"[0-9]{1,10}\.[0-9]{1,10}\.[0-9]{1,19}\Z")


class _Owner(msgspec.Struct):
    account: str
    deleted: bool | None = None
    max_automatic_token_associations: int | None = None


class _Token(msgspec.Struct):
    symbol: str
    decimals: str | int


class _Held(msgspec.Struct):
    id: str = msgspec.field(name="token_id")


class _Holdings(msgspec.Struct):
    tokens: list[_Held]


_read_owner = msgspec.json.Decoder(_Owner).decode
_read_token = msgspec.json.Decoder(_Token).decode
_read_holdings = msgspec.json.Decoder(_Holdings).decode
_read_fields = msgspec.json.Decoder(dict[str, str]).decode


@dataclass(frozen=True, slots=True)
class _Place:
    """Where money is expected: the account, its network, and the assets it takes by token id."""

    account: str
    network: str
    tokens: Mapping[str, str]


class Hedera:
    """Instructions to follow, and a search by memo; it can list, but not close, and refunds are sent by hand."""

    name = "hedera"
    fields: Mapping[str, str] = {
        "accountId": "The account that receives the money, like 0.0.800001.",
        "assets": "What it takes, separated by commas: HBAR, USDC.",
        "network": "mainnet, testnet or previewnet; only mainnet is live money.",
        "tokens": "Token ids where they differ from the network's known ones, like USDC=0.0.456858.",
        "baseUrl": "The mirror node.",
        "header": "A header that a commercial mirror node wants with each call, like `X-Api-Key: …`.",
    }
    secret_fields = frozenset({"header"})
    optional_fields: Mapping[str, str] = {
        "assets": "HBAR,USDC",
        "network": "mainnet",
        "tokens": "",
        "baseUrl": MIRRORS["mainnet"],
        "header": "",
    }
    transfers_counted = 50
    calls_per_second = 40
    """The free mirrors allow some fifty from one address, whatever the account."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def budget_key(self, account: Account) -> str:
        """The mirror: all connections call it from the same address."""
        return f"hedera:{_mirror(account.settings)}"

    def check(self, money: Money) -> None:
        """HBAR from one tinybar on, USDC from its smallest unit on."""
        if money.currency not in ASSETS:
            raise refuse_currency("Hedera", money)
        if money.amount < 1:
            raise Refused("The amount is too small to be sent.", code="amount_below_minimum")

    def prepare(self, account: Account, order: CheckoutOrder) -> bytes:
        """The instructions. Raises Refused for an asset that this connection does not take."""
        self.check(order.money)
        place = _place(account)
        asset = order.money.currency
        if asset not in _assets(account.settings):
            raise Refused(f"This Hedera account takes no {asset}.", code="currency_not_supported_by_provider")
        token = next((token for token, name in place.tokens.items() if name == asset), None)
        fields = {
            "account": place.account,
            "amount": order.money.major,
            "asset": asset,
            "memo": order.reference,
            "network": place.network,
            **({} if token is None else {"token": token}),
            "text": f"Send {order.money.major} {asset} to {place.account} with the memo {order.reference} "
            f"on Hedera {place.network}.",
        }
        return msgspec.json.encode(fields)

    async def start(self, account: Account, request: bytes, *, idempotency_key: str) -> Started:
        """No call. `text` is one plain sentence for a person or a QR code: wallets agree on no payment address."""
        del account, idempotency_key
        return Started(None, Offer("instructions", "", _read_fields(request)))

    async def ask(self, account: Account, subject: Subject) -> Verdict:
        """Every transaction of the account since the attempt was made whose memo is our reference, letter case aside.

        The first receipt is the verdict, the others are `further`; what went out with the same memo was given back.
        """
        place = _place(account)
        since = Instant(max(0, subject.created_at - CLOCKS_APART))
        memo = subject.reference.casefold()
        moved: list[Movement] = []
        digest, path = "", _query(place, f"gt:{timestamp_of(since)}")
        for _ in range(PAGES_READ):
            page, digest = await self._page(account, path)
            found = movements(place.account, place.tokens, page, digest)
            moved += [movement for movement in found if movement.memo == memo]
            if page.links.next is None:
                break
            path = _path(page.links.next)
        else:
            if not any(movement.change > 0 for movement in moved):
                raise NoAnswer("too_many_transactions")
        verdicts = _receipts(place, moved, None if subject.money is None else subject.money.currency)
        if not verdicts:
            return _no_receipt(place, subject, moved, digest)
        return replace(verdicts[0], further=tuple(verdicts[1:]))

    async def list_checkouts(
        self, account: Account, *, since: Instant, until: Instant, cursor: str | None
    ) -> Listed:
        """One verdict per credit to the account, its memo as reference, "" without one. Says nothing of refunds."""
        place = _place(account)
        query = _query(place, f"gte:{timestamp_of(since)}", f"lt:{timestamp_of(until)}")
        page, digest = await self._page(account, query if cursor is None else _path(cursor))
        came = [m for m in movements(place.account, place.tokens, page, digest) if m.change > 0]
        following = None if page.links.next is None else _path(page.links.next)
        if following is not None and following == cursor:
            raise NoAnswer("unreadable")
        return Listed(_receipts(place, came, None), following)

    async def identify(self, account: Account) -> Identity:
        """GET the account, and for USDC the token and whether the account can hold it."""
        place = _place(account)
        owner = await self._owner(account, place)
        if "USDC" in _assets(account.settings):
            await self._prove_token(account, place, owner)
        return Identity(owner.account, _is_live(place), f"Hedera {place.network} {owner.account}")

    async def _owner(self, account: Account, place: _Place) -> _Owner:
        try:
            body = await self._get(account, f"/api/v1/accounts/{quote(place.account)}?transactions=false")
        except NotThere:
            raise CredentialsRefused(
                field="accountId", answered=f"{place.network} knows no such account"
            ) from None
        owner = parsed(_read_owner, body)
        if owner.account != place.account:
            raise NoAnswer("unreadable")
        if owner.deleted:
            raise CredentialsRefused(field="accountId", answered="the account is deleted")
        return owner

    async def _prove_token(self, account: Account, place: _Place, owner: _Owner) -> None:
        usdc = next(iter(place.tokens), None)
        if usdc is None:
            raise CredentialsRefused(field="tokens", answered=f"none is known for {place.network}")
        try:
            known = parsed(_read_token, await self._get(account, f"/api/v1/tokens/{quote(usdc)}"))
        except NotThere:
            raise CredentialsRefused(field="tokens", answered=f"there is no token {usdc}") from None
        if (known.symbol, str(known.decimals)) != ("USDC", str(EXPONENTS["USDC"])):
            raise CredentialsRefused(field="tokens", answered=f"{usdc} is not USDC")
        query = urlencode({"token.id": usdc})
        path = f"/api/v1/accounts/{quote(place.account)}/tokens?{query}"
        held = parsed(_read_holdings, await self._get(account, path)).tokens
        if not owner.max_automatic_token_associations and all(one.id != usdc for one in held):
            raise CredentialsRefused(field="assets", answered="the account is not associated with USDC")

    async def _page(self, account: Account, path: str) -> tuple[Page, str]:
        body = expect(no_404(await self._call(account, path)), 200, credential="header")
        return parsed(read_page, body), hashlib.sha256(body).hexdigest()

    async def _get(self, account: Account, path: str) -> bytes:
        return expect(await self._call(account, path), 200, credential="header")

    async def _call(self, account: Account, path: str) -> Answer:
        url = _mirror(account.settings) + path
        return await call(self._http, "GET", url, headers=_header(account))


def make(http: Http) -> Hedera:
    """The adapter as `load_providers` finds it."""
    return Hedera(http)


def _mirror(settings: Mapping[str, str]) -> str:
    """The mirror of the connection's own network, where its address was left as it is by default."""
    given = base_url(settings, MIRRORS["mainnet"])
    return MIRRORS[_network(settings)] if given == MIRRORS["mainnet"] else given


def _network(settings: Mapping[str, str]) -> str:
    """Raises CredentialsRefused for no network of Hedera, and for one that the mirror node does not belong to."""
    network = settings.get("network") or "mainnet"
    if network not in MIRRORS:
        raise CredentialsRefused(field="network", answered=f"the network is one of {', '.join(MIRRORS)}")
    given = base_url(settings, MIRRORS["mainnet"])
    elsewhere = [name for name, url in MIRRORS.items() if url == given and name not in ("mainnet", network)]
    if elsewhere:
        # Test money must never count as live because one of two fields was forgotten.
        raise CredentialsRefused(field="network", answered=f"this mirror node is of {elsewhere[0]}")
    return network


def _place(account: Account) -> _Place:
    settings = account.settings
    network = _network(settings)
    account_id = settings.get("accountId", "").strip()
    if not _ENTITY.match(account_id):
        raise CredentialsRefused(field="accountId", answered="an account id looks like 0.0.800001")
    known = {"USDC": USDC_TOKENS[network]} if network in USDC_TOKENS else {}
    return _Place(account_id, network, {token: name for name, token in (known | _tokens(settings)).items()})


def _tokens(settings: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in settings.get("tokens", "").split(","))):
        name, _, token = part.partition("=")
        if name not in ASSETS or name == "HBAR" or not _ENTITY.match(token):
            raise CredentialsRefused(field="tokens", answered="tokens look like USDC=0.0.456858")
        found[name] = token
    return found


def _assets(settings: Mapping[str, str]) -> list[str]:
    taken = [part.strip() for part in (settings.get("assets") or ",".join(ASSETS)).split(",")]
    if any(name not in ASSETS for name in taken):
        raise CredentialsRefused(field="assets", answered="the assets are HBAR and USDC")
    return taken


def _header(account: Account) -> dict[str, str]:
    name, colon, value = account.secrets.get("header", "").partition(":")
    return {name.strip(): value.strip()} if colon else {}


def _query(place: _Place, *times: str) -> str:
    wanted = [("account.id", place.account), ("result", "success"), ("order", "asc"), ("limit", PAGE_ROWS)]
    return f"{TRANSACTIONS}?{urlencode([*wanted, *(('timestamp', time) for time in times)], safe=':')}"


def _path(following: str) -> str:
    """A link to the next page is followed only to where pages are."""
    if not following.startswith(f"{TRANSACTIONS}?"):
        raise NoAnswer("unreadable")
    return following


def _is_live(place: _Place) -> bool:
    return place.network == "mainnet"


def _receipts(place: _Place, moved: Sequence[Movement], wanted: str | None) -> list[Verdict]:
    """A verdict for each credit, by time; what left again came off the newest one before it, as surplus does."""
    received: list[tuple[Movement, int]] = []
    # Of what one transaction brought, the asset that was asked for stands first.
    for movement in sorted(moved, key=lambda m: (consensus_time(m.at), m.asset != wanted)):
        if movement.odd:
            continue
        if movement.change > 0:
            received.append((movement, 0))
        else:
            received = _given_back(received, movement.asset, -movement.change)
    seen: set[str] = set()
    verdicts = []
    for movement, back in received:
        name = f"{movement.at}/{movement.asset}" if movement.at in seen else movement.at
        seen.add(movement.at)
        verdicts.append(_receipt(place, movement, back, name))
    return verdicts


def _given_back(received: Sequence[tuple[Movement, int]], asset: str, out: int) -> list[tuple[Movement, int]]:
    changed = []
    for movement, back in reversed(received):
        more = min(out, movement.change - back) if movement.asset == asset else 0
        out -= more
        changed.append((movement, back + more))
    return changed[::-1]


def _receipt(place: _Place, movement: Movement, back: int, transaction_id: str) -> Verdict:
    return Verdict(
        outcome=Outcome.REFUNDED if back == movement.change else Outcome.SUCCEEDED,
        reference=movement.memo,
        account=place.account,
        live=_is_live(place),
        detail="SUCCESS",
        raw_digest=movement.digest,
        amount=movement.change,
        currency=movement.asset,
        transaction_id=transaction_id,
        method="hedera",
        provider_at=instant_of(movement.at),
        amount_refunded=back,
    )


def _no_receipt(place: _Place, subject: Subject, moved: Sequence[Movement], digest: str) -> Verdict:
    """Nothing yet; or, with our memo, something that came and is not what we know, for a person to look at."""
    odd = next((movement.odd for movement in moved if movement.odd and movement.change > 0), None)
    return Verdict(
        outcome=Outcome.PENDING if odd is None else Outcome.UNKNOWN,
        reference=subject.reference,
        account=place.account,
        live=_is_live(place),
        detail=odd or "no_transfer",
        raw_digest=digest,
    )
