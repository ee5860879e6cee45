"""The owner's door: what the command line asks of the process that holds the database; not part of the public API."""

import inspect
from typing import Annotated, Any

import msgspec
from fastapi import Body, Path
from starlette.responses import Response

from paystate.entrypoints.api.guard import OWNER, Current
from paystate.entrypoints.api.operation import operation, router
from paystate.kit.errors import NotFound

Name = Annotated[str, Path(alias="operation", max_length=80)]
routes = router("/api/owner", "Owner")


@routes.post("/{operation}", **operation("ownerOperation", OWNER, None, "not_found"), include_in_schema=False)
async def run(call: Current, name: Name, arguments: Annotated[dict[str, Any], Body()]) -> Response:
    """Run one of the operations that the process was given."""
    wanted = call.desk.operations.get(name)
    if wanted is None:
        raise NotFound("There is no such operation.")
    result = wanted(call.desk.app, arguments)
    if inspect.isawaitable(result):
        result = await result
    call.desk.known.forget_keys()
    return Response(msgspec.json.encode(result), media_type="application/json")
