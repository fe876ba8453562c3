"""Notices, deliveries and channels, on both stores: written together, found when they are due."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from api_service.channels import CHANNELS_MAX, Channel, Channels
from api_service.functions import deliver
from api_service.functions.settings import FunctionSettings
from api_service.functions.workplace import Workplace
from api_service.logs import ApiLog
from api_service.notices import Notice, Notices, delivery_from
from api_service.pages import newest
from metering.collections import DELIVERIES
from metering.errors import AlreadyExists, Conflict
from metering.sealing import Unsealable
from metering.setting_kinds import Secret
from metering.stores import Create, DocumentStore
from tests.builders import ACCOUNT_ID, SECRET
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore
from tests.doubles.mailbox import Mailbox
from tests.services.api.logbook import Logbook

OTHER_ID = f"acct_{2:032x}"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def channels(store: DocumentStore, clock: ManualClock) -> Channels:
    return Channels(store, clock, lambda: SECRET)


@pytest.fixture
def place(store: DocumentStore, clock: ManualClock, tmp_path: Path) -> Workplace:
    settings = FunctionSettings(data_dir=tmp_path, modeltrack_secret=Secret(SECRET.decode()))
    return Workplace(settings, store, clock, ApiLog(clock, "info", Logbook()), Mailbox())


def webhook(clock: ManualClock) -> Channel:
    return Channel(channel_id="", kind="webhook", url="https://10.0.0.1/", created_at=clock.now())


def notice(account_id: str = ACCOUNT_ID, once: str = "") -> Notice:
    return Notice(account_id=account_id, kind="test", title="x", text="x", once=once)


def test_what_is_told_and_what_decided_on_it_are_kept_together_or_not_at_all(
    store: DocumentStore, clock: ManualClock
) -> None:
    notices = Notices(store, clock)
    decision = Create("accounts/acct_1/alerts/alert_1", {})
    store.commit([decision, *notices.writes_of(notice(once="1"))])

    with pytest.raises(AlreadyExists):
        store.commit([decision, *notices.writes_of(notice(once="2"))])

    assert len(newest(store, DELIVERIES, "created_at").documents) == 1
    assert not notices.tell(notice(once="1"))
    assert notices.tell(notice(once="2"))


def test_telling_writes_few_documents_however_many_channels(
    store: DocumentStore, clock: ManualClock, channels: Channels
) -> None:
    for _ in range(CHANNELS_MAX):
        channels.create(ACCOUNT_ID, webhook(clock))
    counting = CountingStore(store)

    Notices(counting, clock).tell(notice())

    counting.check_limits()
    assert (counting.documents_read, counting.commits[0].writes) == (1, CHANNELS_MAX + 1)


def test_deliveries_are_found_by_when_they_are_due_whose_they_are_and_where_they_go(
    store: DocumentStore, clock: ManualClock, channels: Channels, place: Workplace
) -> None:
    made, _ = channels.create(ACCOUNT_ID, webhook(clock))
    for account_id in (ACCOUNT_ID, OTHER_ID):
        place.notices.tell(notice(account_id))
        clock.advance(1)

    report = deliver.run(place)

    assert (report.failed, report.logged) == (1, 1)  # 10.0.0.1 is not called
    for equal in ({"account_id": ACCOUNT_ID}, {"channel_id": made.channel_id}):
        (document,) = newest(store, DELIVERIES, "created_at", equal=equal).documents
        delivery = delivery_from(document)
        assert (delivery.state, delivery.outcome) == ("pending", "address_not_allowed")
        assert delivery.next_at == clock.now() + deliver.RETRIES[0]
    assert deliver.run(place) == deliver.DeliveryReport()


def test_one_run_takes_so_many_and_no_more_and_none_is_forgotten(
    store: DocumentStore, clock: ManualClock, place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "DELIVERIES_A_RUN_MAX", 4)
    for number in range(10):
        place.notices.tell(notice(f"acct_{number:032x}"))
    clock.advance(1)

    assert [deliver.run(place).logged for _ in range(4)] == [4, 4, 2, 0]


def test_an_account_never_has_more_channels_than_it_may_whoever_makes_them_at_once(
    store: DocumentStore, clock: ManualClock, channels: Channels
) -> None:
    def make() -> bool:
        for _ in range(50):
            try:
                channels.create(ACCOUNT_ID, webhook(clock))
            except Conflict as refused:
                if "at most" in str(refused):
                    return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert not any(task.result() for task in [threads.submit(make) for _ in range(4)])
    assert len(channels.of(ACCOUNT_ID)) == CHANNELS_MAX


def test_what_is_sealed_for_one_account_is_not_opened_for_another(
    clock: ManualClock, channels: Channels
) -> None:
    terms = Channel(channel_id="", kind="slack", created_at=clock.now())
    made, _ = channels.create(ACCOUNT_ID, terms, address="https://hooks.slack.com/services/canary")

    assert channels.address_of(ACCOUNT_ID, made) == "https://hooks.slack.com/services/canary"
    with pytest.raises(Unsealable):
        channels.address_of(OTHER_ID, made)
