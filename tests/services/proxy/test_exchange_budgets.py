"""Budgets over the wire: what is refused and how, what is warned of, what is charged and what is let go."""

import threading
from typing import Any

import msgspec
import pytest

from metering.accounts import LOCAL_ACCOUNT_ID
from metering.collections import budget_periods_collection
from metering.stores import Document, Query
from proxy_service import lifeline
from tests.doubles.raw_upstream import (
    RawUpstream,
    ReceivedAnswer,
    ReceivedRequest,
    Wire,
    answering,
    call,
    closing,
    dialled,
)
from tests.doubles.waiting import until
from tests.services.proxy.calls import (
    BATCH_RESULTS,
    END,
    STREAM_HEAD,
    WHOLE_STREAM,
    answer,
    batch_lines,
    chunk,
    get,
    message,
    messages_call,
    post,
)
from tests.services.proxy.governed import (
    DOLLAR,
    HAIKU,
    SONNET,
    govern,
    make_budget,
    make_rule,
    script_of,
)
from tests.services.proxy.running import RunningProxy

NO_CACHE = b"X-ModelTrack-No-Cache: true\r\n"
WARNING = {"mode": "strict", "action": "warn"}
A_DOLLAR = {"input_tokens": 1_000_000, "output_tokens": 0}  # of Haiku
CHAT = b'{"model":"gpt-4o","messages":[{"role":"user","content":"x"}]}'


def ask(proxy: RunningProxy, **fields: Any) -> ReceivedAnswer:
    fields = {"model": HAIKU, "headers": NO_CACHE} | fields
    return call(proxy.port, messages_call(**fields))


def spend(proxy: RunningProxy, upstream: RawUpstream, usage: dict[str, Any]) -> None:
    """Make a call that uses so much; it counts at once."""
    script_of(upstream).usages.append(usage)
    assert ask(proxy).status == 200
    proxy.clock.advance(1)


def counters(proxy: RunningProxy) -> list[Document]:
    return proxy.store.query(Query(collection=budget_periods_collection(LOCAL_ACCOUNT_ID), limit=9))


def error_of(got: ReceivedAnswer) -> dict[str, Any]:
    error: dict[str, Any] = msgspec.json.decode(got.body)["error"]
    return error


@pytest.mark.battery("B2")
def test_a_spent_budget_refuses_and_says_all_there_is_to_know(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    budget = make_budget(name="everything")
    govern(proxy, [budget])
    with proxy:
        spend(proxy, upstream, A_DOLLAR)
        got = ask(proxy)

        assert (got.status, len(upstream.requests)) == (429, 1)
        assert (got.header(b"x-should-retry"), got.header(b"retry-after")) == (b"false", None)
        error = error_of(got)
        assert error["type"] == "rate_limit_error"
        assert error["details"] == {
            "error_code": "budget_exceeded",
            "budget_id": budget.budget_id,
            "budget_name": "everything",
            "period": "2026-11",
            "value": "",
            "limit_usd": "1",
            "spent_usd": "1",
            "held_usd": "0",
            "needed_usd": "0.000622",
            "resets_at": "2026-12-01T00:00:00Z",
        }
        for word in ("everything", budget.budget_id, "2026-11", "$1 is spent", "2026-12-01T00:00:00Z"):
            assert word in error["message"]
        refused = proxy.events()[-1]
        assert (refused.state, refused.status_code, refused.charges) == ("refused", 429, ())


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        (b"/v1/chat/completions", CHAT, ("error", "code")),
        (b"/azure/v1/chat/completions", CHAT, ("error", "code")),
        (b"/bedrock/model/anthropic.claude-haiku-4-5-20251001-v1%3A0/converse", b"{}", ("code",)),
        (b"/bedrock/v1/messages", CHAT, ("error", "details", "error_code")),
    ],
)
def test_each_provider_is_spoken_for_in_its_own_words(
    proxy: RunningProxy, upstream: RawUpstream, path: bytes, body: bytes, where: tuple[str, ...]
) -> None:
    govern(proxy, [make_budget()])
    with proxy:
        spend(proxy, upstream, A_DOLLAR)
        got = call(proxy.port, post(path, body))

        said = msgspec.json.decode(got.body)
        details = said["error"]["details"] if "error" in said else said["details"]
        for name in where:
            said = said[name]
        assert (got.status, said, details["spent_usd"]) == (429, "budget_exceeded", "1")


