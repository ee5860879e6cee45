"""Who may come in: authentication, the limit of the key, and the scope of the route, before a body is read."""

import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from paystate.domain.audit import AuditEntry, record
from paystate.domain.merchants import SCOPES, Merchant, address_allowed
from paystate.entrypoints.api import body
from paystate.entrypoints.api.desk import Desk
from paystate.entrypoints.incoming import Incoming, header, headers, incoming
from paystate.flows.context import Context
from paystate.kit.clock import monotonic
from paystate.kit.errors import Forbidden, TooMany, Unauthenticated, invalid
from paystate.kit.ids import MerchantId, System
from paystate.machinery.db import Database, Tx
from paystate.machinery.idempotency import Slot, canonical_hash, validate_key
from paystate.machinery.rate_limits import Limiter, address_key
from paystate.machinery.secrets import ct_eq

PUBLIC: Final = "public"
OWNER: Final = "owner"
CRON: Final = "cron"
"""The scope `jobs`, or an external scheduler with the shared secret (A9)."""

JOBS: Final = "jobs"
SCOPE: Final = "x-scope"
"""Where a route says in the OpenAPI document what a caller needs."""

MAX_CREDENTIAL = 512
MERCHANT_HEADER: Final = b"paystate-merchant"
_CALL = "paystate.call"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `merchant_id` is None for the public, for the scheduler, and for an owner who named no merchant."""

    actor: str
    merchant_id: MerchantId | None
    scopes: frozenset[str]


STRANGER: Final = Caller("customer", None, frozenset())


@dataclass(frozen=True, slots=True)
class Call:
    """One admitted request: who asks, where from, and what it may reach."""

    desk: Desk
    caller: Caller
    facts: Incoming
    request: Request
    route: str
    payload: Any
    key: str | None

    @property
    def db(self) -> Database:
        return self.desk.app.db

    @property
    def ctx(self) -> Context:
        return self.desk.app.ctx

    @property
    def who(self) -> MerchantId:
        """The merchant whose data this is about. Raises Refused when an owner named none."""
        if self.caller.merchant_id is None:
            raise invalid("/Paystate-Merchant", "merchant_required", "Name the merchant in this header.")
        return self.caller.merchant_id

    async def merchant(self) -> Merchant:
        """The merchant's own settings, as they stood a few seconds ago."""
        return await self.desk.known.merchant(self.who)

    def slot(self, merchant_id: MerchantId | None = None) -> Slot | None:
        """The place of this request's Idempotency-Key: one merchant, one route, one input."""
        owner = merchant_id or self.caller.merchant_id
        if self.key is None or owner is None:
            return None
        sent = {"path": self.request.path_params, "body": self.payload}
        return Slot(owner, self.route, self.key, canonical_hash(sent))

    def note(self, tx: Tx, action: str, resource_id: str, before: Any = None, after: Any = None) -> None:
        """Write an operator's act into the audit log, in this commit."""
        owner = self.caller.merchant_id
        entry = AuditEntry(
            merchant_id=owner,
            actor=self.caller.actor,
            action=action,
            resource_id=resource_id,
            before=before or {},
            after=after or {},
            reason="api",
            address=self.facts.address,
            request_id=self.facts.request_id,
        )
        record(tx, owner or System("an act on the whole installation"), [entry])


