"""Who is known by which key, remembered for a few seconds so that a busy key costs no query."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Generic, TypeVar

from paystate.domain import merchants
from paystate.domain.merchants import Merchant, Principal
from paystate.kit.clock import monotonic
from paystate.kit.errors import NotFound, Unavailable
from paystate.kit.ids import MerchantId, System
from paystate.machinery.db import Database, Tx
from paystate.machinery.logs import get_logger

KNOWN_SECONDS = 4.0
"""A revoked key is refused within five seconds (and at once in the process that revoked it)."""

KNOWN_LIMIT = 10_000
WHO = System("authentication of an API request")
log = get_logger(__name__)

T = TypeVar("T")


class _Memory(Generic[T]):
    """A bounded number of values, each for a few seconds."""

    def __init__(self) -> None:
        self._values: OrderedDict[str, tuple[float, T]] = OrderedDict()

    async def get(self, key: str, find: Callable[[], Awaitable[T]]) -> T:
        found = self._values.get(key)
        if found is not None and found[0] > monotonic():
            return found[1]
        value = await find()
        self._values[key] = (monotonic() + KNOWN_SECONDS, value)
        self._values.move_to_end(key)
        while len(self._values) > KNOWN_LIMIT:
            self._values.popitem(last=False)
        return value

    def forget(self) -> None:
        self._values.clear()


class Known:
    """Keys by their fingerprint, merchants by id and by name."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._keys: _Memory[Principal | None] = _Memory()
        self._merchants: _Memory[Merchant] = _Memory()
        self._names: _Memory[Merchant] = _Memory()

    async def principal(self, key_hash: str) -> Principal | None:
        """Who holds the key with this fingerprint; None for one that is unknown, revoked or expired."""
        return await self._keys.get(key_hash, lambda: self._authenticate(key_hash))

    async def merchant(self, merchant_id: MerchantId) -> Merchant:
        """The merchant as it stood a moment ago."""
        return await self._merchants.get(
            merchant_id,
            lambda: self._db.read(lambda tx: merchants.get_merchant(tx, merchant_id, merchant_id)),
        )

    async def merchant_named(self, name: str) -> Merchant:
        """The merchant of this exact name, for the owner. Raises NotFound."""
        return await self._names.get(name, lambda: self._find(name))

    def forget_keys(self) -> None:
        """A key was revoked here: ask the database again for every one."""
        self._keys.forget()

    async def _authenticate(self, key_hash: str) -> Principal | None:
        def look(tx: Tx) -> tuple[Principal | None, bool]:
            found = merchants.authenticate(tx, WHO, key_hash)
            return found, found is not None and merchants.touch_due(found.last_used_at, tx.now)

        principal, due = await self._db.read(look)
        if principal is not None and due:
            try:
                await self._db.write(
                    partial(merchants.touch_key, who=principal.merchant_id, key_id=principal.key_id)
                )
            except Unavailable:  # a database that only reads still answers what can be read
                log.warning("key_use_not_noted")
        return principal

    async def _find(self, name: str) -> Merchant:
        found = await self._db.read(lambda tx: merchants.find_merchant_by_name(tx, WHO, name))
        if found is None:
            raise NotFound("There is no merchant of this name.")
        return found
