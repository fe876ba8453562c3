"""The battery's checks of exact costs: the very tokens it names, and the very nanodollars."""

import contextlib
import json
from collections.abc import Callable, Mapping
from decimal import Decimal

import pytest

from metering.budgets import Budget
from tests.doubles.raw_upstream import ReceivedRequest, Wire, answering
from tests.system.battery.rig import (
    IS_FULL,
    LAST_CHUNK,
    SSE,
    chat_piece,
    chunk,
    frame,
    headers_of,
    proxy_before,
    scripted,
    usage_piece,
    whole,
)
from tests.system.calls import CHAT, MESSAGES, Body, call, chat, message, open_call
from tests.system.deployment import Deployment, Row, Tenant, nanodollars
from tests.system.processes import Process, eventually, free_port

STREAMED: Body = {"stream": True, "stream_options": {"include_usage": True}}


@pytest.mark.battery("C1")
@pytest.mark.parametrize("is_streaming", [False, True], ids=["whole", "streamed"])
def test_cached_input_of_anthropic_costs_what_was_read_and_written(
    deployment: Deployment, tenant: Tenant, *, is_streaming: bool
) -> None:
    tokens = {"input": 1000, "cache-write-5m": 4000, "cache-read": 2000, "output": 500}
    options = {f"x-demo-{name}-tokens": str(count) for name, count in tokens.items()}

    call(deployment.proxy.url, MESSAGES, message(stream=is_streaming), headers_of(tenant, **options))

    (event,) = deployment.assert_billed(tenant, 1)
    assert nanodollars(event["cost_usd"]) == 26_100_000
    assert event["estimated"] is False


CACHED = {
    "prompt_tokens": 1200,
    "completion_tokens": 300,
    "total_tokens": 1500,
    "prompt_tokens_details": {"cached_tokens": 1000},
    "completion_tokens_details": {"reasoning_tokens": 200},
}


@pytest.mark.battery("C2")
@pytest.mark.parametrize("is_streaming", [False, True], ids=["whole", "streamed"])
def test_cached_and_reasoning_tokens_of_openai_count_once(
    deployment: Deployment, tenant: Tenant, *, is_streaming: bool
) -> None:
    plain = whole(json.dumps({"model": "gpt-4o", "choices": [], "usage": CACHED}).encode())
    frames = [frame(chat_piece("x", "stop")), frame(usage_piece(CACHED)), frame("[DONE]")]
    streamed = [SSE, *map(chunk, frames), LAST_CHUNK]
    body = chat(**STREAMED) if is_streaming else chat()

    with scripted(deployment, answering(*(streamed if is_streaming else [plain]))) as (proxy, _):
        call(proxy.url, CHAT, body, headers_of(tenant))

    event = deployment.event(tenant)
    assert nanodollars(event["cost_usd"]) == 200 * 2_500 + 1000 * 1_250 + 300 * 10_000
    assert (event["input_tokens"], event["cache_read_tokens"]) == (200, 1000)
    assert (event["output_tokens"], event["reasoning_tokens"]) == (300, 200)


PIECES = [f"word {at} " for at in range(100)]
USAGE = {"prompt_tokens": 50, "completion_tokens": 250, "total_tokens": 300}
HANG_UPS: dict[str, tuple[bytes, int, bool]] = {  # once this was read of so many pieces; whether usage came
    "at nothing": (b"", 0, False),
    "after the third piece": (b"word 2 ", 3, False),
    "behind the usage, before the end": (b'"completion_tokens": 250', 100, True),
}


@pytest.mark.battery("C3")
@pytest.mark.parametrize(("mark", "pieces", "is_told"), HANG_UPS.values(), ids=HANG_UPS.keys())
def test_a_caller_that_hangs_up_leaves_one_event_of_what_was_used(
    sqlite_deployment: Deployment, mark: bytes, pieces: int, *, is_told: bool
) -> None:
    repeats = 100 if IS_FULL else 3
    tenant = sqlite_deployment.tenant()
    bill: list[int] = []

    def script(wire: Wire, received: ReceivedRequest) -> None:
        wire.take_body(received)
        sent = PIECES[:pieces]
        bill.append(cost_of(USAGE) if is_told else cost_of(counted(received.body, "".join(sent))))
        if sent:
            wire.send(SSE + b"".join(chunk(frame(chat_piece(piece))) for piece in sent))
        if is_told:
            wire.send(chunk(frame(usage_piece(USAGE))))
        while wire.receive():  # the rest is never sent: the caller is gone by then
            pass

    with scripted(sqlite_deployment, script) as (proxy, _):
        for number in range(repeats):
            with open_call(proxy.url, CHAT, chat(**STREAMED), headers_of(tenant)) as made:
                eventually(lambda: len(bill) > number, what="its arrival")  # noqa: B023 - called at once
                if mark:
                    made.read_until(mark)
                made.hang_up()
        events = sqlite_deployment.events(tenant, repeats)

    costs = [nanodollars(event["cost_usd"]) for event in events]
    assert {event["state"] for event in events} == {"client_closed"}
    assert {event["estimated"] for event in events} == {not is_told}
    assert min(costs) > 0
    assert len(bill) == repeats
    assert abs(sum(costs) - sum(bill)) <= (0 if is_told else sum(bill) / 100)


