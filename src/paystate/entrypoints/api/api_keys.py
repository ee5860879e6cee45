"""The API keys of a merchant: shown once when made, revoked for good."""

from typing import Annotated, Literal

from fastapi import Path, Query
from pydantic import ConfigDict, Field
from starlette.responses import Response

from paystate.domain import merchants
from paystate.domain.merchants import ApiKey
from paystate.entrypoints.api.answers import PageOut, page_answer, page_request, replayable, text_of
from paystate.entrypoints.api.fields import In, Moment, Name, Out, PageQuery
from paystate.entrypoints.api.guard import Call, Current
from paystate.entrypoints.api.operation import operation, router
from paystate.entrypoints.api.repeat import write_once
from paystate.kit.clock import rfc3339, rfc3339_or_none
from paystate.kit.errors import Forbidden
from paystate.machinery.db import Tx
from paystate.machinery.idempotency import Answer
from paystate.machinery.secrets import API_KEY_PREFIX, fingerprint, new_api_key

SHOWN = 4
KeyId = Annotated[str, Path(alias="keyId", pattern=r"^key_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
Scope = Literal[
    "payments:read",
    "payments:write",
    "refunds:write",
    "escrow:release",
    "payouts:write",
    "webhooks:manage",
    "ledger:read",
    "jobs",
    "admin",
]
routes = router("/api/api-keys", "API keys")


class KeyIn(In):
    """A new key."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "shop", "scopes": ["payments:read", "payments:write"]}]}
    )

    name: Annotated[Name, Field(max_length=100)]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=20)]
    addresses: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=50)] = Field(
        default_factory=list
    )
    expires_at: Moment | None = None


class KeyOut(Out):
    """What may be shown of a key; `key` itself only in the answer that makes it."""

    id: str
    name: str
    prefix: str
    last4: str
    scopes: list[str]
    addresses: list[str]
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None
    key: str | None = None


@routes.post("", **operation("createApiKey", "admin", KeyOut, status=201))
async def create(call: Current, body: KeyIn) -> Response:
    """Make a key. It is in this answer and nowhere else; a replay does not show it again."""

    if not set(body.scopes) <= call.caller.scopes:
        raise Forbidden("A key can only be given what the caller may do itself.")

    def work(tx: Tx) -> Answer:
        secret = new_api_key().reveal()
        made = merchants.create_api_key(
            tx,
            call.who,
            merchant_id=call.who,
            name=body.name,
            scopes=body.scopes,
            expires_at=body.expires_at,
            hash=fingerprint(secret),
            prefix=API_KEY_PREFIX,
            last4=secret[-SHOWN:],
            addresses=body.addresses,
        )
        call.note(tx, "api_key.created", made.id, after={"scopes": list(made.scopes)})
        return Answer(made.id, 201, text_of(key_out(made, secret)), kept_body=text_of(key_out(made)))

    return replayable(await write_once(call, work))


@routes.get("", **operation("listApiKeys", "admin", PageOut[KeyOut]))
async def list_all(call: Current, query: Annotated[PageQuery, Query()]) -> Response:
    """The keys, newest first, the revoked ones too."""
    page = page_request(call, "api-keys", query)
    found = await call.db.read(lambda tx: merchants.list_keys(tx, call.who, page))
    return page_answer(call, "api-keys", found, key_out)


@routes.post("/{keyId}/revoke", **operation("revokeApiKey", "admin", KeyOut, "not_found"))
async def revoke(call: Current, key_id: KeyId) -> Response:
    """End a key for good; a second time changes nothing."""
    stored = await write_once(call, lambda tx: _revoked(call, key_id, tx))
    call.desk.known.forget_keys()
    return replayable(stored)


def _revoked(call: Call, key_id: str, tx: Tx) -> Answer:
    before = merchants.get_key(tx, call.who, key_id)
    after = merchants.revoke_key(tx, call.who, key_id)
    if before.revoked_at is None:
        call.note(tx, "api_key.revoked", key_id, after={"revokedAt": after.revoked_at})
    return Answer(key_id, 200, text_of(key_out(after)))


def key_out(key: ApiKey, secret: str | None = None) -> KeyOut:
    """The key as it is shown; with the secret only where it was just made."""
    return KeyOut(
        id=key.id,
        name=key.name,
        prefix=key.prefix,
        last4=key.last4,
        scopes=list(key.scopes),
        addresses=list(key.addresses),
        created_at=rfc3339(key.created_at),
        expires_at=rfc3339_or_none(key.expires_at),
        revoked_at=rfc3339_or_none(key.revoked_at),
        last_used_at=rfc3339_or_none(key.last_used_at),
        key=secret,
    )
