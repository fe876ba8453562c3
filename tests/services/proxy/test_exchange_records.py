"""What stays of a call: its lines in the journal, its event in the store, and nothing else anywhere."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from metering.directory import KeyTerms
from metering.errors import StoreUnavailable
from metering.opening import open_store
from metering.stores import DocumentStore
from tests.doubles.raw_upstream import RawUpstream, ReceivedRequest, Script, Wire, answering, call
from tests.doubles.unreliable_store import UnreliableStore
from tests.doubles.waiting import until
from tests.services.proxy.calls import (
    END,
    PROVIDER_KEY,
    STREAM_HEAD,
    WHOLE_STREAM,
    answer,
    chunk,
    get,
    message,
    messages_call,
    post,
)
from tests.services.proxy.running import RunningProxy

CANARY = "canary-of-a-prompt-4711"


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream(answering(answer(message()))) as upstream:
        yield upstream


@pytest.fixture
def proxy(tmp_path: Path, upstream: RawUpstream) -> Iterator[RunningProxy]:
    with RunningProxy(tmp_path, upstream) as proxy:
        yield proxy


def watched(proxy_folder: Path, seen: list[list[bytes]], script: Script) -> Script:
    """Notes what the journal holds when the request has arrived upstream."""

    def watching(wire: Wire, request: ReceivedRequest) -> None:
        until(lambda: bool(journal_of(proxy_folder)))
        seen.append(journal_of(proxy_folder))
        script(wire, request)

    return watching


def journal_of(folder: Path) -> list[bytes]:
    return [line for file in folder.glob("cost_events*.jsonl") for line in file.read_bytes().splitlines()]


@pytest.mark.parametrize("streaming", [False, True])
def test_a_call_is_admitted_before_it_leaves_and_settled_before_its_answer_ends(
    tmp_path: Path, proxy: RunningProxy, upstream: RawUpstream, streaming: bool
) -> None:
    plain = answering(answer(message()))
    streamed = answering(STREAM_HEAD, *map(chunk, WHOLE_STREAM), END)
    on_arrival: list[list[bytes]] = []
    upstream.script = watched(tmp_path, on_arrival, streamed if streaming else plain)

    got = call(proxy.port, messages_call(streaming=streaming))

    (arrived,) = on_arrival
    request_id = (got.header(b"x-modeltrack-request-id") or b"?").decode()
    lines = proxy.journal_lines()
    assert [line["line"] for line in lines] == ["admitted", "settled"]
    assert (len(arrived), lines[0]["request_id"], lines[0]["model"]) == (1, request_id, "claude-sonnet-4-5")
    assert (lines[1]["event"]["request_id"], lines[1]["event"]["cost_nanodollars"]) == (request_id, 4_500_000)


def test_once_all_is_stored_the_journal_is_gone(tmp_path: Path, proxy: RunningProxy) -> None:
    call(proxy.port, messages_call())

    assert len(proxy.events()) == 1
    assert journal_of(tmp_path) == []


def test_a_store_that_is_down_delays_events_and_nothing_else(tmp_path: Path, upstream: RawUpstream) -> None:
    store = UnreliableStore(
        open_store(f"sqlite:///{tmp_path}/modeltrack.db"), ["not_applied", "reply_lost"] * 3
    )

    with RunningProxy(tmp_path, upstream, store=store) as proxy:
        assert [call(proxy.port, messages_call(top_k=number)).status for number in range(5)] == [200] * 5
        events = proxy.events()

    assert len({event.request_id for event in events}) == len(events) == 5


def test_what_the_store_never_took_stays_in_the_journal(tmp_path: Path, upstream: RawUpstream) -> None:
    inner = open_store(f"sqlite:///{tmp_path}/modeltrack.db")
    store = UnreliableStore(inner, ["not_applied"] * 1000)

    with RunningProxy(tmp_path, upstream, store=store) as proxy:
        call(proxy.port, messages_call())
        proxy.stop()

        assert [line["line"] for line in proxy.journal_lines()] == ["admitted", "settled"]
        assert proxy.instance.tally.events_left_to_journal == 1


def test_while_the_store_is_silent_an_unseen_key_is_served_and_journalled_by_its_hash(
    tmp_path: Path, upstream: RawUpstream
) -> None:
    is_silent = threading.Event()

    def silence() -> None:
        if is_silent.is_set():
            raise StoreUnavailable("silent")

    store = UnreliableStore(open_store(f"sqlite:///{tmp_path}/modeltrack.db"), before=silence)
    with RunningProxy(tmp_path, upstream, store=store, is_hosted=True) as proxy:
        account = proxy.directory.create_account("One")
        plain, record = proxy.directory.create_key(account.account_id, KeyTerms())
        is_silent.set()

        got = call(proxy.port, messages_call(headers=b"X-ModelTrack-Key: %b\r\n" % plain.encode()))

        assert got.status == 200
        lines = {line["line"]: line for line in proxy.journal_lines()}
        assert {line["key_hash"] for line in lines.values()} == {record.key_hash}
        assert lines["settled"]["event"]["account_id"] == ""
        is_silent.clear()


@pytest.mark.parametrize("path", [b"/v1/messages", b"/stats"])
def test_the_line_of_a_refused_call_names_the_suspended_account_and_its_key(
    tmp_path: Path, upstream: RawUpstream, path: bytes
) -> None:
    with RunningProxy(tmp_path, upstream, is_hosted=True) as proxy:
        account = proxy.directory.create_account("One")
        plain, record = proxy.directory.create_key(account.account_id, KeyTerms(scopes=("proxy", "stats")))
        proxy.directory.set_status(account.account_id, "suspended")
        headers = b"X-ModelTrack-Key: %b\r\n" % plain.encode()

        asked = get(path, headers) if path == b"/stats" else messages_call(headers=headers)
        assert call(proxy.port, asked).status == 403

        proxy.stop()
        lines = [msgspec.json.decode(line) for line in proxy.log.getvalue().splitlines()]
        (line,) = [line for line in lines if line["event"] == "call"]
        assert line["refusal"] == "account_suspended"
        assert (line["account_id"], line["key_id"]) == (account.account_id, record.key_id)


@pytest.mark.battery("V1")
def test_nothing_that_a_caller_or_a_provider_said_is_logged_or_stored(
    tmp_path: Path, proxy: RunningProxy, upstream: RawUpstream
) -> None:
    said = message(content=[{"type": "text", "text": CANARY}])
    prompts: list[dict[str, Any]] = [{"system": CANARY}, {"metadata": {"user_id": CANARY}}]
    call(proxy.port, messages_call(**prompts[0]))
    upstream.script = answering(answer(said))
    call(proxy.port, messages_call(**prompts[1]))
    upstream.script = answering(answer(said.replace(b"{", b"", 1), status=b"500 Oops"))
    call(proxy.port, messages_call(top_p=0.5, system=CANARY))
    call(proxy.port, post(b"/v1/messages?key=" + CANARY.encode(), b"{" + CANARY.encode()))
    call(proxy.port, messages_call(headers=b"X-ModelTrack-Team: %b\r\n" % PROVIDER_KEY))
    proxy.stop()

    kept = proxy.log.getvalue().encode() + b"".join(
        path.read_bytes() for path in tmp_path.iterdir() if path.is_file()
    )
    assert CANARY.encode() not in kept
    assert PROVIDER_KEY not in kept


def test_a_call_is_recorded_alike_on_either_store(
    tmp_path: Path, upstream: RawUpstream, store: DocumentStore
) -> None:
    with RunningProxy(tmp_path, upstream, store=store, is_hosted=True) as proxy:
        account = proxy.directory.create_account("One")
        plain, record = proxy.directory.create_key(account.account_id, KeyTerms())
        call(proxy.port, messages_call(headers=b"X-ModelTrack-Key: %b\r\n" % plain.encode()))
        event = proxy.event(account.account_id)

    assert (event.key_id, event.state, event.cost_nanodollars) == (record.key_id, "completed", 4_500_000)
