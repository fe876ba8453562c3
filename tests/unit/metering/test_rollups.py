"""Rollup cells: what an event adds where, hashing, collapsing, histograms."""

from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metering.events import CostEvent
from metering.rollups import (
    COLLAPSE_ALL,
    COLLAPSES,
    DIMENSIONS,
    HISTOGRAM_ENDS_MS,
    KINDS_OF,
    OTHER,
    SUMS,
    cell_id,
    collapsed,
    histogram_counters,
    is_error,
    merged,
    percentile_ms,
    quarter_of,
    rolled_up,
    sums_of,
    without_fingerprint,
)
from tests.builders import make_event

few = st.sampled_from(["", "a", "b", "other"])
events = st.lists(
    st.builds(
        make_event,
        team=few,
        app=few,
        model=few,
        key_id=few,
        prompt_template_id=few,
        prompt_fingerprint=few,
        cost_nanodollars=st.integers(0, 10**15),
        saved_nanodollars=st.integers(0, 10**9),
        cache_read_tokens=st.integers(0, 10**6),
        unpriced=st.booleans(),
        estimated=st.booleans(),
        cache_hit=st.booleans(),
        status_code=st.sampled_from([200, 429, 500]),
        latency_ms=st.integers(0, 10**7),
    ),
    max_size=20,
)


@given(events)
def test_each_kind_of_cell_sums_to_all_events(events: list[CostEvent]) -> None:
    cells = rolled_up(events)

    expected: Counter[str] = Counter()
    for event in events:
        expected.update(dict(zip(SUMS, sums_of(event), strict=True)))
    for kinds in (("main",), ("key",), KINDS_OF["template"]):
        totals: Counter[str] = Counter()
        for cell, sums in cells.items():
            totals.update(sums if cell[0] in kinds else {})
        assert totals == +expected


@given(events, st.integers(0, COLLAPSE_ALL))
def test_collapsing_moves_no_nanodollar(events: list[CostEvent], steps: int) -> None:
    cells = rolled_up(events)

    fewer = merged((collapsed(cell, steps), sums) for cell, sums in cells.items())

    for kind in DIMENSIONS:
        before = sum(sums.get("cost_nanodollars", 0) for cell, sums in cells.items() if cell[0] == kind)
        after = sum(sums.get("cost_nanodollars", 0) for cell, sums in fewer.items() if cell[0] == kind)
        assert before == after


def test_what_an_event_adds_is_named_and_holds_no_zero() -> None:
    event = make_event(
        cache_write_5m_tokens=7,
        estimated=True,
        estimate_method="delivered_bytes",
        prompt_template_id="tpl",
        ttft_ms=90,
    )

    cells = rolled_up([event])

    sums = {
        "requests": 1, "input_tokens": 1000, "output_tokens": 200, "cache_write_5m_tokens": 7,
        "cost_nanodollars": 10_000_000, "estimated_cost_nanodollars": 10_000_000,
    }  # fmt: skip
    assert cells == {
        ("main", "anthropic", "claude-sonnet-4-5", "search", "web", "", "", "default"): sums,
        ("key", "anthropic", "claude-sonnet-4-5", event.key_id): sums,
        ("template", "anthropic", "claude-sonnet-4-5", "tpl"): sums,
        ("latency", "anthropic", "claude-sonnet-4-5"): {"requests": 1, "latency_19": 1, "ttft_12": 1},
    }


@pytest.mark.parametrize(
    ("changes", "cell"),
    [
        ({}, ("template", "")),
        ({"prompt_template_id": "tpl"}, ("template", "tpl")),
        ({"prompt_fingerprint": "f" * 32}, ("fingerprint", "f" * 32)),
        ({"prompt_template_id": "tpl", "prompt_fingerprint": "f" * 32}, ("template", "tpl")),
    ],
)
def test_a_call_is_told_by_its_fingerprint_where_it_names_no_template(
    changes: dict[str, object], cell: tuple[str, str]
) -> None:
    cells = rolled_up([make_event(**changes)])

    assert [(each[0], each[3]) for each in cells if each[0] in KINDS_OF["template"]] == [cell]


