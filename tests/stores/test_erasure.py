"""An account that is erased is gone from both stores, and nothing of another's is touched."""

from collections.abc import Iterator
from datetime import timedelta

import msgspec
import pytest

from metering import erasure
from metering.accounts import LOCAL_ACCOUNT_ID, Account
from metering.budgets import Budget
from metering.collections import (
    CHANGES_PATH,
    INDEXED_FIELDS,
    email_path,
    erasure_path,
    membership_path,
    person_path,
    session_path,
)
from metering.directory import Directory, KeyTerms
from metering.erasure import LOOK_AGAIN_AFTER, ErasureReport, close_account, erasure_from, run
from metering.errors import StoreUnavailable
from metering.ledger import Ledger
from metering.rulebook import Rulebook
from metering.segments import Segment
from metering.stores import Document, DocumentStore, Put
from tests.builders import SECRET, make_event
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore
from tests.doubles.unreliable_store import Fate, UnreliableStore
from tests.stores.accounting import all_documents

LEFT = {"changes", "erasures"}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


class Tenant:
    """An account with something in every collection, and a person who owns it."""

    def __init__(self, store: DocumentStore, clock: ManualClock, name: str) -> None:
        self.store, self.clock = store, clock
        self.directory = Directory(store, clock, SECRET)
        self.account: Account = self.directory.create_account(name)
        self.account_id = self.account.account_id
        self.person_id = f"person_{name}"
        self.directory.create_key(self.account_id, KeyTerms())
        book = Rulebook(store, self.directory, clock)
        book.create_budget(self.account_id, Budget(budget_id="", name=name, limit_nanodollars=1))
        self.join(self.person_id)
        self.keep_events(3)
        for collection, fields in INDEXED_FIELDS.items():
            self.put(f"accounts/{self.account_id}/{collection}/x")
            if "account_id" in fields and collection not in {"keys", "memberships"}:
                self.put(f"{collection}/{name}")

    def put(self, path: str) -> None:
        self.store.commit([Put(path, {"account_id": self.account_id})])

    def join(self, person_id: str) -> None:
        member = {"person_id": person_id, "account_id": self.account_id}
        paths = (
            person_path(person_id),
            email_path(f"e-{person_id}"),
            membership_path(person_id, self.account_id),
        )
        self.store.commit([Put(path, member) for path in paths])
        self.store.commit([Put(session_path(f"s-{person_id}-{self.account_id}"), member)])

    def keep_events(self, count: int) -> None:
        for number in range(count):
            event = msgspec.structs.replace(
                make_event(account_id=self.account_id, timestamp=self.clock.now()),
                request_id=f"req_{number:032x}",
                cost_nanodollars=7,
            )
            name = f"{self.person_id.encode().hex():a<32}-{number}"
            Ledger(self.store, self.clock).commit(
                Segment(name=name, account_id=self.account_id, events=(event,))
            )

    def close(self) -> erasure.Erasure:
        return close_account(self.store, self.directory, self.clock, self.account_id, self.person_id)

    def _all(self) -> Iterator[Document]:
        accounts = all_documents(self.store, "accounts")
        for name in INDEXED_FIELDS:
            yield from all_documents(self.store, name)
            for account_id in {self.account_id, *(each.document_id for each in accounts)}:
                yield from all_documents(self.store, f"accounts/{account_id}/{name}")

    def documents(self) -> Iterator[Document]:
        """All that says its name in path or fields, but for what is meant to be left."""
        for document in self._all():
            text = f"{document.path} {document.fields}"
            if document.path.split("/")[0] not in LEFT and (
                self.account_id in text or self.person_id in text
            ):
                yield document


@pytest.fixture
def ada(store: DocumentStore, clock: ManualClock) -> Tenant:
    return Tenant(store, clock, "ada")


@pytest.mark.battery("R2")
def test_everything_of_it_is_gone_and_its_books_are_left(ada: Tenant, clock: ManualClock) -> None:
    ada.close()

    report = run(ada.store, clock)

    document = ada.store.get(erasure_path(ada.account_id))
    assert document is not None
    assert [each.path for each in ada.documents()] == []
    assert (report.accounts_erased, report.people, report.left) == (1, 1, 0)
    assert erasure_from(document).books == {"2026-11": (3, 21)}
    assert erasure_from(document).requested_by == ada.person_id


@pytest.mark.battery("R2")
def test_nothing_of_another_account_is_touched(ada: Tenant, clock: ManualClock) -> None:
    bob = Tenant(ada.store, clock, "bob")
    before = [(each.path, each.fields) for each in bob.documents()]
    ada.close()

    run(ada.store, clock)

    assert [(each.path, each.fields) for each in bob.documents()] == before


