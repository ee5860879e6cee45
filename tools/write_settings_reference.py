"""Writes docs/reference/settings.md from the settings themselves; with --check, only says whether it is up to date."""
# ruff: noqa: INP001 - a script, not a package

import sys
import tempfile
from pathlib import Path

from paystate.machinery.settings import SettingRow, load_settings, settings_table

TARGET = Path(__file__).parent.parent / "docs" / "reference" / "settings.md"

HEAD = """# Settings

Every setting is an environment variable. The same name in lower case and without `PAYSTATE_` works in a file
`paystate.toml` in the data directory; the environment wins. With `_FILE` behind its name, a setting is read from the
file it names, for secrets. An empty variable counts as absent, an unknown one stops the start, and all faults are told
at once. `paystate doctor --settings` lists every value and where it came from, with secrets hidden.

This page is written by `tools/write_settings_reference.py` from the settings themselves.

## A `paystate.toml` for SQLite on one machine

```toml
env = "production"
public_url = "https://pay.example.com"
trusted_proxies = "127.0.0.1/32"
support_email = "help@example.com"
alert_emails = ["ops@example.com"]
time_zone = "Africa/Johannesburg"
default_region = "ZA"
```

The database and its key are made in the data directory at the first start. Back up both: without `secret.key` the stored
credentials cannot be opened.

## A `paystate.toml` for PostgreSQL

```toml
env = "production"
database_url_file = "/run/secrets/paystate-database-url"
secret_key_file = "/run/secrets/paystate-secret-key"
cron_secret_file = "/run/secrets/paystate-cron-secret"
public_url = "https://pay.example.com"
trusted_proxies = "10.0.0.0/24"
support_email = "help@example.com"
alert_emails = ["ops@example.com"]
```

Run `paystate migrate` once, then `paystate serve`, or any number of `paystate web` and `paystate worker`.

## All settings

| setting | default | what it is |
|---|---|---|
"""


def page() -> str:
    """The whole page; defaults that depend on other settings are told in words."""
    with tempfile.TemporaryDirectory() as folder:
        rows = settings_table(load_settings({}, data_dir_override=folder))
    return HEAD + "".join(_line(row) for row in rows)


def _line(row: SettingRow) -> str:
    return f"| `{row.name}` | {_default(row)} | {row.description.replace('|', chr(92) + '|')} |\n"


def _default(row: SettingRow) -> str:
    return row.default.strip("()") if row.default.startswith("(") else f"`{row.default}`"


def main() -> int:
    """0: written, or up to date; 1: out of date."""
    wanted = page()
    if "--check" in sys.argv[1:]:
        return 0 if TARGET.exists() and TARGET.read_text() == wanted else 1
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
