"""Declaring an operation: one line above the function that does it, and a struct that says what it takes."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec

from paystate.app import App
from paystate.kit.errors import Refused

Answer = dict[str, Any]
Operation = Callable[[App, Mapping[str, Any]], Awaitable[Answer]]
"""`async (app, arguments) -> answer`, both as JSON; `ok` is False in the answer when something wrong was found."""

_NAME = re.compile(r"[a-z]+(?:-[a-z]+)*(?:\.[a-z]+(?:-[a-z]+)*)?\Z")

registry: dict[str, Operation] = {}


class Order(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What an operation takes; a base for its own struct, and by itself: nothing."""


OrderT = TypeVar("OrderT", bound=Order)
Work = Callable[[App, OrderT], Awaitable[Answer]]


def operation(name: str, kind: type[OrderT]) -> Callable[[Work[OrderT]], Work[OrderT]]:
    """Register `async def work(app, order) -> answer`; arguments that do not fit the order are Refused."""
    assert _NAME.match(name), name

    def register(work: Work[OrderT]) -> Work[OrderT]:
        async def run(app: App, arguments: Mapping[str, Any]) -> Answer:
            try:
                order = msgspec.convert(dict(arguments), kind)
            except msgspec.ValidationError as error:
                raise Refused(f"The arguments do not fit {name}: {error}") from None
            return await work(app, order)

        assert name not in registry, f"two operations are called {name}"
        registry[name] = run
        return work

    return register