def counted(body: bytes, said: str) -> dict[str, int]:
    """What was used by the documented rule: four bytes to a token, of what was asked and of what was said."""
    return {"prompt_tokens": -(-len(body) // 4), "completion_tokens": -(-len(said.encode()) // 4)}


def cost_of(usage: Mapping[str, int]) -> int:
    """In nanodollars, of gpt-4o."""
    return usage["prompt_tokens"] * 2_500 + usage["completion_tokens"] * 10_000


SPOILT: dict[str, tuple[list[bytes], tuple[int, bool]]] = {
    "absent": ([frame(chat_piece("hello", "stop"))], (-1, True)),
    "null": ([frame(chat_piece("hello", "stop")), frame(usage_piece(None))], (-1, True)),
    "all zero": (
        [frame(chat_piece("hello", "stop")), frame(usage_piece(dict.fromkeys(USAGE, 0)))],
        (0, False),
    ),
    "first only": ([frame(usage_piece(USAGE)), frame(chat_piece("hello", "stop"))], (2_625_000, False)),
    "with each piece": (
        [
            frame(chat_piece("hello") | {"usage": USAGE | {"completion_tokens": 10}}),
            frame(chat_piece("hello", "stop") | {"usage": USAGE}),
        ],
        (2_625_000, False),
    ),
}


@pytest.mark.battery("C4")
@pytest.mark.parametrize(("frames", "expected"), SPOILT.values(), ids=SPOILT.keys())
def test_usage_is_taken_as_it_is_told(
    sqlite_deployment: Deployment, frames: list[bytes], expected: tuple[int, bool]
) -> None:
    tenant = sqlite_deployment.tenant()
    answer = [SSE, *map(chunk, [*frames, frame("[DONE]")]), LAST_CHUNK]

    with scripted(sqlite_deployment, answering(*answer)) as (proxy, _):
        call(proxy.url, CHAT, chat(**STREAMED), headers_of(tenant))

    event = sqlite_deployment.event(tenant)
    cost = nanodollars(event["cost_usd"])
    assert event["estimated"] is expected[1]
    assert cost > 0 if expected[1] else cost == expected[0]


def _answers(status: bytes) -> Callable[[Wire, ReceivedRequest], None]:
    return answering(whole(b'{"error":{"message":"no"}}', status=status))


def _resets(wire: Wire, received: ReceivedRequest) -> None:
    wire.take_body(received)
    wire.reset()


FAILURES: dict[str, tuple[Callable[[Wire, ReceivedRequest], None] | None, int]] = {
    "429": (_answers(b"429 Too Many Requests"), 429),
    "500": (_answers(b"500 Internal Server Error"), 500),
    "529": (_answers(b"529 Overloaded"), 529),
    "refused": (None, 502),
    "reset": (_resets, 502),
}


@pytest.mark.battery("C6")
@pytest.mark.parametrize(("script", "status"), FAILURES.values(), ids=FAILURES.keys())
def test_a_call_that_came_to_nothing_costs_nothing_and_gives_back_what_it_held(
    sqlite_deployment: Deployment,
    script: Callable[[Wire, ReceivedRequest], None] | None,
    status: int,
) -> None:
    tenant = sqlite_deployment.tenant()
    terms = Budget(budget_id="", mode="strict", limit_nanodollars=10**9)
    budget = sqlite_deployment.rulebook().create_budget(tenant.account_id, terms)
    path = f"/v1/budgets/{budget.budget_id}"

    with contextlib.ExitStack() as stack:
        proxy: Process
        if script is None:
            proxy = stack.enter_context(proxy_before(sqlite_deployment, free_port()))
        else:
            proxy, _ = stack.enter_context(scripted(sqlite_deployment, script))
        reply = call(proxy.url, MESSAGES, message(), headers_of(tenant))
        event = sqlite_deployment.event(tenant)

    shown = sqlite_deployment.ask_api(tenant, path)
    assert (reply.status, event["status_code"]) == (status, status)
    assert (event["cost_usd"], event["state"]) == (0, "upstream_error")
    assert (shown["spent_usd"], shown["held_usd"]) == (0, 0)


@pytest.mark.battery("C7")
def test_a_new_price_leaves_older_events_as_they_are(deployment: Deployment, tenant: Tenant) -> None:
    options = {"x-demo-input-tokens": "1000", "x-demo-output-tokens": "0"}
    call(deployment.proxy.url, CHAT, chat("before"), headers_of(tenant, **options))
    (before,) = deployment.events(tenant, 1)
    dearer: Body = {"provider": "openai", "model": "gpt-4o", "prices": {"input_usd_per_million": "7"}}

    _change_account(deployment, tenant, {"prices": {"overrides": [dearer]}})
    eventually(lambda: _costs(deployment, tenant, options) == Decimal("0.007"), what="the new price")

    def both() -> list[Row] | None:
        page: list[Row] = deployment.ask_api(tenant, "/v1/events?limit=100")["data"]
        return page if len({event["price_version"] for event in page}) == 2 else None

    page = eventually(both, what="an event of either price")
    (kept,) = [event for event in page if event["request_id"] == before["request_id"]]
    assert kept == before
    assert kept["cost_usd"] == Decimal("0.0025")


def _costs(deployment: Deployment, tenant: Tenant, options: dict[str, str]) -> Decimal:
    """What a call costs now, as its answer says."""
    reply = call(deployment.proxy.url, CHAT, chat("after"), headers_of(tenant, **options))
    return Decimal(reply.header("x-modeltrack-cost-usd"))


def _change_account(deployment: Deployment, tenant: Tenant, body: Body) -> None:
    headers = {"authorization": f"Bearer {tenant.key}", "content-type": "application/json"}
    reply = call(deployment.api.url, "/v1/account", body, headers, method="PATCH")
    assert reply.status == 200, reply.body