class GuardedRoute(APIRoute):
    """A route that says what a caller needs (`x-scope`), and admits nobody else; without it, it does not exist."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        scope = str((self.openapi_extra or {})[SCOPE])
        assert scope in (*SCOPES, PUBLIC, OWNER, CRON), scope
        template = f"{' '.join(sorted(self.methods or ()))} {self.path}"
        expects = body.expectation(self)

        async def guarded(request: Request) -> Response:
            desk: Desk = request.app.state.desk
            facts = incoming(request.scope)
            caller = await _admit(desk, request, facts, scope)
            cards = desk.app.settings.refuse_card_numbers and scope != OWNER
            read = await body.read(request, expects, refuse_cards=cards)
            key = _idempotency_key(request) if expects.writes else None
            body.refuse_unknown_query(request, expects)
            request.scope[_CALL] = Call(desk, caller, facts, request, template, read.value, key)
            return await answer(read.request)

        return guarded


async def current_call(request: Request) -> Call:
    """The admitted request, for an endpoint."""
    call: Call = request.scope[_CALL]
    return call


Current = Annotated[Call, Depends(current_call)]


async def _admit(desk: Desk, request: Request, facts: Incoming, scope: str) -> Caller:
    if scope == PUBLIC:
        return STRANGER
    if scope == CRON and header(request.scope, b"x-cron-secret") is not None:
        return _scheduler(desk, request, facts)
    caller, bucket = await _authenticate(desk, request, facts)
    if bucket is not None:
        _count(desk.limits.api, bucket, facts)
    needed = JOBS if scope == CRON else scope
    if needed not in caller.scopes:
        raise Forbidden("This key may not do that.", required=needed)
    return caller


async def _authenticate(desk: Desk, request: Request, facts: Incoming) -> tuple[Caller, str | None]:
    """The caller, and the name under which its requests are counted (the owner's are not)."""
    key_hash = _bearer(request)
    if key_hash is None:
        raise _unknown(desk, facts)
    if desk.owner_key_hash is not None and ct_eq(key_hash.encode(), desk.owner_key_hash.encode()):
        return await _owner(desk, request), None
    principal = await desk.known.principal(key_hash)
    if principal is None:
        raise _unknown(desk, facts)
    if not address_allowed(principal.addresses, facts.address):
        raise Forbidden("This key may not be used from this address.", code="address_not_allowed")
    return Caller(f"key:{principal.key_id}", principal.merchant_id, principal.scopes), principal.key_id


def _bearer(request: Request) -> str | None:
    """The fingerprint of the credential; None when there is none that could be one."""
    given = headers(request.scope, b"authorization")
    if len(given) != 1 or len(given[0]) > MAX_CREDENTIAL:
        return None
    scheme, _, token = given[0].partition(b" ")
    if scheme.lower() != b"bearer" or not token:
        return None
    return hashlib.sha256(token).hexdigest()


async def _owner(desk: Desk, request: Request) -> Caller:
    """The owner of the data directory may do everything, for the merchant that a header names."""
    name = header(request.scope, MERCHANT_HEADER)
    merchant = (
        None
        if name is None
        else await desk.known.merchant_named(name.decode("utf-8", "replace").replace("\0", ""))
    )
    return Caller("operator:owner", None if merchant is None else merchant.id, frozenset({*SCOPES, OWNER}))


def _scheduler(desk: Desk, request: Request, facts: Incoming) -> Caller:
    """An external scheduler with the shared secret; a header only, never a query (T34)."""
    _count(desk.limits.jobs, address_key(facts.address), facts)
    secret = desk.app.settings.cron_secret
    given = headers(request.scope, b"x-cron-secret")
    if secret is None or len(given) != 1 or not ct_eq(given[0], secret.reveal().encode()):
        raise Unauthenticated("The x-cron-secret is not the right one.")
    return Caller("cron", None, frozenset({JOBS}))


def _unknown(desk: Desk, facts: Incoming) -> Unauthenticated:
    """Guesses are counted by address; past the limit they are not even answered as guesses."""
    _count(desk.limits.address, address_key(facts.address), facts)
    return Unauthenticated("A valid API key is required: Authorization: Bearer psk_…")


def _count(limiter: Limiter, key: str, facts: Incoming) -> None:
    hit = limiter.hit(key, monotonic())
    facts.rate_headers = limiter.headers(hit)
    if not hit.allowed:
        raise TooMany("Too many requests; slow down.", retry_after_seconds=hit.retry_after_seconds)


def _idempotency_key(request: Request) -> str | None:
    given = headers(request.scope, b"idempotency-key")
    if not given:
        return None
    return validate_key(given[0].decode("latin-1") if len(given) == 1 else "")