def test_where_the_rest_is_only_held_the_caller_is_told_to_come_back(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    is_through = threading.Event()

    def script(wire: Wire, request: ReceivedRequest) -> None:
        wire.take_body(request)
        assert is_through.wait(10)
        wire.send(answer(message(model=HAIKU)))

    upstream.script = script
    govern(proxy, [make_budget(mode="strict", limit_nanodollars=3_000_000)])
    with proxy, dialled(proxy.port, messages_call(model=HAIKU, headers=NO_CACHE)) as first:
        until(lambda: len(upstream.requests) == 1)
        got = ask(proxy)

        assert (got.status, got.header(b"retry-after"), got.header(b"x-should-retry")) == (429, b"1", None)
        assert "try again" in error_of(got)["message"]
        is_through.set()
        assert first.take_until(b"\r\n").startswith(b"HTTP/1.1 200")
        assert proxy.journal_lines()[0]["holds"][0][3] > 1_500_000


def test_what_was_held_and_not_used_is_free_for_the_next_call(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    govern(proxy, [make_budget(mode="strict", limit_nanodollars=3_000_000)])
    with proxy:
        assert [ask(proxy).status for _ in range(5)] == [200] * 5


@pytest.mark.battery("C6")
@pytest.mark.parametrize("broken", ["gone", "refused"])
def test_a_call_that_cost_nothing_gives_all_of_it_back(
    proxy: RunningProxy, upstream: RawUpstream, broken: str
) -> None:
    def script(wire: Wire, request: ReceivedRequest) -> None:
        wire.take_body(request)
        if broken == "refused":
            wire.send(answer(b"{}", status=b"400 Bad Request"))
        else:
            wire.connection.close()

    govern(proxy, [make_budget(mode="strict", limit_nanodollars=3_000_000)])
    with proxy:
        upstream.script = script
        statuses = [ask(proxy).status for _ in range(3)]

        assert statuses == [{"refused": 400, "gone": 502}[broken]] * 3
        assert [event.charges for event in proxy.events()] == [()] * 3


@pytest.mark.battery("B2")
def test_a_warning_lets_calls_through_and_stands_in_their_answers(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    govern(proxy, [make_budget(action="warn", name="chatbot")])
    with proxy:
        spend(proxy, upstream, {"input_tokens": 799_999, "output_tokens": 0})
        below = ask(proxy)
        spend(proxy, upstream, {"input_tokens": 1, "output_tokens": 0})
        at = ask(proxy)
        spend(proxy, upstream, A_DOLLAR)
        beyond = ask(proxy)

        warnings = [got.header(b"x-modeltrack-budget-warning") for got in (below, at, beyond)]
        assert warnings == [
            None,
            b"chatbot at 80% of budget ($0.8/$1)",
            b"chatbot at 180% of budget ($1.8/$1)",
        ]
        assert beyond.status == 200


def test_a_downgrade_budget_without_room_turns_calls_to_a_cheaper_model(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    budget = make_budget(action="downgrade", mode="strict", limit_nanodollars=3_000_000)
    govern(proxy, [budget], [make_rule(threshold=100)])
    with proxy:
        got = ask(proxy, model=SONNET)

        assert (got.status, got.header(b"x-modeltrack-routed-to")) == (200, HAIKU.encode())
        assert got.header(b"x-modeltrack-route-reason") == b"budget-downgrade: no room in the budget"
        assert proxy.event().routed


def test_a_model_of_its_own_may_have_a_budget(proxy: RunningProxy, upstream: RawUpstream) -> None:
    scope = type(make_budget().scope)(model=HAIKU)
    govern(proxy, [make_budget(scope=scope)])
    with proxy:
        spend(proxy, upstream, A_DOLLAR)

        assert (ask(proxy).status, ask(proxy, model=SONNET).status) == (429, 200)


def test_an_answer_from_memory_asks_the_budgets_and_holds_nothing(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    govern(proxy, [make_budget(mode="strict", limit_nanodollars=DOLLAR + 3_000_000)])
    with proxy:
        verdicts = [ask(proxy, headers=b"").header(b"x-modeltrack-cache") for _ in range(4)]
        spend(proxy, upstream, A_DOLLAR)
        spend(proxy, upstream, {"input_tokens": 3_000, "output_tokens": 0})
        refused = ask(proxy, headers=b"")

        assert verdicts == [b"MISS", b"HIT", b"HIT", b"HIT"]
        assert (refused.status, refused.header(b"x-modeltrack-cache")) == (429, None)
        hits = [event for event in proxy.events() if event.state == "cache_hit"]
        assert [(event.charges, event.cost_nanodollars) for event in hits] == [((), 0)] * 3


@pytest.mark.parametrize(("action", "status"), [("block", 429), ("downgrade", 429), ("warn", 200)])
def test_what_may_cost_something_unread_is_refused_by_a_spent_budget(
    proxy: RunningProxy, upstream: RawUpstream, action: Any, status: int
) -> None:
    govern(proxy, [make_budget(action=action)])
    with proxy:
        before = call(proxy.port, post(b"/v1/images/generations", b"{}"))
        spend(proxy, upstream, A_DOLLAR)
        after = call(proxy.port, post(b"/v1/images/generations", b"{}"))
        free = call(proxy.port, get(b"/v1/models"))

        assert (before.status, after.status, free.status) == (200, status, 200)
        states = [event.state for event in proxy.events()]
        assert states[-1] == ("unmetered" if status == 200 else "refused")


def test_what_may_cost_something_unread_is_refused_by_a_strict_budget(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    govern(proxy, [make_budget(mode="strict")])
    with proxy:
        answer = call(proxy.port, post(b"/v1/images/generations", b"{}"))

        error = error_of(answer)
        assert (answer.status, error["details"]["error_code"]) == (400, "cost_unbounded")
        assert "this path" in error["message"]
        assert [event.state for event in proxy.events()] == ["refused"]
        assert upstream.requests == []


@pytest.mark.parametrize("path", [b"/v1/messages/batches", b"/openai/v1/batches", b"/azure/openai/batches"])
@pytest.mark.parametrize(
    ("mode", "before", "after"), [("normal", 200, 429), ("strict", 400, 429), ("warn", 200, 200)]
)
def test_a_batch_is_refused_where_what_it_runs_might_not_be_paid_for(
    proxy: RunningProxy, upstream: RawUpstream, path: bytes, mode: Any, before: int, after: int
) -> None:
    terms: dict[str, Any] = {"action": "warn"} if mode == "warn" else {"mode": mode}
    govern(proxy, [make_budget(**terms)])
    with proxy:
        first = call(proxy.port, post(path, b"{}")).status
        spend(proxy, upstream, A_DOLLAR)
        second = call(proxy.port, post(path, b"{}")).status

        assert (first, second) == (before, after)
        assert "unmetered" not in [event.state for event in proxy.events()]


def test_a_stream_is_charged_once_it_is_over(proxy: RunningProxy, upstream: RawUpstream) -> None:
    govern(proxy, [make_budget(mode="strict", limit_nanodollars=20_000_000)])
    with proxy:
        upstream.script = answering(STREAM_HEAD + b"".join(map(chunk, WHOLE_STREAM)) + END)
        assert [ask(proxy, streaming=True, model=SONNET).status for _ in range(3)] == [200] * 3

        events = proxy.events()
        assert [event.charges[0].nanodollars for event in events] == [4_500_000] * 3


@pytest.mark.parametrize(
    ("terms", "method"),
    [({"mode": "strict"}, "hold"), ({"mode": "normal"}, "request_bytes"), (WARNING, "request_bytes")],
    ids=["strict", "normal", "warn"],
)
def test_a_call_that_nobody_saw_the_end_of_costs_a_strict_budget_all_it_may_have_cost(
    proxy: RunningProxy,
    upstream: RawUpstream,
    monkeypatch: pytest.MonkeyPatch,
    terms: dict[str, Any],
    method: str,
) -> None:
    monkeypatch.setattr(lifeline, "READ_ON_CALLS_MAX", 0)
    over = threading.Event()

    def silent(wire: Wire, request: ReceivedRequest) -> None:
        wire.take_body(request)
        assert over.wait(10)

    govern(proxy, [make_budget(**terms)])
    with proxy:
        upstream.script = silent
        with dialled(proxy.port, messages_call(model=HAIKU, headers=NO_CACHE)):
            until(lambda: bool(upstream.requests))
            (_, _, _, held) = proxy.journal_lines()[0]["holds"][0]
        until(lambda: sum(proxy.instance.tally.calls.values()) == 1)
        over.set()
        event = proxy.event()

        assert (event.state, event.estimate_method) == ("client_closed", method)
        assert [charge.nanodollars for charge in event.charges] == [event.cost_nanodollars]
        assert (event.cost_nanodollars == held) is (method == "hold")


def chat_stream(text: str) -> bytes:
    """A streamed chat completion that says nothing of what it used, but for its end."""
    frame = msgspec.json.encode({"model": "gpt-4o", "choices": [{"delta": {"content": text}}]})
    return STREAM_HEAD + chunk(b"data: " + frame + b"\n\n")


DONE = chunk(b"data: [DONE]\n\n") + END


def held_for(proxy: RunningProxy, upstream: RawUpstream, answered: bytes) -> int:
    """What was held for a streamed call that is answered so; it asks not to be told what it used."""
    body = b'{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":false},"messages":[]}'
    holds: list[int] = []

    def script(wire: Wire, request: ReceivedRequest) -> None:
        holds.append(proxy.journal_lines()[0]["holds"][0][3])
        closing(answered)(wire, request)

    upstream.script = script
    with dialled(proxy.port, post(b"/v1/chat/completions", body, NO_CACHE)):
        until(lambda: sum(proxy.instance.tally.calls.values()) == 1)
    return holds[0]


@pytest.mark.parametrize("end", [DONE, b""], ids=["whole", "cut"])
@pytest.mark.parametrize("mode", ["strict", "normal"])
def test_no_estimate_of_an_answer_costs_a_strict_budget_more_than_it_held(
    proxy: RunningProxy, upstream: RawUpstream, mode: str, end: bytes
) -> None:
    govern(proxy, [make_budget(mode=mode)])
    with proxy:
        held = held_for(proxy, upstream, chat_stream(" " * 400_000) + end)  # few tokens, but long ones
        event = proxy.event()

        assert [charge.nanodollars for charge in event.charges] == [event.cost_nanodollars]
        assert event.estimated
        assert (event.cost_nanodollars <= held) is (mode == "strict")


@pytest.mark.parametrize(("mode", "method"), [("strict", "hold"), ("normal", "missing_usage")])
def test_an_answer_that_never_says_what_it_used_costs_a_strict_budget_all_it_may_have_used(
    proxy: RunningProxy, upstream: RawUpstream, mode: str, method: str
) -> None:
    govern(proxy, [make_budget(mode=mode)])
    with proxy:
        held = held_for(proxy, upstream, chat_stream("after much thought: 4") + DONE)
        event = proxy.event()

        assert (event.state, event.estimate_method) == ("completed", method)
        assert (event.cost_nanodollars == held == event.charges[0].nanodollars) is (mode == "strict")


def test_what_is_generated_in_the_background_counts_as_what_was_expected_of_it(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    def script(wire: Wire, request: ReceivedRequest) -> None:
        wire.take_body(request)
        wire.send(answer(b'{"model":"gpt-5","status":"queued","background":true,"usage":null,"output":[]}'))

    asked = b'{"model":"gpt-5","background":true,"max_output_tokens":500,"input":"x"}'
    upstream.script = script
    govern(proxy, [make_budget(limit_nanodollars=20_000_000)])
    with proxy:
        statuses = [call(proxy.port, post(b"/v1/responses", asked, NO_CACHE)).status for _ in range(5)]

        assert statuses == [200, 200, 200, 429, 429]
        first = next(event for event in proxy.events() if event.state == "completed")
        assert (first.estimate_method, first.cost_nanodollars > 500 * 10_000) == ("hold", True)
        assert [charge.nanodollars for charge in first.charges] == [first.cost_nanodollars]


def test_each_budget_over_a_call_is_charged_with_it(proxy: RunningProxy, upstream: RawUpstream) -> None:
    day = make_budget(period="day", timezone="Asia/Kolkata")
    month, other = make_budget(action="warn"), make_budget(enabled=False)
    govern(proxy, [day, month, other])
    with proxy:
        spend(proxy, upstream, {"input_tokens": 10, "output_tokens": 0})

        charged = {(charge.budget_id, charge.period): charge.nanodollars for charge in proxy.event().charges}
        assert charged == {
            (day.budget_id, "2026-11-21@Asia/Kolkata"): 10_000,
            (month.budget_id, "2026-11"): 10_000,
        }


def test_the_journal_says_all_that_a_lost_call_is_made_of(proxy: RunningProxy, upstream: RawUpstream) -> None:
    budget = make_budget()
    govern(proxy, [budget])
    with proxy:
        ask(proxy, headers=b"X-ModelTrack-Team: search\r\nX-ModelTrack-Feature: answers\r\n", streaming=False)
        line = proxy.journal_lines()[0]

        assert (line["account_id"], line["team"], line["feature"]) == (LOCAL_ACCOUNT_ID, "search", "answers")
        assert (line["model"], line["requested_model"]) == (HAIKU, HAIKU)
        ((budget_id, period, lease_id, held),) = line["holds"]
        assert (budget_id, period, held) == (budget.budget_id, "2026-11", line["estimate_nanodollars"])
        assert held > 500_000
        assert lease_id.count(".") == 2


def test_a_call_that_is_lost_costs_a_strict_budget_all_it_may_have_cost(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    govern(proxy, [make_budget(mode="strict"), make_budget()])
    with proxy:
        ask(proxy)
        line = proxy.journal_lines()[0]

        strict, normal = (held for _, _, _, held in line["holds"])
        assert line["estimate_nanodollars"] == strict > normal


def test_a_strict_budget_names_the_field_that_would_bound_the_call(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    govern(proxy, [make_budget(mode="strict")])
    with proxy:
        fields = {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}
        got = ask(proxy, **fields)

        assert (got.status, error_of(got)["details"]["error_code"]) == (400, "cost_unbounded")
        assert "set tools.max_uses" in error_of(got)["message"]
        assert upstream.requests == []


def test_a_batchs_items_are_charged_once_however_often_they_are_fetched(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    budget = make_budget()
    govern(proxy, [budget])
    with proxy:
        upstream.script = answering(answer(batch_lines(3)))
        assert [call(proxy.port, get(BATCH_RESULTS)).status for _ in range(2)] == [200, 200]

        until(lambda: len(counters(proxy)) == 1)
        cost = sum(event.cost_nanodollars for event in proxy.events())
        assert cost == 3 * 2_250_000
        assert [counter.fields["settled"] for counter in counters(proxy)] == [cost]
