"""Prompt fingerprints: only where an account asks for them, and of no use to who has the store."""

import gzip
import hmac
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from metering.accounts import LOCAL_ACCOUNT_ID, AccountSettings
from metering.directory import KeyTerms
from metering.events import CostEvent
from proxy_service.fingerprints import Fingerprints
from proxy_service.providers import read_template
from tests.doubles.raw_upstream import RawUpstream, ReceivedRequest, Wire, answering, call
from tests.doubles.waiting import until
from tests.services.proxy.calls import (
    END,
    STREAM_HEAD,
    WHOLE_STREAM,
    answer,
    chunk,
    message,
    messages_call,
    post,
)
from tests.services.proxy.governed import govern, make_budget
from tests.services.proxy.running import RunningProxy
from tests.unit.proxy_service.providers.test_templates import ANTHROPIC, route_to

ON, OFF = AccountSettings(prompt_fingerprints=True), AccountSettings()
CANARY = "canary-of-a-system-prompt-4711"
NO_CACHE = b"X-ModelTrack-No-Cache: true\r\n"


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream(answering(answer(message()))) as upstream:
        yield upstream


@pytest.fixture
def proxy(tmp_path: Path, upstream: RawUpstream) -> Iterator[RunningProxy]:
    with RunningProxy(tmp_path, upstream) as proxy:
        yield proxy


def said(text: str, system: Any = CANARY, headers: bytes = NO_CACHE, **more: Any) -> bytes:
    turns = [{"role": "user", "content": text}]
    return messages_call(messages=turns, system=system, headers=headers, **more)


def in_app(name: bytes) -> bytes:
    return b"X-ModelTrack-App: %b\r\n%b" % (name, NO_CACHE)


def prints(events: list[CostEvent]) -> list[str]:
    return [event.prompt_fingerprint for event in events]


def test_nothing_is_made_of_a_prompt_that_nobody_asked_for(proxy: RunningProxy) -> None:
    call(proxy.port, said("hello"))

    assert prints(proxy.events()) == [""]


def test_calls_of_one_template_share_a_fingerprint_and_others_have_their_own(proxy: RunningProxy) -> None:
    govern(proxy, settings=ON)

    for app, sent in {
        b"one": said("hello", headers=in_app(b"one")),
        b"same": said("good bye", headers=in_app(b"same"), stream=True),
        b"other": said("hello", headers=in_app(b"other"), system="else"),
        b"none": messages_call(headers=in_app(b"none")),
    }.items():
        assert call(proxy.port, sent).status == 200, app

    made = {event.app: event.prompt_fingerprint for event in proxy.events()}
    assert made["one"] == made["same"] != made["other"]
    assert [len(made[name]) for name in ("one", "other", "none")] == [32, 32, 0]


@pytest.mark.parametrize("streaming", [False, True])
def test_bytes_cross_unchanged_in_both_directions(
    proxy: RunningProxy, upstream: RawUpstream, streaming: bool
) -> None:
    govern(proxy, settings=ON)
    body = (
        b'{ "system" : [ "\\u0041" , 1.50 ] ,"model":"claude-sonnet-4-5", '
        b'"tools":[{"b":1,"a":2}],"messages":[]}'
    )
    if streaming:
        body = body.replace(b'{ "system"', b'{ "stream":true, "system"')
    plain, streamed = answering(answer(message())), answering(STREAM_HEAD, *map(chunk, WHOLE_STREAM), END)
    upstream.script = streamed if streaming else plain

    got = call(proxy.port, post(b"/v1/messages", body))

    assert [request.body for request in upstream.requests] == [body]
    assert got.body == (b"".join(WHOLE_STREAM) if streaming else message())
    assert prints(proxy.events()) != [""]


def test_a_compressed_call_is_served_and_has_none(proxy: RunningProxy, upstream: RawUpstream) -> None:
    govern(proxy, settings=ON)
    body = gzip.compress(b'{"model":"claude-sonnet-4-5","system":"x","messages":[]}')

    got = call(proxy.port, post(b"/v1/messages", body, b"Content-Encoding: gzip\r\n"))

    assert (got.status, prints(proxy.events())) == (200, [""])


