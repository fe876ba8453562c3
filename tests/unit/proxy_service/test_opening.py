import threading

import pytest

from metering.errors import StoreUnavailable
from metering.stores import Document, DocumentStore
from proxy_service.opening import OpeningStore
from tests.doubles.stores import StoreDown


def test_whoever_asks_while_a_store_is_opened_waits_for_it() -> None:
    gate, healthy = threading.Event(), StoreDown()
    healthy.heal()

    def open_slowly() -> DocumentStore:
        assert gate.wait(10)
        return healthy

    store = OpeningStore(open_slowly, lambda _: None)
    threading.Timer(0, gate.set).start()

    assert store.get("accounts/1") is None
    assert store.get_many(["accounts/1"]) == {}
    assert healthy.calls == 2


def test_a_single_document_is_read_without_opening_the_store() -> None:
    opened: list[bool] = []
    document = Document("accounts/1", {}, "1")

    def open_store() -> DocumentStore:
        opened.append(True)
        raise AssertionError

    store = OpeningStore(open_store, lambda _: None, lambda *_: document)

    assert store.get("accounts/1") is document
    assert not opened


def test_an_open_store_is_read_itself() -> None:
    healthy = StoreDown()
    healthy.heal()
    store = OpeningStore(lambda: healthy, lambda _: None, lambda path, _: Document(path, {}, "1"))

    store.get_many(["accounts/1"])

    assert store.get("accounts/1") is None


def test_whoever_has_waited_long_enough_is_told_that_there_is_no_answer() -> None:
    store = OpeningStore(_never, lambda _: None)

    with pytest.raises(StoreUnavailable):
        store.commit([], timeout_seconds=0.01)


def _never() -> DocumentStore:
    threading.Event().wait(2)
    raise AssertionError


def test_a_store_that_cannot_be_opened_is_told_and_answers_nobody() -> None:
    failures: list[Exception] = []
    told = threading.Event()

    def refuse() -> DocumentStore:
        raise ValueError("no such project")

    def remember(error: Exception) -> None:
        failures.append(error)
        told.set()

    store = OpeningStore(refuse, remember)
    store.open()

    assert told.wait(10)
    with pytest.raises(StoreUnavailable):
        store.get("accounts/1", timeout_seconds=5)
    store.close()
    assert [type(each) for each in failures] == [ValueError]
