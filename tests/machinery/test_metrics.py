"""Figures: counted once per name, rendered as Prometheus reads them."""

import itertools
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from paystate.machinery.metrics import counter, gauge, histogram, render

_numbers = itertools.count()


@pytest.fixture
def name() -> str:
    """A metric name that no other test uses: the registry lives as long as the process."""
    return f"paystate_sample{next(_numbers)}"


def samples() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(render().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def test_a_counter_only_grows_and_keeps_its_labels_apart(name):
    made = counter(f"{name}_total", "things", ["provider"])
    made.labels(provider="stripe").inc()
    made.labels(provider="stripe").inc(2)
    made.labels(provider="sumup").inc()
    assert samples()[f"{name}_total", (("provider", "stripe"),)] == 3
    assert samples()[f"{name}_total", (("provider", "sumup"),)] == 1
    with pytest.raises(ValueError):
        made.labels(provider="stripe").inc(-1)


def test_a_gauge_shows_the_last_value(name):
    made = gauge(name, "how many now")
    made.set(5)
    made.dec()
    assert samples()[name, ()] == 4


def test_a_histogram_counts_into_its_buckets(name):
    made = histogram(f"{name}_seconds", "how long", buckets=(1, 10))
    for value in (0.5, 5, 50):
        made.observe(value)
    seen = samples()
    assert [seen[f"{name}_seconds_bucket", (("le", le),)] for le in ("1.0", "10.0", "+Inf")] == [1, 2, 3]
    assert seen[f"{name}_seconds_sum", ()] == 55.5


def test_the_same_name_is_the_same_figure(name):
    assert counter(f"{name}_total", "x") is counter(f"{name}_total", "x")
    with pytest.raises(AssertionError, match="is a Counter"):
        gauge(f"{name}_total", "x")
    with pytest.raises(AssertionError, match="other labels"):
        counter(f"{name}_total", "x", ["a"])


def test_names_say_whose_they_are():
    with pytest.raises(AssertionError, match="paystate_"):
        counter("requests_total", "x")


def test_the_process_is_described_exactly_once():
    text = render().decode()
    assert text.count("# TYPE process_resident_memory_bytes gauge") == 1
    assert samples()["process_resident_memory_bytes", ()] > 1_000_000
    assert "python_gc_" not in text


def test_a_counter_is_one_series(name):
    counter(f"{name}_total", "x").inc()
    assert f"{name}_total 1.0" in render().decode()
    assert f"{name}_created" not in render().decode()


def test_every_line_is_in_the_text_format(name):
    counter(f"{name}_total", 'a "quoted"\nmeaning', ["label"]).labels(label='x"\n\\').inc()
    for line in render().decode().splitlines():
        assert line.startswith("# ") or re.fullmatch(r"[a-z_0-9:]+(\{.*\})? [-+0-9.eInfNa]+", line)