def test_answers_from_memory_have_the_one_of_their_question(proxy: RunningProxy) -> None:
    govern(proxy, settings=ON)
    call(proxy.port, said("hello", headers=b""))
    call(proxy.port, said("hello", headers=b""))

    events = proxy.events()

    assert {event.state for event in events} == {"completed", "cache_hit"}
    assert prints(events)[0] == prints(events)[1] != ""


def test_a_refused_call_has_its_own(proxy: RunningProxy) -> None:
    govern(proxy, [make_budget(limit_nanodollars=1)], settings=ON)

    assert call(proxy.port, said("hello")).status == 429

    assert proxy.event().state == "refused"
    assert proxy.event().prompt_fingerprint != ""


def test_a_call_that_is_never_settled_has_its_own_in_the_journal(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    govern(proxy, settings=ON)
    lines: list[dict[str, Any]] = []
    script = upstream.script

    def noting(wire: Wire, request: ReceivedRequest) -> None:
        until(lambda: bool(proxy.journal_lines()))
        lines.extend(proxy.journal_lines())
        script(wire, request)

    upstream.script = noting
    call(proxy.port, said("hello"))

    assert [line["prompt_fingerprint"] for line in lines] == prints(proxy.events())


def test_the_setting_acts_on_calls_to_come_and_on_no_other(proxy: RunningProxy) -> None:
    govern(proxy, settings=OFF)
    seen: list[str] = []

    def last_print() -> str:
        call(proxy.port, said("again"))
        settled = [line for line in proxy.journal_lines() if line["line"] == "settled"]
        seen.append(settled[-1]["event"].get("prompt_fingerprint", ""))
        return seen[-1]

    assert last_print() == ""
    proxy.directory.change_settings(LOCAL_ACCOUNT_ID, ON)
    until(lambda: last_print() != "")
    made = seen[-1]
    proxy.directory.change_settings(LOCAL_ACCOUNT_ID, OFF)
    until(lambda: last_print() == "")

    assert {*seen} == {"", made}
    assert last_print() == ""


def test_two_accounts_of_one_prompt_cannot_be_linked(tmp_path: Path, upstream: RawUpstream) -> None:
    with RunningProxy(tmp_path, upstream, is_hosted=True) as proxy:
        accounts = [proxy.directory.create_account(name).account_id for name in ("One", "Two")]
        for account_id in accounts:
            proxy.directory.change_settings(account_id, ON)
            plain, _ = proxy.directory.create_key(account_id, KeyTerms())
            call(proxy.port, said("hello", headers=b"X-ModelTrack-Key: %b\r\n" % plain.encode()))

        (one,), (other,) = (prints(proxy.events(account_id)) for account_id in accounts)

    assert "" not in (one, other)
    assert one != other


def values_of(folder: Path) -> set[bytes]:
    """Everything that the store holds, value by value, each word of it too."""
    found: set[bytes] = set()
    with closing(sqlite3.connect(folder / "modeltrack.db")) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        for table in tables:
            for row in connection.execute(f"SELECT * FROM {table}"):  # noqa: S608 - our own names
                values = [each if isinstance(each, bytes) else str(each).encode() for each in row]
                found.update(values, *(value.replace(b'"', b" ").split() for value in values))
    return found


def test_neither_the_prompt_nor_what_would_betray_it_is_kept(tmp_path: Path, proxy: RunningProxy) -> None:
    govern(proxy, settings=ON)
    body = messages_call(system=CANARY).partition(b"\r\n\r\n")[2]
    call(proxy.port, messages_call(system=CANARY))
    made = proxy.event().prompt_fingerprint

    kept = values_of(tmp_path)
    template = read_template(route_to(ANTHROPIC), [], body)
    assert template is not None
    assert not [value for value in kept if CANARY.encode() in value]
    assert CANARY not in proxy.log.getvalue()
    for key in kept:
        assert Fingerprints(key).of(LOCAL_ACCOUNT_ID, template) != made
        assert not hmac.digest(key, template, "sha256").hex().startswith(made)
