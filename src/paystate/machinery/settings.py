"""Settings of an installation: read from the environment or `paystate.toml`, checked as a whole, explained one by one."""

import difflib
import os
import re
import secrets
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from paystate.kit.errors import PaystateError
from paystate.machinery.secrets import KeyRing, Secret, generate_key_text
from paystate.machinery.setting_values import (
    AlertUrls,
    Cron,
    CronSecret,
    DatabaseUrl,
    Email,
    Emails,
    KeyText,
    Networks,
    Origin,
    Rate,
    RateLimit,
    Region,
    SmtpUrl,
    Texts,
    Zone,
)

PREFIX: Final = "PAYSTATE_"
FILE_NAME: Final = "paystate.toml"
KEY_FILE_NAME: Final = "secret.key"
DEFAULT_DATA_DIR: Final = "./paystate-data"
MAX_FILE_BYTES: Final = 64 * 1024

_NOT_OURS = ("PAYSTATE_TEST_", "PAYSTATE_CONNECTION_")
_SWITCH_ALIASES = "PAYSTATE_ALIASES"
_ALIASES: Final = {
    "CRON_SECRET": "cron_secret",
    "PAYMENT_CLEANUP_INTERVAL_MINUTES": "payment_cleanup_interval_minutes",
    "PAYMENT_CLEANUP_CRON": "payment_cleanup_cron",
}
"""Names of systems that Paystate replaces, read only with PAYSTATE_ALIASES=1 and after our own."""


def _default_database(data: dict[str, Any]) -> Secret:
    return Secret(f"sqlite:///{data['data_dir'] / 'paystate.db'}")


def _default_hosts(data: dict[str, Any]) -> tuple[str, ...]:
    own = urlsplit(data["public_url"]).hostname or ""
    return tuple(dict.fromkeys([own, "localhost", "127.0.0.1", "::1"]))


