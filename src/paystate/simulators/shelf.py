"""A bounded store of objects by id, with the version before the last and pages in order of time."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, Protocol, TypeVar

MAX_OBJECTS = 200_000
MAX_PAGE = 100
_EVICTED_AT_ONCE = MAX_OBJECTS // 100
_END_OF_TIME = 2**63


class Shelved(Protocol):
    """What a shelf needs to know of an object."""

    @property
    def id(self) -> str: ...
    @property
    def owner(self) -> str: ...
    @property
    def at(self) -> int: ...


T = TypeVar("T", bound=Shelved)
_Position = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class Window:
    """Objects of ``start ≤ at < end``, at most `limit`, after a cursor."""

    start: int = 0
    end: int = _END_OF_TIME
    limit: int = MAX_PAGE
    cursor: str | None = None


class Shelf(Generic[T]):
    """Oldest first; beyond `capacity` the first ones put are forgotten."""

    def __init__(self, capacity: int = MAX_OBJECTS, on_evict: Callable[[T], None] | None = None) -> None:
        self._capacity = capacity
        self._on_evict = on_evict
        self._now: dict[str, T] = {}
        self._before: dict[str, T] = {}
        self._timelines: dict[str, list[_Position]] = {}
        self._number = 0
        self.recalls = False
        """While true, every object that changed is shown as it was before its last change."""

    def __len__(self) -> int:
        return len(self._now)

    def __iter__(self) -> Iterator[T]:
        return iter(self._now.values())

    def get(self, object_id: str) -> T | None:
        if self.recalls and object_id in self._before:
            return self._before[object_id]
        return self._now.get(object_id)

    def put(self, item: T) -> None:
        old = self._now.get(item.id)
        self._now[item.id] = item
        if old is not None:
            self._before[item.id] = old
            return
        self._number += 1
        insort(self._timelines.setdefault(item.owner, []), (item.at, self._number, item.id))
        if len(self._now) > self._capacity:
            self._evict()

    def page(self, owner: str, window: Window) -> tuple[Sequence[T], str | None]:
        """Rows of one owner and the next cursor. Raises ValueError for a cursor that is none."""
        line = self._timelines.get(owner, [])
        first = bisect_left(line, (window.start, 0, ""))
        if window.cursor is not None:
            first = max(first, bisect_right(line, _parsed(window.cursor)))
        last = bisect_left(line, (window.end, 0, ""))
        stop = min(last, first + window.limit)
        chosen = line[first:stop]
        cursor = f"{chosen[-1][0]}.{chosen[-1][1]}.{chosen[-1][2]}" if chosen and stop < last else None
        return self._shown(chosen), cursor

    def newest(self, owner: str, window: Window, skip: int = 0) -> tuple[Sequence[T], int]:
        """Rows of one owner, newest first, and how many there are in all.

        A cursor is the id of the last row seen; `skip` leaves out that many (for numbered pages). Raises ValueError for
        an id that is not there.
        """
        line = self._timelines.get(owner, [])
        first = bisect_left(line, (window.start, 0, ""))
        last = bisect_left(line, (window.end, 0, ""))
        if window.cursor is not None:
            last = min(last, self._place(line, window.cursor))
        stop = max(first, last - skip)
        chosen = line[max(first, stop - window.limit) : stop]
        return self._shown(reversed(chosen)), max(0, last - first)

    def clear(self) -> None:
        self._now.clear()
        self._before.clear()
        self._timelines.clear()

    def _shown(self, line: Iterable[_Position]) -> Sequence[T]:
        found = (self.get(position[2]) for position in line)
        return [item for item in found if item is not None]

    def _place(self, line: list[_Position], object_id: str) -> int:
        item = self._now.get(object_id)
        if item is None:
            raise ValueError("there is no object of this id")
        places = range(bisect_left(line, (item.at, 0, "")), len(line))
        return next((place for place in places if line[place][2] == object_id), 0)

    def _evict(self) -> None:
        gone = list(islice(self._now, max(1, min(_EVICTED_AT_ONCE, self._capacity // 2))))
        for object_id in gone:
            item = self._now.pop(object_id)
            self._before.pop(object_id, None)
            if self._on_evict is not None:
                self._on_evict(item)
        for owner, line in self._timelines.items():
            self._timelines[owner] = [position for position in line if position[2] in self._now]


def _parsed(cursor: str) -> _Position:
    at, number, object_id = cursor.split(".", 2)
    return int(at), int(number), object_id