def test_its_keys_are_dead_and_its_name_is_gone_from_the_moment_it_is_closed(ada: Tenant) -> None:
    version = ada.directory.changes().version
    ada.close()

    account, policy = ada.directory.account(ada.account_id), ada.directory.policy(ada.account_id)
    (key,) = ada.directory.keys_of(ada.account_id)
    assert account is not None
    assert policy is not None
    assert (account.status, account.name, policy.status, policy.budgets) == ("suspended", "", "suspended", ())
    assert key.revoked_at is not None
    assert {key.key_hash, ada.account_id} <= set(ada.directory.changes().since(version) or ())


def test_who_is_in_another_account_loses_only_the_place(ada: Tenant, clock: ManualClock) -> None:
    bob = Tenant(ada.store, clock, "bob")
    bob.join(ada.person_id)
    ada.close()

    report = run(ada.store, clock)

    left = {each.path for each in ada.documents()}
    assert report.people == 0
    assert left == {
        person_path(ada.person_id),
        email_path(f"e-{ada.person_id}"),
        membership_path(ada.person_id, bob.account_id),
        session_path(f"s-{ada.person_id}-{bob.account_id}"),
    }


@pytest.mark.battery("R3")
def test_what_comes_late_is_gone_within_thirty_days(ada: Tenant, clock: ManualClock) -> None:
    ada.close()
    run(ada.store, clock)
    clock.advance(3600)
    ada.keep_events(1)
    assert run(ada.store, clock) == ErasureReport()

    clock.advance(LOOK_AGAIN_AFTER.total_seconds())
    run(ada.store, clock)

    document = ada.store.get(erasure_path(ada.account_id))
    assert [each.path for each in ada.documents()] == []
    assert document is not None
    assert erasure_from(document).state == "done"
    assert timedelta(days=30) > LOOK_AGAIN_AFTER


def test_the_machines_own_account_that_was_made_anew_is_left_alone(
    sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    directory = Directory(sqlite_store, clock, SECRET)
    directory.ensure_local_account()
    close_account(sqlite_store, directory, clock, LOCAL_ACCOUNT_ID, "person_x")
    run(sqlite_store, clock)
    directory.ensure_local_account()
    sqlite_store.commit([Put(f"accounts/{LOCAL_ACCOUNT_ID}/counts/x", {"day": "2026-11-21"})])
    clock.advance(LOOK_AGAIN_AFTER.total_seconds())

    run(sqlite_store, clock)

    assert sqlite_store.get(f"accounts/{LOCAL_ACCOUNT_ID}/counts/x") is not None
    assert directory.account(LOCAL_ACCOUNT_ID) is not None


def test_a_run_has_a_bound_and_the_next_one_goes_on(
    ada: Tenant, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "DELETED_A_RUN_MAX", 10)
    ada.close()

    reports = [run(ada.store, clock)]
    while reports[-1].left:
        reports.append(run(ada.store, clock))

    assert len(reports) > 2
    assert all(each.documents <= 10 + erasure.DELETED_AT_ONCE for each in reports)
    assert [each.path for each in ada.documents()] == []


@pytest.mark.parametrize("commit", range(6))
def test_a_run_that_is_cut_off_anywhere_is_finished_by_the_next(
    sqlite_store: DocumentStore, clock: ManualClock, commit: int
) -> None:
    ada = Tenant(sqlite_store, clock, "ada")
    ada.close()
    fates: list[Fate] = ["applied"] * commit
    cut_off = UnreliableStore(sqlite_store, [*fates, "not_applied"])
    with pytest.raises(StoreUnavailable):
        run(cut_off, clock)

    run(sqlite_store, clock)

    document = sqlite_store.get(erasure_path(ada.account_id))
    assert [each.path for each in ada.documents()] == []
    assert document is not None
    assert erasure_from(document).books == {"2026-11": (3, 21)}


def test_no_commit_is_beyond_what_the_store_takes(sqlite_store: DocumentStore, clock: ManualClock) -> None:
    store = CountingStore(sqlite_store)
    ada = Tenant(store, clock, "ada")
    for _ in range(99):
        ada.directory.create_key(ada.account_id, KeyTerms())
    ada.close()
    run(store, clock)

    store.check_limits()
    assert ada.store.get(CHANGES_PATH) is not None


def test_closing_twice_is_one_erasure(ada: Tenant, clock: ManualClock) -> None:
    first = ada.close()
    clock.advance(60)

    assert ada.close() == first
