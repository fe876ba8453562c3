"""Percentiles of calls, by model and bucket: never below the true figure, at most √2 above it."""

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.buckets import Range
from metering.latencies import PERCENTS, Latencies
from metering.rollups import HISTOGRAM_ENDS_MS, OTHER, QUARTER, rolled_up
from tests.builders import AT, make_event

MODEL = ("anthropic", "claude-sonnet-4-5")


def _counted(milliseconds: list[int]) -> Latencies:
    latencies = Latencies()
    for cell, amounts in rolled_up(make_event(latency_ms=each) for each in milliseconds).items():
        if cell[0] == "latency":
            latencies.measure(MODEL, 0, amounts)
        elif cell[0] == "main":
            latencies.count(MODEL, 0, amounts)
    return latencies


@given(st.lists(st.integers(1, HISTOGRAM_ENDS_MS[-1]), min_size=1, max_size=40))
def test_a_percentile_is_no_less_than_the_true_one_and_close_to_it(milliseconds: list[int]) -> None:
    latency = _counted(milliseconds).of(MODEL)

    ordered = sorted(milliseconds)
    assert (latency.requests, latency.measured) == (len(ordered), len(ordered))
    for percent in PERCENTS:
        true = ordered[math.ceil(len(ordered) * percent / 100) - 1]
        assert true <= latency.latency_ms[percent] <= math.ceil(true * math.sqrt(2))


def test_a_model_that_nobody_called_has_no_latency() -> None:
    latency = Latencies().of(MODEL)

    assert (latency.requests, latency.errors, latency.latency_ms, latency.ttft_ms) == (0, 0, {}, {})


def test_of_very_many_models_those_used_most_are_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metering.usage_groups.GROUPS_MAX", 1)
    latencies = Latencies()
    for model, requests in (("a", 1), ("b", 2), ("c", 4)):
        latencies.count(("p", model), 0, {"requests": requests, "cost_nanodollars": 1})
        latencies.measure(("p", model), 0, {"requests": 9, "latency_16": requests})

    found = latencies.by_model({})

    assert [(each.model, each.requests, each.measured) for each in found] == [("c", 4, 9), (OTHER, 3, 18)]
    assert latencies.of_all_but({("p", "c")}).requests == 3
    assert latencies.of(("p", "b")).requests == 2


def test_models_come_most_used_first_with_the_buckets_they_were_called_in() -> None:
    latencies = Latencies()
    first, second = Range(AT, AT + QUARTER), Range(AT + QUARTER, AT + timedelta(hours=1))
    latencies.count(("p", "rare"), 0, {"requests": 1})
    latencies.count(("p", "often"), 0, {"requests": 1, "errors": 1})
    latencies.count(("p", "often"), 1, {"requests": 2})

    often, rare = latencies.by_model({0: first, 1: second})

    assert [(each.range, each.latency.requests) for each in often.buckets] == [(first, 1), (second, 2)]
    assert (often.requests, often.errors, [each.range for each in rare.buckets]) == (3, 1, [first])
    assert latencies.by_model({})[0].buckets == ()
