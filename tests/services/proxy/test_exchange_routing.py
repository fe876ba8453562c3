"""Routing over the wire: when a rule turns a call, what goes upstream then, what the answer and event say."""

import gzip
from typing import Any

import msgspec
import pytest

from metering.accounts import AccountSettings, AzureSettings, BedrockSettings
from tests.doubles.raw_upstream import RawUpstream, ReceivedAnswer, answering, call
from tests.services.proxy.calls import (
    END,
    STREAM_HEAD,
    WHOLE_STREAM,
    chunk,
    get,
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
SEVENTY_CENTS = {"input_tokens": 700_000, "output_tokens": 0}  # of Haiku
A_LITTLE_LESS = {"input_tokens": 699_999, "output_tokens": 0}


def spend(proxy: RunningProxy, upstream: RawUpstream, usage: dict[str, Any], model: str = HAIKU) -> None:
    """Make a call that uses so much; it counts at once."""
    script_of(upstream).usages.append(usage)
    assert call(proxy.port, messages_call(model=model, headers=NO_CACHE)).status == 200
    proxy.clock.advance(1)


def ask(proxy: RunningProxy, **fields: Any) -> ReceivedAnswer:
    fields = {"model": SONNET, "headers": NO_CACHE} | fields
    return call(proxy.port, messages_call(**fields))


def told(got: ReceivedAnswer) -> dict[bytes, bytes]:
    names = (b"routed", b"original-model", b"routed-to", b"route-reason")
    found = {name: got.header(b"x-modeltrack-" + name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def asked_model(upstream: RawUpstream) -> str:
    model: str = msgspec.json.decode(upstream.requests[-1].body)["model"]
    return model


def test_at_its_threshold_a_rule_turns_the_call_and_all_of_it_is_said(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    govern(proxy, [make_budget()], [make_rule()])
    with proxy:
        spend(proxy, upstream, SEVENTY_CENTS)
        script_of(upstream).usages.append({"input_tokens": 1_000, "output_tokens": 100})
        got = ask(proxy)

        assert told(got) == {
            b"routed": b"true",
            b"original-model": SONNET.encode(),
            b"routed-to": HAIKU.encode(),
            b"route-reason": b"budget-downgrade: 70% of budget spent",
        }
        sent, asked = upstream.requests[-1].body, messages_call(model=SONNET).partition(b"\r\n\r\n")[2]
        assert sent == asked.replace(SONNET.encode(), HAIKU.encode())
        event = proxy.events()[-1]
        assert (event.routed, event.routing_rule) == (True, "budget-downgrade")
        assert (event.requested_model, event.model) == (SONNET, HAIKU)
        assert (event.cost_nanodollars, event.counterfactual_nanodollars, event.saved_nanodollars) == (
            1_500_000,
            4_500_000,
            3_000_000,
        )
        assert [charge.nanodollars for charge in event.charges] == [1_500_000]


def test_just_below_its_threshold_a_rule_does_nothing(proxy: RunningProxy, upstream: RawUpstream) -> None:
    govern(proxy, [make_budget()], [make_rule()])
    with proxy:
        spend(proxy, upstream, A_LITTLE_LESS)

        assert (told(ask(proxy)), asked_model(upstream)) == ({}, SONNET)


@pytest.mark.parametrize(
    "rule",
    [{"provider": "openai"}, {"enabled": False}, {"from_models": ("claude-opus-4-6",)}, {"to_model": SONNET}],
    ids=["wrong provider", "disabled", "another model", "the same model"],
)
def test_a_rule_that_does_not_apply_turns_nothing(
    proxy: RunningProxy, upstream: RawUpstream, rule: dict[str, Any]
) -> None:
    govern(proxy, [make_budget()], [make_rule(**rule)])
    with proxy:
        spend(proxy, upstream, SEVENTY_CENTS)

        assert (told(ask(proxy)), asked_model(upstream)) == ({}, SONNET)


@pytest.mark.parametrize(("value", "model"), [(b"true", SONNET), (b"1", SONNET), (b"false", HAIKU)])
def test_a_caller_may_opt_out_of_routing(
    proxy: RunningProxy, upstream: RawUpstream, value: bytes, model: str
) -> None:
    govern(proxy, [make_budget()], [make_rule()])
    with proxy:
        spend(proxy, upstream, SEVENTY_CENTS)
        ask(proxy, headers=NO_CACHE + b"X-ModelTrack-No-Route: " + value + b"\r\n")

        assert asked_model(upstream) == model
        assert upstream.requests[-1].header(b"x-modeltrack-no-route") is None


def test_the_first_rule_that_fires_decides_and_rules_do_not_chain(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    rules = [
        make_rule(name="late", threshold=90, to_model="claude-opus-4-6"),
        make_rule(name="first"),
        make_rule(name="second", to_model="claude-opus-4-6"),
        make_rule(name="chained", from_models=(HAIKU,), to_model="claude-3-haiku"),
    ]
    govern(proxy, [make_budget()], rules)
    with proxy:
        spend(proxy, upstream, SEVENTY_CENTS, "claude-haiku-4-5-20251001")

        assert told(ask(proxy))[b"route-reason"].startswith(b"first: ")
        assert asked_model(upstream) == HAIKU


DUPLICATE = b'{"model":"claude-sonnet-4-6","max_tokens":9,"messages":[],"max_tokens":9}'
PLAIN = b'{"model":"claude-sonnet-4-6","max_tokens":9,"messages":[]}'


@pytest.mark.parametrize(
    ("body", "headers", "to_model"),
    [
        (DUPLICATE, b"", HAIKU),
        (gzip.compress(PLAIN, mtime=0), b"Content-Encoding: gzip\r\n", HAIKU),
        (PLAIN, b"", "claude-of-tomorrow"),
        (PLAIN.replace(b"9", b"70000"), b"", HAIKU),
    ],
    ids=["duplicate key", "compressed", "unknown target", "a longer answer than the target gives"],
)
def test_a_call_that_cannot_be_turned_safely_goes_as_it_came(
    proxy: RunningProxy, upstream: RawUpstream, body: bytes, headers: bytes, to_model: str
) -> None:
    govern(proxy, [make_budget(limit_nanodollars=100 * DOLLAR)], [make_rule(to_model=to_model)])
    with proxy:
        spend(proxy, upstream, {"input_tokens": 70_000_000, "output_tokens": 0})
        got = call(proxy.port, post(b"/v1/messages", body, headers + NO_CACHE))

        assert (got.status, upstream.requests[-1].body) == (200, body)
        assert told(got) == {b"route-reason": b"unsafe_to_edit"}
        assert (proxy.events()[-1].routed, proxy.events()[-1].requested_model) == (False, SONNET)


def test_a_stream_is_turned_like_any_call(proxy: RunningProxy, upstream: RawUpstream) -> None:
    govern(proxy, [make_budget()], [make_rule()])
    with proxy:
        spend(proxy, upstream, SEVENTY_CENTS)
        upstream.script = answering(STREAM_HEAD + b"".join(map(chunk, WHOLE_STREAM)) + END)
        got = ask(proxy, streaming=True)

        assert told(got)[b"routed-to"] == HAIKU.encode()
        event = proxy.events()[-1]
        assert (event.streaming, event.routed, event.state) == (True, True, "completed")
        assert [charge.nanodollars for charge in event.charges] == [event.cost_nanodollars]


CHAT = b'{"model":"%b","messages":[{"role":"user","content":"x"}]}'
MINI, FOUR_O = "gpt-4o-mini", "gpt-4o"


def openai_rule(**changes: Any) -> Any:
    fields = {"from_models": (FOUR_O,), "to_model": MINI, "provider": "openai"}
    return make_rule(**fields | changes)


AZURE = AccountSettings(azure=AzureSettings(deployments={"big": FOUR_O, "small": MINI}))


@pytest.mark.parametrize(
    ("path", "body", "sent_path", "sent_body"),
    [
        (
            b"/azure/openai/deployments/big/chat/completions?api-version=2024-10-21",
            CHAT % b"big",
            b"/openai/deployments/small/chat/completions?api-version=2024-10-21",
            CHAT % b"big",
        ),
        (
            b"/azure/v1/chat/completions",
            CHAT % b"big",
            b"/openai/deployments/small/chat/completions?api-version=2024-10-21",
            CHAT % b"small",
        ),
        (
            b"/azure/openai/v1/chat/completions",
            CHAT % b"big",
            b"/openai/v1/chat/completions",
            CHAT % b"small",
        ),
    ],
    ids=["deployment's path", "published path", "v1 path"],
)
def test_on_azure_a_call_is_turned_to_the_deployment_of_the_model(  # the parts of one case
    proxy: RunningProxy,
    upstream: RawUpstream,
    path: bytes,
    body: bytes,
    sent_path: bytes,
    sent_body: bytes,
) -> None:
    govern(proxy, [make_budget()], [openai_rule()], AZURE)
    with proxy:
        spend(proxy, upstream, SEVENTY_CENTS)
        got = call(proxy.port, post(path, body, NO_CACHE))

        assert (got.status, told(got).get(b"routed-to")) == (200, b"small")
        assert upstream.requests[-1].line.split()[1] == sent_path
        assert upstream.requests[-1].body == sent_body
        event = proxy.events()[-1]
        assert (event.requested_model, event.model, event.routed) == ("big", MINI, True)


def test_on_azure_a_model_without_a_deployment_is_no_target(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    settings = AccountSettings(azure=AzureSettings(deployments={"big": FOUR_O}))
    govern(proxy, [make_budget()], [openai_rule()], settings)
    with proxy:
        spend(proxy, upstream, SEVENTY_CENTS)
        got = call(proxy.port, post(b"/azure/v1/chat/completions", CHAT % b"big", NO_CACHE))

        assert told(got) == {b"route-reason": b"unsafe_to_edit"}


ARN = "arn:aws:bedrock:us-east-1:1:application-inference-profile/%s"
BIG_ID, SMALL_ID = "us.anthropic.claude-sonnet-4-6-v1:0", "us.anthropic.claude-haiku-4-5-20251001-v1:0"
BEDROCK = AccountSettings(
    bedrock=BedrockSettings(inference_profiles={ARN % "a": BIG_ID, ARN % "b": SMALL_ID})
)
INVOKED = b'{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[]}'


@pytest.mark.parametrize(
    ("path", "to_model", "sent_path"),
    [
        (
            b"/bedrock/model/us.anthropic.claude-sonnet-4-6-v1%3A0/invoke",
            SMALL_ID,
            b"/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/invoke",
        ),
        (
            b"/bedrock/model/us.anthropic.claude-sonnet-4-6-v1%3A0/invoke",
            HAIKU,
            b"/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aapplication-inference-profile%2Fb/invoke",
        ),
        (
            b"/bedrock/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aapplication-inference-profile%2Fa/converse",
            HAIKU,
            b"/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aapplication-inference-profile%2Fb/converse",
        ),
    ],
    ids=["by its id", "by a profile", "profile to profile"],
)
def test_on_bedrock_the_model_in_the_path_is_replaced(
    proxy: RunningProxy, upstream: RawUpstream, path: bytes, to_model: str, sent_path: bytes
) -> None:
    govern(proxy, [make_budget()], [make_rule(to_model=to_model)], BEDROCK)
    with proxy:
        spend(proxy, upstream, SEVENTY_CENTS)
        got = call(proxy.port, post(path, INVOKED, NO_CACHE))

        assert (got.status, told(got).get(b"routed")) == (200, b"true")
        assert upstream.requests[-1].line.split()[1] == sent_path
        assert upstream.requests[-1].body == INVOKED
        assert proxy.events()[-1].model == SMALL_ID


def test_a_model_of_another_maker_is_not_invoked_with_a_claudes_body(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    govern(proxy, [make_budget()], [make_rule(to_model="amazon.nova-lite-v1:0")], BEDROCK)
    path = b"/bedrock/model/us.anthropic.claude-sonnet-4-6-v1%3A0/"
    with proxy:
        spend(proxy, upstream, SEVENTY_CENTS)
        invoked = call(proxy.port, post(path + b"invoke", INVOKED, NO_CACHE))
        conversed = call(proxy.port, post(path + b"converse", b'{"messages":[]}', NO_CACHE))

        assert told(invoked) == {b"route-reason": b"unsafe_to_edit"}
        assert told(conversed)[b"routed-to"] == b"amazon.nova-lite-v1:0"


def test_a_turned_call_is_remembered_as_what_it_became(proxy: RunningProxy, upstream: RawUpstream) -> None:
    govern(proxy, [make_budget()], [make_rule()])
    with proxy:
        spend(proxy, upstream, SEVENTY_CENTS)
        first, second = (ask(proxy, headers=b"") for _ in range(2))
        direct = ask(proxy, model=HAIKU, headers=b"")

        verdicts = [got.header(b"x-modeltrack-cache") for got in (first, second, direct)]
        assert verdicts == [b"MISS", b"HIT", b"HIT"]
        assert (told(second)[b"routed-to"], told(direct)) == (HAIKU.encode(), {})


def test_what_routing_did_is_counted_by_the_published_names(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    govern(proxy, [make_budget()], [make_rule()])
    with proxy:
        spend(proxy, upstream, SEVENTY_CENTS)
        script_of(upstream).usages += [
            {"input_tokens": 1_000, "output_tokens": 100},
            {"input_tokens": 300_000, "output_tokens": 0},
        ]
        ask(proxy)
        ask(proxy, model=HAIKU)
        assert ask(proxy, headers=NO_CACHE + b"X-ModelTrack-No-Route: 1\r\n").status == 429
        shown = msgspec.json.decode(call(proxy.port, get(b"/routing/stats")).body)

        assert shown.pop("since")
        assert shown == {
            "total_routed": 1,
            "total_pass_through": 2,
            "total_blocked": 1,
            "rule_hits": {"budget-downgrade": 1},
            "estimated_savings": 0.003,
        }
