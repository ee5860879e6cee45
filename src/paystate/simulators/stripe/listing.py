"""Stripe's lists: newest first, in pages by object id, within a window of creation times."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from paystate.kit.clock import SECOND
from paystate.simulators.bodies import nested
from paystate.simulators.calls import Call, refuse
from paystate.simulators.shelf import MAX_OBJECTS, MAX_PAGE, Shelved, Window
from paystate.simulators.stage import Answer
from paystate.simulators.stripe.shapes import Expand

DEFAULT_LIMIT = 10
T = TypeVar("T", bound=Shelved)
Fetch = Callable[[Window], tuple[Sequence[T], int]]


def query_of(call: Call) -> dict[str, Any]:
    """The query with its brackets read."""
    return nested(call.request.query.items())


def expand_of(given: Mapping[str, Any], *, of_list: bool = False) -> Expand:
    """``expand[]=a.b``; of a list the paths begin with ``data.``."""
    value = given.get("expand", ())
    paths = list(value.values()) if isinstance(value, Mapping) else value
    if isinstance(paths, str) or not all(isinstance(path, str) for path in paths):
        raise refuse("parameter_invalid", "expand is a list of fields.", 400, param="expand")
    whole = Expand(paths)
    return (whole.inside("data") or Expand()) if of_list else whole


def listed(
    call: Call, fetch: Fetch[T], show: Callable[[T], Any], keep: Callable[[T], bool] = lambda _row: True
) -> Answer:
    """One page of what `fetch` finds and `keep` wants."""
    query = query_of(call)
    limit = _number(query.get("limit", str(DEFAULT_LIMIT)), "limit")
    if not 1 <= limit <= MAX_PAGE:
        raise refuse("parameter_invalid_integer", f"limit is 1 to {MAX_PAGE}.", 400, param="limit")
    window = _window(query.get("created"))
    before = query.get("ending_before")
    rows, more = (
        _after(fetch, keep, window, limit, query.get("starting_after"))
        if before is None
        else _before(fetch, keep, window, limit, before)
    )
    body = {"object": "list", "url": call.request.path, "has_more": more, "data": [show(row) for row in rows]}
    return Answer(200, body)


def _after(
    fetch: Fetch[T], keep: Callable[[T], bool], window: Window, limit: int, cursor: str | None
) -> tuple[list[T], bool]:
    found: list[T] = []
    for _ in range(MAX_OBJECTS // MAX_PAGE):
        rows, total = _fetched(fetch, window, cursor)
        found += [row for row in rows if keep(row)]
        if len(found) > limit or total <= len(rows):
            break
        cursor = rows[-1].id
    return found[:limit], len(found) > limit


def _before(
    fetch: Fetch[T], keep: Callable[[T], bool], window: Window, limit: int, cursor: str
) -> tuple[list[T], bool]:
    """The rows just newer than the cursor, still newest first."""
    newer: list[T] = []
    last: str | None = None
    for _ in range(MAX_OBJECTS // MAX_PAGE):
        rows, total = _fetched(fetch, window, last)
        for row in rows:
            if row.id == cursor:
                return newer[-limit:], len(newer) > limit
            if keep(row):
                newer.append(row)
        if total <= len(rows):
            break
        last = rows[-1].id
    raise refuse("resource_missing", f"No such object: {cursor}", 400, param="ending_before")


def _fetched(fetch: Fetch[T], window: Window, cursor: str | None) -> tuple[Sequence[T], int]:
    try:
        return fetch(Window(window.start, window.end, MAX_PAGE, cursor))
    except ValueError:
        raise refuse("resource_missing", f"No such object: {cursor}", 400, param="starting_after") from None


def _window(created: Any) -> Window:
    """``created[gte]`` and its like, or one second exactly."""
    start, end = Window().start, Window().end
    bounds = (
        created
        if isinstance(created, Mapping)
        else {}
        if created is None
        else {"gte": created, "lte": created}
    )
    for name, value in bounds.items():
        at = _number(value, "created")
        match name:
            case "gte":
                start = max(start, at * SECOND)
            case "gt":
                start = max(start, (at + 1) * SECOND)
            case "lt":
                end = min(end, at * SECOND)
            case "lte":
                end = min(end, (at + 1) * SECOND)
            case _:
                raise refuse("parameter_unknown", "created has gt, gte, lt, lte.", 400, param="created")
    return Window(start, end)


def _number(text: Any, param: str) -> int:
    if not isinstance(text, str) or not text.isascii() or not text.isdigit() or len(text) > 12:
        raise refuse("parameter_invalid_integer", f"Invalid integer: {text}", 400, param=param)
    return int(text)
