"""Both services on one store, around moments at which sums go wrong: API, headers and events say the same."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient

from api_service.app import create_app
from api_service.logs import ApiLog
from api_service.settings import ApiSettings
from metering.accounts import LOCAL_ACCOUNT_ID
from metering.directory import KeyTerms
from metering.stores import DocumentStore
from tests.builders import SECRET
from tests.doubles.clock import ManualClock
from tests.doubles.raw_upstream import RawUpstream, ReceivedAnswer, ReceivedRequest, Wire, call, dialled
from tests.doubles.waiting import until
from tests.services.api.logbook import Logbook
from tests.services.proxy.calls import END, STREAM_HEAD, chunk, event, messages_call
from tests.services.proxy.governed import HAIKU, Using, script_of
from tests.services.proxy.running import RunningProxy

CENT_TOKENS = 10_000  # of Haiku's input: $1 a million
CENT = 10_000_000  # nanodollars
STORED_SECONDS_MAX = 10
NO_CACHE = b"X-ModelTrack-No-Cache: true\r\n"
WHOLE_ACCOUNT = {"limit_usd": "1", "name": "all", "thresholds_percent": [1]}
WARNING = b"x-modeltrack-budget-warning"


@dataclass
class Both:
    """A proxy and the API beside it. Whole cents are spent, so that what is shown is easily read."""

    proxy: RunningProxy
    upstream: RawUpstream
    api: FlaskClient
    clock: ManualClock
    authorization: dict[str, str]

    def make(self, **changes: Any) -> str:
        """A new budget's id. A proxy that knows the account already hears of it a little later."""
        response = self.api.post("/v1/budgets", json=WHOLE_ACCOUNT | changes, headers=self.authorization)
        assert response.status_code == 201, response.text
        budget_id: str = response.get_json()["id"]
        return budget_id

    def change(self, budget_id: str, **changes: Any) -> None:
        path = f"/v1/budgets/{budget_id}"
        response = self.api.patch(path, json=changes, headers=self.authorization)
        assert response.status_code == 200, response.text

    def ask(self, headers: bytes = b"") -> ReceivedAnswer:
        return call(self.proxy.port, messages_call(model=HAIKU, max_tokens=1, headers=NO_CACHE + headers))

    def spend(self, cents: int, headers: bytes = b"") -> ReceivedAnswer:
        usage = {"input_tokens": cents * CENT_TOKENS, "output_tokens": 0}
        script_of(self.upstream).usages.append(usage)
        got = self.ask(headers)
        assert got.status == 200, got.body
        return got

    def shown(self, budget_id: str) -> dict[str, Any]:
        """The budget as the API shows it now."""
        response = self.api.get(f"/v1/budgets/{budget_id}", headers=self.authorization)
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.get_json()
        return body

    def events(self) -> list[dict[str, Any]]:
        """The events that are stored."""
        response = self.api.get("/v1/events", headers=self.authorization)
        assert response.status_code == 200, response.text
        data: list[dict[str, Any]] = response.get_json()["data"]
        return data

    def until_charged(self, cents: dict[tuple[str, str], int]) -> None:
        """Wait until the stored events say that so much was charged, by budget and period, and no more."""

        def charged() -> dict[tuple[str, str], int]:
            sums: dict[tuple[str, str], int] = {}
            for stored in self.events():
                for budget_id, period, _, nanodollars in stored["charges"]:
                    sums[budget_id, period] = sums.get((budget_id, period), 0) + nanodollars
            return sums

        self.until_true(lambda: charged() == {name: amount * CENT for name, amount in cents.items()})

    def until_true(self, claim: Callable[[], bool]) -> None:
        """Wait for it, while time goes on as far as events wait at most before they are stored."""
        until_moment = self.clock.now() + timedelta(seconds=STORED_SECONDS_MAX)

        def is_true() -> bool:
            if self.clock.now() < until_moment:
                self.clock.advance(0.25)
            return claim()

        until(is_true)

    def stream(self) -> threading.Event:
        """Answer the next call with a stream of a cent, and all later ones as ever, once the event is set."""
        may_end = threading.Event()
        usual = self.upstream.script

        def script(wire: Wire, request: ReceivedRequest) -> None:
            self.upstream.script = usual
            wire.take_body(request)
            used = {"input_tokens": CENT_TOKENS, "output_tokens": 0}
            wire.send(STREAM_HEAD + chunk(event("message_start", message={"model": HAIKU, "usage": used})))
            may_end.wait(10)
            ending = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 0})
            wire.send(chunk(ending) + chunk(event("message_stop")) + END)

        self.upstream.script = script
        return may_end

    def until_shown(self, budget_id: str, cents: int) -> dict[str, Any]:
        """The budget as the API shows it, once it has heard of that much."""
        self.until_true(lambda: bool(self.shown(budget_id)["spent_nanodollars"] == cents * CENT))
        return self.shown(budget_id)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def both(tmp_path: Path, store: DocumentStore, clock: ManualClock) -> Iterator[Both]:
    with (
        RawUpstream(Using()) as upstream,
        RunningProxy(tmp_path, upstream, store=store, clock=clock) as proxy,
    ):
        proxy.directory.ensure_local_account()
        plain, _ = proxy.directory.create_key(LOCAL_ACCOUNT_ID, KeyTerms(scopes=("read", "write")))
        app = create_app(
            ApiSettings(data_dir=tmp_path), store, clock, SECRET, log=ApiLog(clock, "info", Logbook())
        )
        yield Both(proxy, upstream, app.test_client(), clock, {"Authorization": f"Bearer {plain}"})


