"""The operation that examines an installation: each check by its name, with what was found and what to do."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from paystate.app import App
from paystate.domain import alerts, connections
from paystate.domain.alerts import Severity
from paystate.domain.connections import ConnectionState
from paystate.entrypoints.operations.declare import Answer, Order, operation
from paystate.kit.clock import SECOND, SystemClock
from paystate.kit.errors import Unavailable
from paystate.kit.ids import System
from paystate.kit.paging import MAX_LIMIT, PageRequest
from paystate.machinery.db import trial_clock
from paystate.machinery.db.reachable import reachable
from paystate.machinery.db.sqlite import SAFE_VERSION
from paystate.machinery.settings import Settings
from paystate.migrations import run as migrations

WHO = System("examination by the owner")
MAX_SKEW_SECONDS = 2
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Level(StrEnum):
    OK = "OK"
    WARNING = "WARNING"
    PROBLEM = "PROBLEM"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `advice` says what to do when it is not in order."""

    name: str
    level: Level
    found: str
    advice: str = ""


class Examine(Order, frozen=True, kw_only=True):
    """With `goLive`, whatever must be right before real money moves counts as a problem."""

    go_live: bool = False


@operation("doctor", Examine)
async def examine(app: App, order: Examine) -> Answer:
    checks = settings_checks(app.settings, go_live=order.go_live)
    try:
        schema = _schema(app.settings)
        checks.append(schema)
        if schema.level is Level.OK:
            checks += await _database_checks(app)
            checks += await _connection_checks(app, go_live=order.go_live)
            checks.append(await _standing_alerts(app))
    except Unavailable as error:
        advice = "Check PAYSTATE_DATABASE_URL and the server."
        checks.append(Check("database", Level.PROBLEM, error.detail, advice))
    problems = sum(check.level is Level.PROBLEM for check in checks)
    return {"ok": problems == 0, "problems": problems, "checks": [asdict(check) for check in checks]}


def settings_checks(settings: Settings, *, go_live: bool) -> list[Check]:
    """What the settings alone show. In production the first half of these must be in order before a start."""
    strict = go_live or settings.env == "production"
    wrong = Level.PROBLEM if strict else Level.WARNING
    return [
        _environment(settings, go_live=go_live),
        _public_url(settings, wrong),
        Check("secret key", Level.OK, f"{len(settings.key_ring.derive_all('doctor'))} on the ring, strong"),
        _failpoints(settings, wrong),
        _private(settings, wrong),
        _proxies(settings),
        _alerts(settings, wrong if go_live else Level.WARNING),
    ]


def _environment(settings: Settings, *, go_live: bool) -> Check:
    if settings.env == "production":
        return Check("environment", Level.OK, "production")
    advice = "Set PAYSTATE_ENV=production before real money moves."
    return Check(
        "environment", Level.PROBLEM if go_live else Level.OK, settings.env, advice if go_live else ""
    )


def _public_url(settings: Settings, wrong: Level) -> Check:
    parts = urlsplit(settings.public_url)
    advice = "Set PAYSTATE_PUBLIC_URL to the https address that customers and providers reach."
    if parts.scheme != "https" or parts.hostname in LOOPBACK:
        return Check("public address", wrong, settings.public_url, advice)
    return Check("public address", Level.OK, settings.public_url)


def _failpoints(settings: Settings, wrong: Level) -> Check:
    if settings.failpoints:
        return Check("failpoints", wrong, "armed", "Unset PAYSTATE_FAILPOINTS.")
    return Check("failpoints", Level.OK, "off")


def _private(settings: Settings, wrong: Level) -> Check:
    if settings.allow_private_addresses:
        networks = ", ".join(map(str, settings.allow_private_addresses))
        return Check("private addresses", wrong, networks, "Unset PAYSTATE_ALLOW_PRIVATE_ADDRESSES.")
    return Check("private addresses", Level.OK, "outgoing requests never reach private networks")


