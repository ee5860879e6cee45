"""Commands that start an installation's processes: serve, web, worker, and migrate."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from paystate.entrypoints.cli.frame import DataDir, Json, Terminal, print_json, terminal
from paystate.kit.errors import Refused

if TYPE_CHECKING:
    from paystate.machinery.settings import Settings

Host = Annotated[str | None, typer.Option("--host", help="The address to listen on (127.0.0.1).")]
Port = Annotated[int | None, typer.Option("--port", help="The port to listen on (8420).", min=1, max=65535)]
DEFAULT_PORT = 8420


def add_to(command_line: typer.Typer) -> None:
    """Put these commands on the command line."""
    for command in (serve, web, worker, migrate):
        command_line.command()(command)


def serve(
    *,
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Run web and worker; on SQLite in this one process, on PostgreSQL in one process each."""
    with terminal(data_dir, as_json) as t:
        settings = _settings(t, host, port)
        _refuse_unfit(settings)
        if settings.is_sqlite:
            _run(t, settings, web=True, worker=True)
        else:
            _supervise(t, settings)


def web(
    *,
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Run one web process (PostgreSQL)."""
    with terminal(data_dir, as_json) as t:
        settings = _settings(t, host, port)
        _refuse_sqlite(settings, "web")
        _refuse_unfit(settings)
        _run(t, settings, web=True, worker=False)


def worker(*, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Run one worker process (PostgreSQL)."""
    with terminal(data_dir, as_json) as t:
        settings = t.settings()
        _refuse_sqlite(settings, "worker")
        _refuse_unfit(settings)
        _run(t, settings, web=False, worker=True)


def migrate(*, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Bring the database to the schema of this release."""
    import contextlib

    from paystate.entrypoints.data_dir import hold
    from paystate.entrypoints.prepare import migrate_database
    from paystate.machinery.db.reachable import reachable
    from paystate.migrations import run as migrations

    with terminal(data_dir, as_json) as t:
        settings = t.settings()
        alone = hold(settings, "paystate migrate") if settings.is_sqlite else contextlib.nullcontext()
        url = settings.database_url.reveal()
        with alone, reachable():
            before = migrations.current_revision(url)
            migrate_database(settings)
            after = migrations.current_revision(url)
        changed = before != after
        words = f"Migrated to {after}." if changed else f"Nothing to do: the database is at {after}."
        t.tell({"before": before, "after": after, "changed": changed}, lambda _: print(words))


def _settings(t: Terminal, host: str | None, port: int | None) -> "Settings":
    """Without a public address of its own, a port on the command line is also the one in links."""
    settings = t.settings(host=host, port=None if port is None else str(port))
    if "public_url" not in settings.sources and settings.port != DEFAULT_PORT:
        url = f"http://127.0.0.1:{settings.port}"
        return t.settings(host=host, port=str(settings.port), public_url=url)
    return settings


def _refuse_sqlite(settings: "Settings", role: str) -> None:
    if settings.is_sqlite:
        raise Refused(
            f"On SQLite one process does everything: run `paystate serve`. A {role} process of its own needs "
            "PostgreSQL; set PAYSTATE_DATABASE_URL=postgresql://…",
            code="needs_postgresql",
        )


def _refuse_unfit(settings: "Settings") -> None:
    """Production does not start on red (`paystate doctor`)."""
    from paystate.entrypoints.operations.doctor import Level, settings_checks

    if settings.env != "production":
        return
    red = [check for check in settings_checks(settings, go_live=False) if check.level is Level.PROBLEM]
    if red:
        listed = "\n".join(f"  {check.name}: {check.found}. {check.advice}" for check in red)
        raise Refused(f"This installation is not fit for production:\n{listed}", code="not_fit")


def _run(t: Terminal, settings: "Settings", *, web: bool, worker: bool) -> None:
    from paystate.entrypoints.serve import Role, run_process

    role = Role(web=web, worker=worker)
    run_process(settings, role, _greeting(settings, role.name, as_json=t.as_json))


def _supervise(t: Terminal, settings: "Settings") -> None:
    from paystate.entrypoints.prepare import prepare_database
    from paystate.entrypoints.supervise import supervise
    from paystate.machinery.logs import configure_logs

    configure_logs(level=settings.log_level, format=settings.log_format)
    prepare_database(settings)
    folder = ("--data-dir", str(settings.data_dir)) if t.data_dir is not None else ()
    address = ("--host", settings.host, "--port", str(settings.port))
    supervise([("web", *address, *folder), ("worker", *folder)], lambda _: None)


def _greeting(settings: "Settings", role: str, *, as_json: bool) -> Callable[[str], None]:
    """What is printed once the process is at work."""

    def say(url: str) -> None:
        if as_json:
            print_json({"role": role, "url": url or None, "dataDir": str(settings.data_dir)})
            return
        kind = "SQLite" if settings.is_sqlite else "PostgreSQL"
        lines = [f"Paystate {role} is running{f' at {url}' if url else ''} ({settings.env}, {kind})."]
        if settings.is_sqlite:
            lines.append(f"Data directory: {settings.data_dir}")
        if settings.allow_private_addresses:
            networks = ", ".join(map(str, settings.allow_private_addresses))
            lines.append(f"Outgoing requests may reach private networks: {networks}")
        if settings.failpoints:
            lines.append(f"Failpoints are armed: {settings.failpoints}")
        print("\n".join(lines), flush=True)

    return say
