"""A plain HTTP client for the demo: what a merchant's program and a customer's browser send."""

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from paystate.kit.clock import monotonic
from paystate.kit.errors import Unavailable

CALL_SECONDS = 30.0
MAX_BODY_BYTES = 4 * 1024 * 1024
LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; `body` is parsed where it is JSON, else its text."""

    status: int
    body: Any
    location: str | None


class Web:
    """One origin, with a merchant's key or without one."""

    def __init__(self, base_url: str, key: str) -> None:
        self.base_url = base_url
        self._key = key

    def get(self, path: str) -> Reply:
        return self._call("GET", path, None, {})

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Reply:
        """A program's POST."""
        return self._call(
            "POST", path, json.dumps(dict(body or {})).encode(), {"Content-Type": "application/json"}
        )

    def press(self, path: str) -> Reply:
        """A button on a page: an empty form, from the page's own origin."""
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": self.base_url}
        return self._call("POST", path, b"", headers)

    def delete(self, path: str) -> Reply:
        return self._call("DELETE", path, None, {})

    def wait_until_up(self, seconds: float) -> None:
        """Raises Unavailable when nothing answers in time."""
        until = monotonic() + seconds
        while True:
            try:
                self.get("/api/openapi.json")
                return
            except OSError as error:
                if monotonic() >= until:
                    raise Unavailable("The server does not answer.") from error
            time.sleep(LOOK_SECONDS)

    def _call(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        parts = urlsplit(self.base_url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=CALL_SECONDS)
        authorization = (
            {"Authorization": f"Bearer {self._key}"} if self._key and path.startswith("/api") else {}
        )
        try:
            connection.request(method, path, body=body, headers={**headers, **authorization})
            answer = connection.getresponse()
            text = answer.read(MAX_BODY_BYTES).decode("utf-8", "replace")
        finally:
            connection.close()
        return Reply(answer.status, _parsed(text), answer.headers.get("Location"))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
