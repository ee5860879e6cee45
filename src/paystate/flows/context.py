"""What a flow may reach for: the database, the providers, the keys, the budgets, and the settings of time."""

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from paystate.domain.access import Breaker
from paystate.domain.alerts import Address, Channel
from paystate.domain.connections import Connection, secrets_aad
from paystate.domain.payments import Patience
from paystate.domain.payments.port import Account, AsksByTrace, Paced, Provider, Pushes, able
from paystate.kit.clock import HOUR, MINUTE, SECOND, Clock
from paystate.kit.errors import Refused
from paystate.machinery.db import Database
from paystate.machinery.pacing import Pacer
from paystate.machinery.secrets import KeyRing
from paystate.machinery.settings import Settings

ACCOUNTS_CACHED = 1_000


@dataclass(slots=True)
class Health:
    """Questions without an answer in a row by connection, and the breakers as last read from the database."""

    failures: dict[str, int] = field(default_factory=dict)
    breakers: Mapping[str, Breaker] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Context:
    """Made once by the composition root and handed to every flow."""

    db: Database
    settings: Settings
    keys: KeyRing
    providers: Mapping[str, Provider]
    pacer: Pacer
    patience: Patience
    clock: Clock
    """The time of the world, for what others signed; deadlines and leases take the database's."""

    tokens: dict[str, Any] = field(default_factory=dict)
    """Access tokens this process knows, by connection; `keep_tokens` alone reads and writes them."""

    health: Health = field(default_factory=Health)
    """What this process knows of providers that do not answer."""

    channels: Mapping[str, Channel] = field(default_factory=dict)
    """Ways of telling operators, by name."""

    _accounts: "OrderedDict[tuple[str, int], Account]" = field(default_factory=OrderedDict)

    def provider(self, name: str) -> Provider:
        """The adapter of this name. Raises Refused `provider_not_configured`."""
        try:
            return self.providers[name]
        except KeyError:
            raise Refused(
                "There is no such provider here.",
                code="provider_not_configured",
                available=sorted(self.providers),
            ) from None

    @property
    def operators(self) -> list[Address]:
        """Everybody who is told of alerts."""
        return [Address(name, to) for name, channel in self.channels.items() for to in channel.addresses()]

    @property
    def traced(self) -> frozenset[str]:
        """Providers that are asked by what their messages brought."""
        return frozenset(name for name, p in self.providers.items() if able(p, AsksByTrace))

    @property
    def pushing(self) -> Mapping[str, int]:
        """Providers whose customers send what they like, and how many of their transfers are added up."""
        found = ((name, able(p, Pushes)) for name, p in self.providers.items())
        return {name: p.transfers_counted for name, p in found if p is not None}

    def budget(self, connection: Connection) -> tuple[str, int]:
        """Whose calls share a budget with this connection's, and how many a second it grants."""
        provider = able(self.providers.get(connection.provider), Paced)
        key = connection.id if provider is None else provider.budget_key(self.account(connection))
        return key, connection.rate_per_second

    def account(self, connection: Connection) -> Account:
        """The connection's account with its secrets unsealed, for calls; kept while its version stands."""
        key = (connection.id, connection.version)
        known = self._accounts.get(key)
        if known is not None:
            return known
        opened = self.keys.open(connection.secrets, aad=secrets_aad(connection.id, connection.merchant_id))
        account = Account(
            connection_id=connection.id,
            account=connection.account,
            live=connection.live,
            settings=connection.settings,
            secrets=json.loads(opened),
        )
        self._accounts[key] = account
        while len(self._accounts) > ACCOUNTS_CACHED:
            self._accounts.popitem(last=False)
        return account


def patience_of(settings: Settings) -> Patience:
    """The settings of time as the pure rules want them."""
    return Patience(
        dense_gap=int(settings.check_dense_seconds * SECOND),
        dense_for=settings.check_dense_minutes * MINUTE,
        pending_limit=settings.pending_verification_limit_minutes * MINUTE,
        silent_limit=settings.unanswered_limit_hours * HOUR,
    )