# fmt: off
class Settings(BaseModel):
    """All settings. One line is all a new one needs: name, type, default, limits, what it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    env: Literal["development", "test", "production"] = Field("development", description="What this installation is for; production refuses failpoints.")
    data_dir: Path = Field(Path(DEFAULT_DATA_DIR), description="Where the database file, the key and paystate.toml are.")
    database_url: DatabaseUrl = Field(default_factory=_default_database, description="sqlite:///path or postgresql://…; by default paystate.db in the data directory.")
    public_url: Origin = Field("http://127.0.0.1:8420", description="The address customers and providers reach this installation at.")
    host: str = Field("127.0.0.1", min_length=1, description="The address to listen on.")
    port: int = Field(8420, ge=1, le=65535, description="The port to listen on.")
    secret_key: KeyText | None = Field(None, description="Key, or key ring kid:key,kid2:key2, that encrypts stored credentials; made in the data directory when absent on SQLite.")
    cron_secret: CronSecret | None = Field(None, description="Value of the x-cron-secret header that may run jobs; at least 32 bytes.")
    trusted_proxies: Networks = Field((), description="Networks of reverse proxies whose X-Forwarded-For is believed.")
    trusted_hosts: Texts = Field(default_factory=_default_hosts, description="Host headers that are answered; by default that of the public address and loopback.")
    allow_private_addresses: Networks = Field((), description="Private networks that outgoing requests may reach, for simulators and tests.")
    failpoints: str | None = Field(None, description="Faults to inject at named points; refused in production.")
    failpoints_log: Path | None = Field(None, description="File to which a failpoint that fires writes its name.")

    log_format: Literal["json", "text"] = Field("json", description="One JSON object per line, or text for people.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least level that is logged.")
    log_file: Path | None = Field(None, description="Also write the log to this file, rotated by size.")
    time_zone: Zone = Field("UTC", description="Time zone of job schedules that name none.")
    default_region: Region | None = Field(None, description="Country of phone numbers in national form for merchants without one.")
    support_email: Email | None = Field(None, description="Address that pages and messages name for questions.")
    alert_emails: Emails = Field((), description="Addresses of the operators who are alerted.")
    alert_urls: AlertUrls = Field((), description="Apprise URLs that are told of alerts too (Slack, Discord, ntfy …), apart by spaces.")
    smtp_url: SmtpUrl | None = Field(None, description="The mail server: smtps://user:password@host, or smtp://… for STARTTLS.")
    email_from: Email | None = Field(None, description="Sender of e-mails; by default paystate@ the host of the public address.")
    refuse_card_numbers: bool = Field(default=True, description="Refuse texts that contain what looks like a card number.")

    payment_cleanup_interval_minutes: int = Field(30, ge=1, le=10_080, description="Age at which a pending payment of a bundle is stale.")
    payment_cleanup_cron: Cron = Field("*/15 * * * *", description="When the cleanup of stale payments runs.")
    expired_links_cron: Cron = Field("*/5 * * * *", description="When links past their time are swept.")
    stuck_payments_cron: Cron = Field("*/15 * * * *", description="When stuck payments are looked for.")
    check_pending_payments_cron: Cron = Field("20 * * * *", description="When payments that wait for long are asked about again.")
    decline_unpaid_orders_cron: Cron = Field("50 * * * *", description="When orders unpaid for long are declined.")
    refresh_provider_tokens_cron: Cron = Field("* * * * *", description="When access tokens of providers are renewed.")
    check_alerts_cron: Cron = Field("*/5 * * * *", description="When the rules of alerts are looked at.")
    payment_cleanup_alert_expired: int = Field(10, ge=1, description="Alert when one cleanup expires more payments than this.")
    pending_verification_limit_minutes: int = Field(120, ge=1, description="Age at which a payment in verification is expired or reopened.")
    pending_verification_alert_minutes: int = Field(30, ge=1, description="Age at which a payment in verification is listed and alerted.")
    unanswered_limit_hours: int = Field(24, ge=1, description="How long a silent provider is asked before the payment goes to manual review.")
    stuck_payment_minutes: int = Field(60, ge=1, description="Age at which an open payment with a live attempt is reported as stuck.")
    webhooks_silent_hours: int = Field(6, ge=1, le=720, description="Alert when a connection that sent webhooks sends none for so long while payments are settled.")
    case_alert_hours: int = Field(24, ge=1, le=720, description="Alert when a case waits for a person for so long.")
    page_timeout_minutes: int = Field(15, ge=1, le=1440, description="How long a pay page stays usable without reloading.")
    order_first_check_hours: int = Field(24, ge=1, description="Age at which the unpaid payment of an order with a payee is checked.")
    order_decline_hours: int = Field(48, ge=1, description="Age at which an unpaid order with a payee is declined.")
    customer_token_minutes: int = Field(15, ge=1, le=1440, description="How long a customer token is valid.")
    refused_create_minutes: int = Field(30, ge=1, le=1440, description="How long a refused create is kept for Cancel & Start New.")

    api_rate_limit: Rate = Field(RateLimit(600, 60), description="API requests per key, as count/seconds.")
    polling_rate_limit: Rate = Field(RateLimit(300, 900), description="Status polls per client address.")
    webhook_rate_limit: Rate = Field(RateLimit(600, 60), description="Refused or unknown webhooks per client address before it is turned away.")
    login_rate_limit: Rate = Field(RateLimit(10, 300), description="Login attempts per account and client address.")
    code_miss_rate_limit: Rate = Field(RateLimit(60, 900), description="Unknown short codes per client address.")
    job_rate_limit: Rate = Field(RateLimit(60, 60), description="Job requests per client address.")
    default_provider_rate: int = Field(20, ge=1, le=1000, description="Requests per second to a provider's connection.")
    sandbox_provider_rate: int = Field(100, ge=1, le=10_000, description="Requests per second to a connection of the sandbox provider.")

    verify_batch: int = Field(100, ge=1, le=1000, description="Payments claimed at once for verification.")
    verify_in_flight: int = Field(100, ge=1, le=1000, description="Verifications under way at once in one process.")
    verify_list_from: int = Field(200, ge=0, le=100_000, description="From so many due attempts of a connection on, its provider's list is read first, where it has one; 0: never.")
    check_dense_seconds: int = Field(3, ge=1, le=3600, description="Interval of checks just after the customer returned.")
    check_dense_minutes: int = Field(15, ge=0, le=1440, description="How long checks stay dense.")
    request_body_limit: int = Field(65_536, ge=1024, description="Largest request body in bytes.")
    webhook_body_limit: int = Field(262_144, ge=1024, description="Largest webhook body in bytes.")
    request_body_seconds: int = Field(5, ge=1, le=300, description="How long a request body may take to arrive.")
    max_running_requests: int = Field(200, ge=1, le=10_000, description="Requests worked on at once; more are answered 503.")
    database_pool_size: int = Field(10, ge=1, le=1000, description="PostgreSQL connections per process.")
    database_statement_timeout_seconds: int = Field(5, ge=1, le=600, description="Longest time of one SQL statement on PostgreSQL.")
    job_retention_runs: int = Field(100, ge=1, le=100_000, description="Runs of each job that are kept.")

    _sources: Mapping[str, str] = PrivateAttr(default_factory=dict)
# fmt: on

    def model_post_init(self, context: Any) -> None:
        self._sources = dict(context or {})

    @property
    def sources(self) -> Mapping[str, str]:
        """Where each setting that is not a default came from."""
        return self._sources

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is a file served by this one process."""
        return self.database_url.reveal().startswith("sqlite:")

    @cached_property
    def key_ring(self) -> KeyRing:
        """The keys that encrypt stored credentials."""
        assert self.secret_key is not None, "load_settings always provides a key"
        return KeyRing.parse(self.secret_key.reveal())