def stand_at(clock: ManualClock, *moment: int) -> None:
    clock.advance((datetime(*moment, tzinfo=UTC) - clock.now()).total_seconds())  # type: ignore[misc,arg-type] # year to second


def refusal(got: ReceivedAnswer) -> dict[str, Any]:
    """What a refusal says, to be held against what the API shows."""
    assert got.status == 429, got.body
    details = msgspec.json.decode(got.body)["error"]["details"]
    return {name: details[name] for name in ("period", "limit_usd", "spent_usd", "resets_at")}


def told(shown: dict[str, Any]) -> dict[str, Any]:
    """The same of what the API shows."""
    amounts = {name: f"{shown[name]:g}" for name in ("limit_usd", "spent_usd")}
    return {"period": shown["current_period"], "resets_at": shown["resets_at"]} | amounts


def test_at_a_months_end_all_begins_anew(both: Both) -> None:
    stand_at(both.clock, 2026, 11, 30, 23, 50, 0)
    budget_id = both.make()
    both.spend(100)
    in_november = both.until_shown(budget_id, 100)
    assert refusal(both.ask()) == told(in_november)
    assert in_november["resets_at"] == "2026-12-01T00:00:00Z"

    stand_at(both.clock, 2026, 12, 1, 0, 0, 0)
    both.spend(30)

    in_december = both.until_shown(budget_id, 30)
    assert (in_december["current_period"], in_december["counting_from"]) == (
        "2026-12",
        "2026-12-01T00:00:00Z",
    )
    assert both.ask().header(WARNING) == b"all at 30% of budget ($0.3/$1)"
    both.until_charged({(budget_id, "2026-11"): 100, (budget_id, "2026-12"): 30})


