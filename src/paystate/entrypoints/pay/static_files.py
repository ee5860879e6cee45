"""The hosted page's style, script and icon, served from memory under names that change with their content."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response

from paystate.kit.errors import NotFound

TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
FOR_EVER = "public, max-age=31536000, immutable"
HASH_LENGTH = 16
FOLDER = "/pay/static"


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file as it is sent."""

    body: bytes
    content_type: str


class StaticFiles:
    """Every file of the folder, read once."""

    def __init__(self) -> None:
        self._by_name: dict[str, StaticFile] = {}
        self._urls: dict[str, str] = {}
        for entry in resources.files("paystate.entrypoints.pay").joinpath("static").iterdir():
            stem, dot, kind = entry.name.rpartition(".")
            if dot + kind in TYPES:
                body = entry.read_bytes()
                name = f"{stem}.{hashlib.sha256(body).hexdigest()[:HASH_LENGTH]}.{kind}"
                self._by_name[name] = StaticFile(body, TYPES[dot + kind])
                self._urls[entry.name] = f"{FOLDER}/{name}"

    @property
    def urls(self) -> Mapping[str, str]:
        """``pay.css`` → its address."""
        return self._urls

    async def get(self, request: Request) -> Response:
        """The file of this very content; an older or unknown name is not found."""
        found = self._by_name.get(request.path_params["name"])
        if found is None:
            raise NotFound("There is no such file.")
        return Response(found.body, media_type=found.content_type, headers={"Cache-Control": FOR_EVER})