class SettingsFaults(PaystateError):
    """The settings are not usable; `faults` names every one, with a sentence each."""

    code = "settings_invalid"

    def __init__(self, faults: list[tuple[str, str]]) -> None:
        super().__init__("The settings are not valid:\n" + "\n".join(f"  {name}: {sentence}" for name, sentence in faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One line of `paystate doctor --settings`; secrets are already hidden."""

    name: str
    value: str
    source: str
    default: str
    description: str


@dataclass(frozen=True, slots=True)
class _Given:
    """A value as it was given, and where."""

    value: Any
    source: str


def load_settings(environ: Mapping[str, str], *, data_dir_override: Path | str | None = None) -> Settings:
    """The settings of this process. An empty variable counts as absent.

    On SQLite without a key, one is made in the data directory (0600). Raises SettingsFaults with all faults at once.
    """
    faults: list[tuple[str, str]] = []
    given = _from_environment(environ, faults)
    if data_dir_override is not None:
        given["data_dir"] = _Given(str(data_dir_override), "command line")
    given.setdefault("data_dir", _Given(DEFAULT_DATA_DIR, "default"))
    data_dir = Path(given["data_dir"].value).expanduser().absolute()
    given["data_dir"] = _Given(data_dir, given["data_dir"].source)
    given = _from_file(data_dir / FILE_NAME, faults) | given
    settings = _validate(given, faults)
    faults += _contradictions(settings)
    if not faults and settings.secret_key is None:
        key = _own_key(data_dir / KEY_FILE_NAME, settings.database_url.reveal(), faults)
        given["secret_key"] = _Given(key, str(data_dir / KEY_FILE_NAME))
        settings = _validate(given, faults)
    if faults:
        raise SettingsFaults(faults)
    return settings


def _from_environment(environ: Mapping[str, str], faults: list[tuple[str, str]]) -> dict[str, _Given]:
    given: dict[str, _Given] = {}
    if environ.get(_SWITCH_ALIASES) == "1":
        for alias, field in _ALIASES.items():
            if environ.get(alias):
                given[field] = _Given(environ[alias], f"environment ({alias})")
    ours: dict[str, _Given] = {}
    for name in sorted(environ):
        if name.startswith(PREFIX) and name != _SWITCH_ALIASES and not name.startswith(_NOT_OURS) and environ[name]:
            _take(name.removeprefix(PREFIX).lower(), environ[name], "environment", ours, faults)
    return given | ours


def _from_file(path: Path, faults: list[tuple[str, str]]) -> dict[str, _Given]:
    given: dict[str, _Given] = {}
    try:
        entries = tomllib.loads(_read_file(path))
    except FileNotFoundError:
        return given
    except (OSError, ValueError) as failure:
        faults.append((FILE_NAME, f"The file cannot be read: {failure}."))
        return given
    for key, value in entries.items():
        if key == "data_dir":
            faults.append((FILE_NAME, "data_dir says where this file is; set it outside of it."))
        else:
            _take(key, value, FILE_NAME, given, faults)
    return given


def _take(key: str, value: Any, source: str, given: dict[str, _Given], faults: list[tuple[str, str]]) -> None:
    field = key if key in Settings.model_fields else key.removesuffix("_file")
    name = _name(key)
    if field not in Settings.model_fields:
        faults.append((name, f"There is no such setting{_suggestion(key)} ({source})."))
    elif field in given:
        faults.append((name, f"It is given twice, directly and by a file ({source})."))
    elif field == key:
        given[field] = _Given(value, source)
    else:
        try:
            given[field] = _Given(_read_file(Path(value)).strip(), f"{source} (file {value})")
        except (OSError, ValueError, TypeError):
            faults.append((name, "The file cannot be read."))


def _suggestion(key: str) -> str:
    close = difflib.get_close_matches(key, Settings.model_fields, n=1)
    return f"; did you mean {_name(close[0])}?" if close else ""


def _read_file(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"it is larger than {MAX_FILE_BYTES} bytes")
    return content.decode()


def _validate(given: Mapping[str, _Given], faults: list[tuple[str, str]]) -> Settings:
    """The settings; faulty values are reported and left at their defaults, so that later checks can run."""
    sources = {field: entry.source for field, entry in given.items()}
    values = {field: entry.value for field, entry in given.items()}
    try:
        return Settings.model_validate(values, context=sources)
    except ValidationError as failure:
        for error in failure.errors(include_input=False, include_url=False, include_context=False):
            field = str(error["loc"][0])
            if values.pop(field, None) is not None:
                sentence = error["msg"].removeprefix("Value error, ")
                faults.append((_name(field), f"{sentence[:1].upper()}{sentence[1:].rstrip('.')} ({sources[field]})."))
        return Settings.model_validate(values, context=sources)


def _contradictions(settings: Settings) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if settings.env == "production" and settings.failpoints:
        found.append((_name("failpoints"), "Failpoints are refused in production."))
    if not settings.is_sqlite and settings.secret_key is None:
        found.append(
            (_name("secret_key"), "On PostgreSQL a key shared by all processes is required: openssl rand -base64 32.")
        )
    return found


def _own_key(path: Path, database_url: str, faults: list[tuple[str, str]]) -> str | None:
    """The key in the data directory, made at the first start; processes that race for it get the same one."""
    try:
        if not path.exists():
            if Path(database_url.removeprefix("sqlite:///")).exists():
                faults.append((_name("secret_key"), f"The database exists and its key {path} is gone: put it back."))
                return None
            _make_key(path)
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            faults.append((_name("secret_key"), f"Others can read {path}: chmod 600 it."))
        return _read_file(path).strip()
    except (OSError, ValueError) as failure:
        faults.append((_name("secret_key"), f"The key in the data directory cannot be read or made: {failure}."))
        return None


def _make_key(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(generate_key_text() + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # fails when another process was first; then its key counts
        except FileExistsError:
            return
    finally:
        draft.unlink()
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # a key that encrypts data must outlive a power cut
    finally:
        os.close(directory)


def settings_table(settings: Settings) -> list[SettingRow]:
    """Every setting with its value (secrets hidden), source, default and meaning."""
    return [
        SettingRow(
            name=_name(field),
            value=_shown(getattr(settings, field)),
            source=settings.sources.get(field, "default"),
            default="(derived)" if info.default_factory else _shown(info.default),
            description=info.description or "",
        )
        for field, info in Settings.model_fields.items()
    ]


def _name(field: str) -> str:
    return PREFIX + field.upper()


def _shown(value: Any) -> str:
    match value:
        case None | ():
            return "(none)"
        case tuple():
            return ",".join(str(part) for part in value)
        case bool():
            return str(value).lower()
        case Secret() if "://" in value.reveal():
            hidden = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", value.reveal())
            return re.sub(r"(password=)[^&]*", r"\1***", hidden)
    return str(value)
