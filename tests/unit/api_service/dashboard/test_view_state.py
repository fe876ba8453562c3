"""The range, zone and filters that an address asks for."""

from datetime import UTC, date, datetime
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict

from api_service.dashboard.view_state import DAYS_MAX, FILTERS, ViewState, view_state

NOW = datetime(2026, 11, 21, 23, 30, tzinfo=UTC)


def state_of(address: str, zone: str = "") -> ViewState:
    fields = parse_qsl(urlsplit(address).query, keep_blank_values=True)
    return view_state(MultiDict(fields), {"modeltrack_zone": zone} if zone else {}, NOW)


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("", date(2026, 10, 23), date(2026, 11, 21)),
        ("range=today", date(2026, 11, 21), date(2026, 11, 21)),
        ("range=7d", date(2026, 11, 15), date(2026, 11, 21)),
        ("range=month", date(2026, 11, 1), date(2026, 11, 21)),
        ("range=last-month", date(2026, 10, 1), date(2026, 10, 31)),
        ("range=custom&from=2026-02-01&to=2026-02-28", date(2026, 2, 1), date(2026, 2, 28)),
        ("range=today&tz=Asia/Kolkata", date(2026, 11, 22), date(2026, 11, 22)),
    ],
)
def test_a_range_is_whole_days_of_its_zone(asked: str, first: date, last: date) -> None:
    state = state_of(f"?{asked}")

    assert (state.first, state.last, state.complaint) == (first, last, "")


@pytest.mark.parametrize(
    "asked",
    [
        "from=2026-02-02&to=2026-02-01",
        "from=x&to=2026-02-01",
        "to=2026-02-01",
        "from=0001-01-01&to=9999-12-31",
        "from=2026-12-24&to=2026-12-31",
    ],
)
def test_days_that_are_none_show_the_last_thirty_and_say_so(asked: str) -> None:
    state = state_of(f"?range=custom&{asked}")

    assert (state.range, state.days) == ("30d", 30)
    assert str(DAYS_MAX) in state.complaint


def test_a_custom_range_has_so_many_days_at_most() -> None:
    assert state_of("?range=custom&from=2026-01-01&to=2026-04-02").days == DAYS_MAX
    assert state_of("?range=custom&from=2026-01-01&to=2026-04-03").days == 30


def test_the_address_names_a_zone_else_the_browser_does_else_it_is_utc() -> None:
    assert state_of("?tz=Asia/Tokyo", "Europe/Berlin").zone == "Asia/Tokyo"
    assert state_of("", "Europe/Berlin").zone == "Europe/Berlin"
    assert state_of("", "Nowhere/At/All").zone == "UTC"
    assert state_of("?tz=../../etc/passwd").zone == "UTC"
    assert state_of("?tz=../../etc/passwd").complaint


def test_a_range_that_runs_ends_now_and_one_that_is_over_at_its_last_days_end() -> None:
    assert "end_time" not in state_of("?range=7d").query
    assert state_of("?range=last-month").query["end_time"] == "2026-11-01"


def test_as_many_days_lie_right_before() -> None:
    before = state_of("?range=7d").time_before

    assert (before["start_time"], before["end_time"]) == ("2026-11-08", "2026-11-15")


def test_links_say_only_what_is_not_usual() -> None:
    assert state_of("").address("/models") == "/models"
    assert state_of("?range=30d&tz=Asia/Tokyo", "Asia/Tokyo").address("/models") == "/models"


def test_links_add_and_remove_filters_and_leave_days_behind() -> None:
    state = state_of("?range=custom&from=2026-11-01&to=2026-11-02&team=a&team=&model=m")

    assert state.address("/x", model=None, range="7d") == "/x?range=7d&team=a&team="
    assert state.without_filters("/x") == "/x?range=custom&from=2026-11-01&to=2026-11-02"


texts = st.text(max_size=30)


@given(
    st.sampled_from(["", "today", "7d", "90d", "month", "last-month"]),
    st.sampled_from(["", "UTC", "Asia/Kolkata", "America/New_York"]),
    st.dictionaries(
        st.sampled_from(FILTERS), st.lists(texts, min_size=1, max_size=3, unique=True), max_size=3
    ),
)
def test_a_link_leads_to_the_very_state_it_came_from(
    name: str, zone: str, filters: dict[str, list[str]]
) -> None:
    pairs = [(field, value) for field, values in filters.items() for value in values]
    fields = MultiDict([("range", name), ("tz", zone), *pairs])

    state = view_state(fields, {}, NOW)

    assert state_of(state.address("/models")) == state