def test_a_fingerprint_taken_away_leaves_a_call_of_no_template() -> None:
    cell = ("fingerprint", "openai", "gpt", "f" * 32)

    assert without_fingerprint(cell) == ("template", "openai", "gpt", "")
    assert without_fingerprint(("key", "openai", "gpt", "key_1")) == ("key", "openai", "gpt", "key_1")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, False),
        ({"status_code": 399}, False),
        ({"status_code": 400}, True),
        ({"state": "client_closed"}, False),
        ({"state": "upstream_truncated"}, True),
        ({"state": "refused", "status_code": 429}, True),
        ({"state": "lost", "status_code": 0}, True),
    ],
)
def test_an_error_is_an_answer_the_caller_could_not_use(changes: dict[str, object], expected: bool) -> None:
    assert is_error(make_event(**changes)) is expected


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "client_closed"},
        {"state": "cache_hit", "cache_hit": True},
        {"status_code": 500},
        {"service_tier": "batch"},
    ],
)
def test_only_whole_answers_of_a_provider_are_timed(changes: dict[str, object]) -> None:
    assert histogram_counters(make_event()) != ()
    assert histogram_counters(make_event(**changes)) == ()


@given(st.integers(0, 2 * HISTOGRAM_ENDS_MS[-1]))
def test_a_percentile_is_at_most_a_factor_of_root_two_above(latency_ms: int) -> None:
    counter = histogram_counters(make_event(latency_ms=latency_ms))[1]

    found = percentile_ms({int(counter.removeprefix("latency_")): 1}, 50)

    assert found is not None
    at_most = max(1, min(latency_ms, HISTOGRAM_ENDS_MS[-1]))
    assert at_most <= found <= at_most * 1.5 + 1


def test_percentiles_are_the_ends_of_their_buckets() -> None:
    counts = {0: 50, 5: 45, 9: 5}

    assert percentile_ms(counts, 50) == HISTOGRAM_ENDS_MS[0]
    assert percentile_ms(counts, 51) == HISTOGRAM_ENDS_MS[5]
    assert percentile_ms(counts, 95) == HISTOGRAM_ENDS_MS[5]
    assert percentile_ms(counts, 96) == HISTOGRAM_ENDS_MS[9]
    assert percentile_ms({}, 50) is None


def test_a_field_name_shows_nothing_of_the_users_text() -> None:
    name = cell_id(("main", "openai", "gpt", "team/../x", "`app`", "", "", "default"))

    assert name[0] == "c"
    assert name[1:].isalnum()
    assert len(name) == 25


@given(
    st.lists(st.text(max_size=4), min_size=2, max_size=3),
    st.lists(st.text(max_size=4), min_size=2, max_size=3),
)
@example(["ab", "c"], ["a", "bc"])
@example(["a", "", "b"], ["", "a", "b"])
def test_different_cells_have_different_names(one: list[str], other: list[str]) -> None:
    assert (cell_id(("main", *one)) == cell_id(("main", *other))) == (one == other)


def test_a_cell_gives_up_its_dimensions_in_order_and_the_model_last() -> None:
    cell = ("main", "openai", "gpt", "team", "app", "feature", "tier", "default")

    kept = [sum(value != OTHER for value in collapsed(cell, steps)[1:]) for steps in range(COLLAPSE_ALL + 1)]

    assert kept == [7, 6, 5, 4, 3, 2, 0]
    assert collapsed(cell, 4)[1:3] == ("openai", "gpt")
    assert collapsed(("key", "openai", "gpt", "key_1"), 2) == ("key", "openai", "gpt", OTHER)


def test_every_dimension_can_be_given_up_once() -> None:
    given_up = [name for step in COLLAPSES for name in step]

    assert sorted(given_up) == sorted({name for names in DIMENSIONS.values() for name in names})


@given(st.datetimes(datetime(2020, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_quarter_hour_holds_its_moments(moment: datetime) -> None:
    quarter = quarter_of(moment)

    assert 0 <= (moment - quarter).total_seconds() < 900
    assert quarter.timestamp() % 900 == 0
