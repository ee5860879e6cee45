"""Carries an operation out: in the server that holds the data directory, else here under its lock."""

import asyncio
import http.client
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from paystate.entrypoints.data_dir import DataDirHeld, RunningServer, find_server, hold
from paystate.kit.clock import monotonic
from paystate.kit.errors import FieldError, NotFound, PaystateError, Refused, Unavailable
from paystate.machinery.settings import Settings

WAIT_SECONDS = 10.0
"""How long a holder may take to finish, or a starting server to answer."""

LOOK_SECONDS = 0.1
ANSWER_SECONDS = 900.0
MAX_ANSWER_BYTES = 64 * 1024 * 1024
UNPREPARED = frozenset({"doctor"})
"""Operations that also say what is wrong with a database that is not migrated."""


class RemoteProblem(PaystateError):
    """What the running server answered instead of doing it."""

    code = "server_problem"


def carry_out(settings: Settings, operation: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The operation's answer. On PostgreSQL it is carried out here. Raises PaystateError."""
    if not settings.is_sqlite:
        return _here(settings, operation, arguments)
    until = monotonic() + WAIT_SECONDS
    while True:
        try:
            with hold(settings, f"paystate {operation}"):
                return _here(settings, operation, arguments)
        except DataDirHeld as held:
            server = find_server(settings, held.holder)
            answer = None if server is None else _there(server, operation, arguments)
            if answer is not None:
                return answer
            if monotonic() >= until:
                raise
        time.sleep(LOOK_SECONDS)


def _here(settings: Settings, operation: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """In this process, which then needs everything; through a server it needs next to nothing."""
    from paystate.app import running_app
    from paystate.entrypoints.operations import operations
    from paystate.entrypoints.prepare import prepare_database

    if settings.is_sqlite or operation not in UNPREPARED:
        prepare_database(settings)

    async def work() -> dict[str, Any]:
        async with running_app(settings) as app:
            return await operations()[operation](app, arguments)

    return asyncio.run(work())


def _there(server: RunningServer, operation: str, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """POST to the owner's API of the server; None when nobody listens: it has not started yet, or just stopped."""
    parts = urlsplit(server.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=ANSWER_SECONDS)
    headers = {
        "Authorization": f"Bearer {server.key.reveal()}",
        "Content-Type": "application/json",
        "Host": server.host,
    }
    try:
        connection.request(
            "POST", f"/api/owner/{operation}", body=json.dumps(dict(arguments)), headers=headers
        )
        answer = connection.getresponse()
        body = _document(answer.read(MAX_ANSWER_BYTES))
    except ConnectionRefusedError:
        return None
    except (TimeoutError, http.client.HTTPException, ConnectionResetError) as error:
        raise Unavailable("The running server did not answer; what became of it is not known.") from error
    finally:
        connection.close()
    if answer.status < 300:
        return body
    raise _problem(answer.status, body)


def _document(raw: bytes) -> dict[str, Any]:
    try:
        document = json.loads(raw)
    except ValueError:
        document = None
    return document if isinstance(document, dict) else {"detail": "The server's answer cannot be read."}


def _problem(status: int, body: Mapping[str, Any]) -> PaystateError:
    """The server's problem as the error it was there."""
    detail, code = str(body.get("detail", "")), str(body.get("code", "server_problem"))
    errors = [
        FieldError(str(e.get("pointer")), str(e.get("code")), str(e.get("detail")))
        for e in body.get("errors", ())
        if isinstance(e, dict)
    ]
    if status == 404:
        return NotFound(detail, code=code)
    if 400 <= status < 500 and status not in (409, 429):
        return Refused(detail, code=code, errors=errors)
    return RemoteProblem(detail, code=code)
