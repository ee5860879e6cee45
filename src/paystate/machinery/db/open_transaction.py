"""Knows whether this thread is inside a transaction, so that nothing slow or nested can start there."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_state = threading.local()


def inside_transaction() -> bool:
    """True while a function given to `db.write` or `db.read` runs in this thread."""
    return bool(getattr(_state, "open", False))


def assert_outside() -> None:
    """Raise AssertionError inside a transaction: no nested write and no network call may start there."""
    if inside_transaction():
        raise AssertionError("inside a transaction: open no other one, and never wait for the network")


@contextmanager
def transaction_open() -> Iterator[None]:
    """Mark this thread as being inside a transaction."""
    assert_outside()
    _state.open = True
    try:
        yield
    finally:
        _state.open = False
