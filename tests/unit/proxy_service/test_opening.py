import threading
from collections.abc import Sequence

import pytest

from metering.errors import StoreUnavailable
from metering.stores import Delete, Document, DocumentStore, Increment, Put, Write, WriteResult
from proxy_service.opening import OpeningStore
from tests.doubles.stores import StoreDown


class Firsts:
    """What a store that is not open yet says."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.counted: list[Sequence[Increment]] = []

    def get(self, path: str, timeout_seconds: float) -> Document | None:
        return self.document

    def increment(self, writes: Sequence[Increment], timeout_seconds: float) -> list[WriteResult]:
        self.counted.append(writes)
        return [WriteResult(write.amounts) for write in writes]


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

    store = OpeningStore(open_store, lambda _: None, Firsts(document))

    assert store.get("accounts/1") is document
    assert not opened


def test_increments_by_themselves_are_counted_without_opening_the_store() -> None:
    firsts = Firsts(Document("accounts/1", {}, "1"))
    store = OpeningStore(_never, lambda _: None, firsts)
    counting = [Increment("accounts/1", {("n",): 2})]

    assert store.commit(counting) == [WriteResult({("n",): 2})]
    assert firsts.counted == [counting]


@pytest.mark.parametrize("other", [Put("accounts/2", {}), Delete("accounts/2")], ids=["a put", "a delete"])
def test_increments_with_something_else_wait_for_the_open_store(other: Write) -> None:
    healthy = StoreDown()
    healthy.heal()
    firsts = Firsts(Document("accounts/1", {}, "1"))
    store = OpeningStore(lambda: healthy, lambda _: None, firsts)

    store.commit([Increment("accounts/1", {("n",): 2}), other])

    assert (firsts.counted, healthy.calls) == ([], 1)


def test_an_open_store_counts_itself() -> None:
    healthy = StoreDown()
    healthy.heal()
    firsts = Firsts(Document("accounts/1", {}, "1"))
    store = OpeningStore(lambda: healthy, lambda _: None, firsts)
    store.get_many(["accounts/1"])

    store.commit([Increment("accounts/1", {("n",): 2})])

    assert (firsts.counted, healthy.calls) == ([], 2)


def test_an_open_store_is_read_itself() -> None:
    healthy = StoreDown()
    healthy.heal()
    firsts = Firsts(Document("accounts/1", {}, "1"))
    store = OpeningStore(lambda: healthy, lambda _: None, firsts)

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