@pytest.mark.parametrize(
    ("late", "period", "resets_at", "next_period"),
    [
        ((2027, 11, 8, 4, 50, 0), "2027-11-07", "2027-11-08T05:00:00Z", "2027-11-08"),
        ((2027, 3, 15, 3, 50, 0), "2027-03-14", "2027-03-15T04:00:00Z", "2027-03-15"),
    ],
    ids=["a day of 25 hours", "a day of 23 hours"],
)
def test_a_day_on_which_clocks_change_ends_at_its_own_midnight(
    both: Both, late: tuple[int, ...], period: str, resets_at: str, next_period: str
) -> None:
    zone = "America/New_York"
    stand_at(both.clock, *late)
    budget_id = both.make(period="day", timezone=zone)
    both.spend(100)
    shown = both.until_shown(budget_id, 100)
    assert refusal(both.ask()) == told(shown)
    assert (shown["current_period"], shown["resets_at"]) == (f"{period}@{zone}", resets_at)

    both.clock.advance((datetime.fromisoformat(resets_at) - both.clock.now()).total_seconds())
    both.spend(7)

    assert both.until_shown(budget_id, 7)["current_period"] == f"{next_period}@{zone}"
    assert both.ask().header(WARNING) == b"all at 7% of budget ($0.07/$1)"
    both.until_charged({(budget_id, f"{period}@{zone}"): 100, (budget_id, f"{next_period}@{zone}"): 7})


def test_a_stream_across_midnight_belongs_to_the_day_of_its_admission(both: Both) -> None:
    stand_at(both.clock, 2026, 11, 21, 23, 50, 0)
    budget_id = both.make(period="day")
    may_end = both.stream()
    with dialled(both.proxy.port, messages_call(model=HAIKU, streaming=True, headers=NO_CACHE)) as wire:
        wire.take_until(b"message_start")
        stand_at(both.clock, 2026, 11, 22, 0, 0, 30)
        may_end.set()
        wire.take_until(b"message_stop")
    both.spend(20)

    shown = both.until_shown(budget_id, 20)
    assert shown["current_period"] == "2026-11-22"
    assert both.ask().header(WARNING) == b"all at 20% of budget ($0.2/$1)"
    both.until_charged({(budget_id, "2026-11-21"): 1, (budget_id, "2026-11-22"): 20})


def test_of_two_budgets_over_a_call_both_are_charged_and_the_full_one_refuses(both: Both) -> None:
    team = b"X-ModelTrack-Team: search\r\n"
    wide = both.make(limit_usd="5")
    narrow = both.make(name="search", scope={"team": "search"})
    both.spend(100, team)
    both.spend(40)

    shown = both.until_shown(narrow, 100)
    assert refusal(both.ask(team)) == told(shown)
    of_wide = both.until_shown(wide, 140)
    assert of_wide["left_nanodollars"] + of_wide["held_nanodollars"] == 360 * CENT
    assert both.ask().header(WARNING) == b"all at 28% of budget ($1.4/$5)"
    both.until_charged({(wide, "2026-11"): 140, (narrow, "2026-11"): 100})


def test_a_budget_made_in_mid_month_counts_the_whole_month(both: Both) -> None:
    both.spend(60)
    both.until_true(lambda: both.events() != [])
    budget_id = both.make()
    until(lambda: both.ask().header(WARNING) == b"all at 60% of budget ($0.6/$1)")
    both.spend(40)

    shown = both.until_shown(budget_id, 100)
    assert shown["counting_from"] == "2026-11-01T00:00:00Z"
    assert refusal(both.ask()) == told(shown)
    both.until_charged({(budget_id, "2026-11"): 40})


def test_a_limit_lowered_below_what_is_spent_refuses_from_then_on(both: Both) -> None:
    budget_id = both.make()
    both.spend(50)
    both.until_shown(budget_id, 50)

    both.change(budget_id, limit_usd="0.2")
    until(lambda: both.ask().status == 429)

    shown = both.shown(budget_id)
    assert refusal(both.ask()) == told(shown)
    assert (shown["limit_usd"], shown["spent_usd"], shown["percent"]) == (0.2, 0.5, 250)
    both.change(budget_id, limit_usd="0.6")
    until(lambda: both.ask().header(WARNING) == b"all at 83% of budget ($0.5/$0.6)")
    both.until_charged({(budget_id, "2026-11"): 50})