def _proxies(settings: Settings) -> Check:
    if settings.trusted_proxies:
        return Check("proxies", Level.OK, ", ".join(map(str, settings.trusted_proxies)))
    if urlsplit(settings.public_url).scheme == "https":
        advice = "Behind a reverse proxy, set PAYSTATE_TRUSTED_PROXIES to its address; else all visitors share one limit."
        return Check("proxies", Level.WARNING, "none is trusted", advice)
    return Check("proxies", Level.OK, "none")


def _alerts(settings: Settings, wrong: Level) -> Check:
    if settings.alert_emails and settings.smtp_url is None:
        advice = "Set PAYSTATE_SMTP_URL, or remove PAYSTATE_ALERT_EMAILS: no e-mail can be sent."
        return Check("who is told", wrong, "nobody", advice)
    told = len(settings.alert_emails) + len(settings.alert_urls)
    if told and settings.support_email:
        return Check("who is told", Level.OK, f"{told} addresses of operators")
    advice = "Set PAYSTATE_ALERT_EMAILS or PAYSTATE_ALERT_URLS, and PAYSTATE_SUPPORT_EMAIL."
    return Check("who is told", wrong, "the log only" if not told else "no address for customers", advice)


async def _standing_alerts(app: App) -> Check:
    found = await app.db.read(lambda tx: alerts.count_standing(tx, WHO))
    if not found:
        return Check("alerts", Level.OK, "none")
    told = ", ".join(f"{count} {severity.lower()}" for severity, count in sorted(found.items()))
    level = Level.PROBLEM if Severity.CRITICAL.value in found else Level.WARNING
    return Check("alerts", level, told, "Run: paystate alerts list")


async def _database_checks(app: App) -> list[Check]:
    before = SystemClock().now()
    now, offset = await app.db.read(lambda tx: (tx.now, trial_clock.offset(tx)))
    after = SystemClock().now()
    skew = max(before - (now - offset), (now - offset) - after, 0)
    return [_engine(app), _clock(skew, offset)]


def _engine(app: App) -> Check:
    version = app.db.server_version
    found = f"{'SQLite' if app.settings.is_sqlite else 'PostgreSQL'} {version}"
    if app.settings.is_sqlite and tuple(map(int, version.split("."))) < SAFE_VERSION:
        wanted = ".".join(map(str, SAFE_VERSION))
        advice = f"Update SQLite to {wanted} when you can; until then let no other program write to the file."
        return Check("database", Level.WARNING, found, advice)
    return Check("database", Level.OK, found)


def _schema(settings: Settings) -> Check:
    with reachable():
        current = migrations.is_current(settings.database_url.reveal())
    if current:
        return Check("schema", Level.OK, "of this release")
    return Check("schema", Level.PROBLEM, "of another release", "Run: paystate migrate")


def _clock(skew: int, offset: int) -> Check:
    if offset:
        return Check("clock", Level.WARNING, f"moved by {offset // SECOND} s", "Only for trying things out.")
    if skew > MAX_SKEW_SECONDS * SECOND:
        found = f"{skew / SECOND:.1f} s apart from the database's"
        return Check("clock", Level.PROBLEM, found, "Synchronise the clocks of both machines (NTP).")
    return Check("clock", Level.OK, "agrees with the database's")


async def _connection_checks(app: App, *, go_live: bool) -> list[Check]:
    page = await app.db.read(lambda tx: connections.list_connections(tx, WHO, PageRequest(limit=MAX_LIMIT)))
    parked = [one for one in page.rows if one.state is ConnectionState.PARKED]
    if parked:
        found = ", ".join(f"{one.provider} {one.id}: {one.state_reason}" for one in parked)
        advice = "Replace the credentials, then: paystate connections test ID"
        return [Check("connections", Level.PROBLEM, found, advice)]
    active = [one for one in page.rows if one.state is ConnectionState.ACTIVE]
    live = sum(one.live for one in active)
    if go_live and not live:
        return [Check("connections", Level.PROBLEM, "none is live", "Run: paystate connections add …")]
    return [Check("connections", Level.OK, f"{len(active)} active, {live} live")]
