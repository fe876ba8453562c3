"""What holds a call back or lets it in does so on every route, by every way in and at every level."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from socket import SHUT_WR
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from metering.accounts import LOCAL_ACCOUNT_ID
from metering.budgets import Scope
from metering.directory import KeyTerms
from metering.keys import KEY_PREFIX, SCOPES, _checksum, is_well_formed_key
from tests.doubles.raw_upstream import RawUpstream, ReceivedAnswer, call, dialled, take_answer
from tests.services.proxy.calls import messages_call, post
from tests.services.proxy.governed import HAIKU, Using, govern, make_budget, script_of
from tests.services.proxy.running import RunningProxy

NO_CACHE = b"X-ModelTrack-No-Cache: true\r\n"
A_DOLLAR = {"input_tokens": 1_000_000, "output_tokens": 0}  # of Haiku
ASKED = msgspec.json.encode({"model": HAIKU, "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]})
BILLED = (
    *(b"/v1/messages", b"/anthropic/v1/messages", b"/v1/chat/completions", b"/openai/v1/chat/completions"),
    *(b"/v1/completions", b"/v1/responses", b"/v1/responses/compact", b"/v1/embeddings"),
    *(b"/azure/v1/chat/completions", b"/azure/openai/deployments/d/chat/completions"),
    *(b"/azure/openai/deployments/d/completions", b"/azure/openai/deployments/d/embeddings"),
    *(b"/azure/openai/deployments/d/responses", b"/azure/openai/v1/responses", b"/azure/openai/responses"),
    *(b"/bedrock/v1/messages", b"/bedrock/model/m/invoke", b"/bedrock/model/m/invoke-with-response-stream"),
    *(b"/bedrock/model/m/converse", b"/bedrock/model/m/converse-stream"),
    # whose usage nobody can read
    *(b"/v1/images/generations", b"/v1/audio/speech", b"/v1/anything/new", b"/bedrock/async-invoke"),
    *(b"/azure/openai/deployments/d/images/generations", b"/v1/messages/", b"/v1/chat/completions/"),
    # free themselves, but not what they have the provider run
    *(b"/v1/messages/batches", b"/v1/batches"),
)


def ask(proxy: RunningProxy, headers: bytes = b"", **fields: Any) -> ReceivedAnswer:
    return call(proxy.port, messages_call(model=HAIKU, headers=NO_CACHE + headers, **fields))


def test_a_spent_budget_refuses_on_every_route_that_may_cost(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    govern(proxy, [make_budget()])
    with proxy:
        script_of(upstream).usages.append(A_DOLLAR)
        assert ask(proxy).status == 200
        proxy.clock.advance(1)

        statuses = {path: call(proxy.port, post(path, ASKED, NO_CACHE)).status for path in BILLED}

        assert {path: status for path, status in statuses.items() if status != 429} == {}
        assert len(upstream.requests) == 1


@pytest.mark.parametrize("mode", ["strict", "normal"])
def test_a_budget_of_nothing_lets_nothing_through(
    proxy: RunningProxy, upstream: RawUpstream, mode: str
) -> None:
    govern(proxy, [make_budget(limit_nanodollars=0, mode=mode)])
    with proxy:
        statuses = {path: call(proxy.port, post(path, ASKED, NO_CACHE)).status for path in BILLED}

    # A strict budget says first what would bound a call that nothing bounds.
    assert set(statuses.values()) == ({429} if mode == "normal" else {400, 429})
    assert upstream.requests == []


@pytest.mark.parametrize("level", ["account", "team", "app", "key_id", "model"])
def test_a_spent_budget_of_any_level_refuses_beside_others_that_have_room(
    proxy: RunningProxy, upstream: RawUpstream, level: str
) -> None:
    proxy.directory.ensure_local_account()
    plain, record = proxy.directory.create_key(LOCAL_ACCOUNT_ID, KeyTerms())
    named: dict[str, Any] = {"team": "search", "app": "web", "key_id": record.key_id, "model": HAIKU}
    scope = Scope() if level == "account" else Scope(**{level: named[level]})
    roomy = [
        make_budget(name=each, scope=Scope(**{each: named[each]}), limit_nanodollars=10**12) for each in named
    ]
    govern(proxy, [*roomy[:2], make_budget(name="spent", scope=scope), *roomy[2:]])
    tags = f"X-ModelTrack-Key: {plain}\r\nX-ModelTrack-Team: search\r\nX-ModelTrack-App: web\r\n".encode()
    with proxy:
        script_of(upstream).usages.append(A_DOLLAR)
        assert ask(proxy, tags).status == 200
        proxy.clock.advance(1)

        refused = ask(proxy, tags)

        assert (refused.status, len(upstream.requests)) == (429, 1)
        assert msgspec.json.decode(refused.body)["error"]["details"]["budget_name"] == "spent"


@pytest.mark.parametrize("told", [-1, -(2**63), 2**31, 2**53 - 1, 2**63, 10**30, 1.5, "5", None])
@pytest.mark.parametrize("field", ["input_tokens", "output_tokens"])
def test_no_usage_that_an_answer_tells_gives_money_back(
    proxy: RunningProxy, upstream: RawUpstream, field: str, told: object
) -> None:
    govern(proxy, [make_budget(limit_nanodollars=10**18)])
    usage = {"input_tokens": 10, "output_tokens": 10, field: told}
    with proxy:
        script_of(upstream).usages += [A_DOLLAR, usage]
        assert [ask(proxy).status for _ in range(2)] == [200, 200]
        spent, told_of = proxy.events()

    assert 0 <= told_of.cost_nanodollars < 10**16
    assert all(charge.nanodollars >= 0 for charge in (*spent.charges, *told_of.charges))


@pytest.mark.parametrize("asked", [-1, 0, 2**31, 2**63, -(2**63), 10**30, 1.5, "5", None, [], True])
@pytest.mark.parametrize("mode", ["strict", "normal"])
def test_no_limit_of_an_answers_length_passes_a_spent_budget(
    proxy: RunningProxy, upstream: RawUpstream, mode: str, asked: object
) -> None:
    govern(proxy, [make_budget(mode=mode)])
    with proxy:
        script_of(upstream).usages.append(A_DOLLAR)
        first = ask(proxy)
        assert first.status == 200
        proxy.clock.advance(1)

        refused = ask(proxy, max_tokens=asked)

        assert (refused.status in {400, 429}, len(upstream.requests)) == (True, 1)


def test_a_key_that_begins_like_another_is_another_even_once_that_is_known(
    tmp_path: Path, upstream: RawUpstream
) -> None:
    with RunningProxy(tmp_path, upstream, is_hosted=True) as proxy:
        account = proxy.directory.create_account("One")
        known, _ = proxy.directory.create_key(account.account_id, KeyTerms())
        body = known[: len(KEY_PREFIX) + 63] + ("0" if known[len(KEY_PREFIX) + 63] != "0" else "1")
        alike = body + _checksum(body)
        assert is_well_formed_key(alike)

        statuses = [
            ask(proxy, b"X-ModelTrack-Key: %b\r\n" % key.encode()).status for key in (known, alike, known)
        ]

        assert statuses == [200, 401, 200]
        assert len(upstream.requests) == 2


def test_only_the_scope_of_calls_lets_a_call_in_by_whichever_way_it_comes(
    tmp_path: Path, upstream: RawUpstream
) -> None:
    with RunningProxy(tmp_path, upstream, is_hosted=True) as proxy:
        account = proxy.directory.create_account("One")
        statuses = {}
        for scope in SCOPES:
            plain, _ = proxy.directory.create_key(account.account_id, KeyTerms(scopes=(scope,)))
            given = plain.encode()
            ways = {
                "ours": ask(proxy, b"X-ModelTrack-Key: %b\r\n" % given),
                "the provider's": ask(proxy, b"Authorization: Bearer %b\r\n" % given),
                "a path": call(proxy.port, messages_call(path=b"/ws/%b/v1/messages" % given)),
                "a query": call(proxy.port, messages_call(path=b"/v1/messages?key=%b" % given)),
            }
            statuses[scope] = {way: got.status for way, got in ways.items() if got.status != 401}

        assert statuses.pop("proxy") == {"ours": 200}
        assert {status for each in statuses.values() for status in each.values()} == {403}
        assert len(upstream.requests) == 1


def test_a_model_of_any_script_is_served_and_named_in_no_header(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    model = "\u56e2\u961f-\U0001f4b8"
    with proxy:
        proxy.directory.ensure_local_account()
        got = call(proxy.port, messages_call(model=model))
        event = proxy.event()

    assert (got.status, event.model, event.unpriced) == (200, model, True)
    assert all(value.isascii() for _, value in got.headers)


def test_an_id_is_no_credential(tmp_path: Path, upstream: RawUpstream) -> None:
    with RunningProxy(tmp_path, upstream, is_hosted=True) as proxy:
        account = proxy.directory.create_account("One")
        plain, record = proxy.directory.create_key(account.account_id, KeyTerms())
        ids = [
            account.account_id,
            record.key_id,
            record.key_hash,
            record.hint,
            plain[:-1],
            KEY_PREFIX + record.key_hash,
        ]

        for each in ids:
            assert ask(proxy, b"X-ModelTrack-Key: %b\r\n" % each.encode()).status == 401, each
            assert (
                call(proxy.port, messages_call(path=b"/ws/%b/v1/messages" % each.encode())).status == 401
            ), each

        assert upstream.requests == []


def test_a_failing_call_writes_a_bounded_number_of_log_lines(tmp_path: Path) -> None:
    calls = 50
    with RawUpstream(lambda wire, _: wire.reset()) as upstream, RunningProxy(tmp_path, upstream) as proxy:
        statuses = {ask(proxy).status for _ in range(calls)}
        proxy.stop()
        lines = proxy.log.getvalue().splitlines()

    assert statuses == {502}
    assert len(lines) <= 2 * calls + 20
    assert max(map(len, lines)) < 2_000


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningProxy, RawUpstream, bytes]]:
    """A proxy that wants a key, what it stands before, and a key that it knows."""
    folder = tmp_path_factory.mktemp("hosted")
    with RawUpstream(Using()) as upstream, RunningProxy(folder, upstream, is_hosted=True) as proxy:
        account = proxy.directory.create_account("One")
        yield proxy, upstream, proxy.directory.create_key(account.account_id, KeyTerms())[0].encode()


@st.composite
def spoilt(draw: st.DrawFn) -> tuple[int, bytes]:
    """Where a key is changed, and to what."""
    return draw(st.integers(0, 74)), draw(
        st.sampled_from([b"", b"0", b"f", b"F", b"x", b"\xe9", b"%30", b"-"])
    )


@pytest.mark.battery_class("credentials of any shape")
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=90) | spoilt(), st.sampled_from([b"X-ModelTrack-Key: ", b"/ws/"]))
def test_no_bytes_whatever_let_a_call_in(
    hosted: tuple[RunningProxy, RawUpstream, bytes], given_bytes: bytes | tuple[int, bytes], way: bytes
) -> None:
    proxy, upstream, known = hosted
    if isinstance(given_bytes, tuple):
        at, instead = given_bytes
        given_bytes = known[:at] + instead + known[at + 1 :]
    assume(given_bytes.strip(b" \t") != known)
    raw = messages_call(path=way + given_bytes + b"/v1/messages")
    if way != b"/ws/":
        raw = messages_call(headers=way + given_bytes + b"\r\n")

    with dialled(proxy.port, raw) as wire:
        with suppress(OSError):  # where it was refused at once, the connection may be over
            wire.connection.shutdown(SHUT_WR)  # what is no request is not waited for
        status = take_answer(wire).status

    assert 400 <= status < 500
    assert upstream.requests == []
