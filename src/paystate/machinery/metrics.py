"""Figures for Prometheus, in a registry of our own that any module may add to."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics import MetricWrapperBase

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PREFIX: Final = "paystate_"
SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Buckets for durations of requests and calls."""

_registry: Final = CollectorRegistry()
_metrics: dict[str, MetricWrapperBase] = {}
ProcessCollector(registry=_registry)
disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series per counter that nobody reads

_Metric = TypeVar("_Metric", bound=MetricWrapperBase)


def counter(name: str, meaning: str, labels: Sequence[str] = ()) -> Counter:
    """What only grows: ``paystate_…_total``. The same name always gives the same counter."""
    return _once(Counter, name, labels, lambda: Counter(name, meaning, tuple(labels), registry=_registry))


def gauge(name: str, meaning: str, labels: Sequence[str] = ()) -> Gauge:
    """What goes up and down."""
    return _once(Gauge, name, labels, lambda: Gauge(name, meaning, tuple(labels), registry=_registry))


def histogram(
    name: str, meaning: str, labels: Sequence[str] = (), *, buckets: Sequence[float] = SECONDS
) -> Histogram:
    """How something is distributed; the unit is in the name: ``paystate_…_seconds``."""

    def make() -> Histogram:
        return Histogram(name, meaning, tuple(labels), buckets=tuple(buckets), registry=_registry)

    return _once(Histogram, name, labels, make)


def render() -> bytes:
    """All figures in the text format, for content type `CONTENT_TYPE`."""
    return generate_latest(_registry)


def _once(kind: type[_Metric], name: str, labels: Sequence[str], make: Callable[[], _Metric]) -> _Metric:
    assert name.startswith(PREFIX), f"{name!r} does not start with {PREFIX}"
    found = _metrics.get(name)
    if found is None:
        found = _metrics[name] = make()
    assert isinstance(found, kind), f"{name!r} is a {type(found).__name__}"
    assert found._labelnames == tuple(labels), f"{name!r} has other labels"  # noqa: SLF001 -- no public name for them
    return found
