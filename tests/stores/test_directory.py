"""Accounts, keys and policies on both stores, alone and with somebody else changing things meanwhile."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from metering.accounts import (
    LOCAL_ACCOUNT_ID,
    Account,
    AccountSettings,
    AzureSettings,
    CacheSettings,
    PriceOverride,
    PriceSettings,
    UnitPrices,
)
from metering.directory import (
    CHANGES_KEPT_MAX,
    KEPT_KEYS_MAX,
    KEY_ADDRESSES_MAX,
    LIVE_KEYS_MAX,
    Changes,
    Directory,
    KeyTerms,
)
from metering.errors import Conflict, InvalidInput, NotFound, StoreUnavailable
from metering.keys import key_hash
from metering.stores import Document, DocumentStore, Query, Write, WriteResult
from tests.doubles.clock import ManualClock

SECRET = b"a secret of at least thirty-two bytes"


class Interrupted:
    """A store in which something else happens right before a commit, as often as there are interruptions."""

    def __init__(self, store: DocumentStore, interruptions: list[Callable[[], object]]) -> None:
        self.kind = store.kind
        self._store = store
        self._interruptions = interruptions

    def get(self, path: str, *, timeout_seconds: float = 10) -> Document | None:
        return self._store.get(path, timeout_seconds=timeout_seconds)

    def get_many(
        self, paths: Sequence[str], *, known: Mapping[str, str] | None = None, timeout_seconds: float = 10
    ) -> dict[str, Document]:
        return self._store.get_many(paths, known=known, timeout_seconds=timeout_seconds)

    def query(self, query: Query, *, timeout_seconds: float = 10) -> list[Document]:
        return self._store.query(query, timeout_seconds=timeout_seconds)

    def commit(self, writes: Sequence[Write], *, timeout_seconds: float = 10) -> list[WriteResult]:
        if self._interruptions:
            self._interruptions.pop(0)()
        return self._store.commit(writes, timeout_seconds=timeout_seconds)

    def close(self) -> None:
        """The store behind is closed by who opened it."""


def no_pause(_seconds: float) -> None:
    """Try again at once."""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def directory(store: DocumentStore, clock: ManualClock) -> Directory:
    return Directory(store, clock, SECRET)


@pytest.fixture
def account(directory: Directory) -> Account:
    return directory.create_account("Ada & Co")


def interrupted(store: DocumentStore, clock: ManualClock, *interruptions: Callable[[], object]) -> Directory:
    return Directory(Interrupted(store, list(interruptions)), clock, SECRET, pause=no_pause)


def test_a_new_account_has_a_policy_at_once(directory: Directory, account: Account) -> None:
    policy = directory.policy(account.account_id)

    assert directory.account(account.account_id) == account
    assert policy is not None
    assert policy.status == "active"
    assert policy.settings == AccountSettings()


def test_an_unknown_account_has_neither_account_nor_policy(directory: Directory) -> None:
    assert directory.account("acct_none") is None
    assert directory.policy("acct_none") is None


def test_settings_come_back_as_they_were_given(
    directory: Directory, account: Account, clock: ManualClock
) -> None:
    override = PriceOverride(
        provider="openai",
        model="gpt-4o",
        prices=UnitPrices(input_picodollars=2_500_000),
        starts_at=clock.now(),
    )
    settings = AccountSettings(
        cache=CacheSettings(enabled=True, temperature="zero"),
        prices=PriceSettings(overrides=(override,), unpriced="refuse"),
        azure=AzureSettings(resource="ours", deployments={"a.b/c": "gpt-4o", "__x__": "gpt-4.1"}),
    )

    directory.change_settings(account.account_id, settings)

    policy = directory.policy(account.account_id)
    assert policy is not None
    assert policy.settings == settings


def test_a_suspended_account_is_suspended_in_its_policy(directory: Directory, account: Account) -> None:
    directory.set_status(account.account_id, "suspended")

    policy = directory.policy(account.account_id)
    assert policy is not None
    assert policy.status == "suspended"


def test_an_unknown_account_cannot_be_changed(directory: Directory) -> None:
    with pytest.raises(NotFound):
        directory.set_status("acct_none", "suspended")


def test_two_edits_at_once_both_take_effect(
    store: DocumentStore, clock: ManualClock, directory: Directory, account: Account
) -> None:
    def rename() -> None:
        directory.change_account(account.account_id, lambda each: msgspec.structs.replace(each, name="New"))

    interrupted(store, clock, rename).set_status(account.account_id, "suspended")

    after = directory.account(account.account_id)
    assert after is not None
    assert (after.name, after.status) == ("New", "suspended")


def test_the_local_account_is_made_once(
    store: DocumentStore, clock: ManualClock, directory: Directory
) -> None:
    other = interrupted(store, clock, directory.ensure_local_account)

    made = other.ensure_local_account()

    assert made.account_id == LOCAL_ACCOUNT_ID
    assert directory.ensure_local_account() == made
    assert directory.changes().recent == (LOCAL_ACCOUNT_ID,)


@pytest.mark.battery("V4")
def test_a_key_is_found_by_its_hash_and_kept_nowhere(directory: Directory, account: Account) -> None:
    plain, record = directory.create_key(account.account_id, KeyTerms(name="ci", scopes=("read", "proxy")))

    assert directory.key_by_hash(key_hash(plain, SECRET)) == record
    assert directory.key_by_plain(plain) == record
    assert record.scopes == ("proxy", "read")
    assert record.hint == plain[-4:]
    assert plain not in repr(record)


def test_pins_and_names_are_kept_as_tags_are(directory: Directory, account: Account) -> None:
    terms = KeyTerms(name="sk-ant-api03-abcdefgh", team=" search\x00 ", app="e\u0301", deployment="")

    _, record = directory.create_key(account.account_id, terms)

    assert (record.name, record.team, record.app) == ("[redacted]", "search", "\u00e9")
    assert record.deployment == "default"


def test_an_ingress_id_may_be_limited_to_networks(directory: Directory, account: Account) -> None:
    terms = KeyTerms(kind="ingress", addresses=("203.0.113.0/24", "2001:db8::/32", "192.0.2.7"))

    plain, record = directory.create_key(account.account_id, terms)

    assert len(plain) == 40
    assert record.addresses == ("203.0.113.0/24", "2001:db8::/32", "192.0.2.7/32")


@pytest.mark.parametrize(
    ("terms", "param"),
    [
        (KeyTerms(scopes=()), "scopes"),
        (KeyTerms(kind="ingress", scopes=("proxy", "read")), "scopes"),
        (KeyTerms(addresses=("203.0.113.0/24",)), "addresses"),
        (KeyTerms(kind="ingress", addresses=("203.0.113.1/24",)), "addresses"),
        (KeyTerms(kind="ingress", addresses=("everywhere",)), "addresses"),
        (KeyTerms(kind="ingress", addresses=("192.0.2.1",) * (KEY_ADDRESSES_MAX + 1)), "addresses"),
        (KeyTerms(expires_at=ManualClock().now()), "expires_at"),
    ],
    ids=["no scope", "ingress scope", "header", "host bits", "no network", "too many", "already over"],
)
def test_terms_that_make_no_sense_are_refused_by_field(
    directory: Directory, account: Account, terms: KeyTerms, param: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        directory.create_key(account.account_id, terms)

    assert refused.value.param == param


def test_a_key_needs_an_account(directory: Directory) -> None:
    with pytest.raises(NotFound):
        directory.create_key("acct_none", KeyTerms())


def test_an_account_has_a_bounded_number_of_live_keys(
    sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    directory = Directory(sqlite_store, clock, SECRET)
    account = directory.create_account("full")
    keys = [directory.create_key(account.account_id, KeyTerms())[1] for _ in range(LIVE_KEYS_MAX)]

    with pytest.raises(Conflict):
        directory.create_key(account.account_id, KeyTerms())
    directory.revoke_key(account.account_id, keys[0].key_id)

    directory.create_key(account.account_id, KeyTerms())


def test_of_dead_keys_only_the_youngest_are_remembered(
    sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    directory = Directory(sqlite_store, clock, SECRET)
    account = directory.create_account("busy")
    made = []
    for _ in range(KEPT_KEYS_MAX + 1):
        clock.advance(1)
        made.append(directory.create_key(account.account_id, KeyTerms())[1])
        directory.revoke_key(account.account_id, made[-1].key_id)

    kept = {each.key_id for each in directory.keys_of(account.account_id)}

    assert kept == {each.key_id for each in made[1:]}


def test_the_last_free_place_for_a_key_goes_to_one_of_two(
    sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    directory = Directory(sqlite_store, clock, SECRET)
    account = directory.create_account("nearly full")
    for _ in range(LIVE_KEYS_MAX - 1):
        directory.create_key(account.account_id, KeyTerms())
    other = interrupted(sqlite_store, clock, lambda: directory.create_key(account.account_id, KeyTerms()))

    with pytest.raises(Conflict):
        other.create_key(account.account_id, KeyTerms())

    assert len(directory.keys_of(account.account_id)) == LIVE_KEYS_MAX


def test_keys_are_listed_for_their_own_account_only(directory: Directory, account: Account) -> None:
    stranger = directory.create_account("stranger")
    _, ours = directory.create_key(account.account_id, KeyTerms())
    directory.create_key(stranger.account_id, KeyTerms())

    assert directory.keys_of(account.account_id) == [ours]


def test_a_rotated_key_works_one_hour_longer(
    directory: Directory, account: Account, clock: ManualClock
) -> None:
    old_plain, old = directory.create_key(account.account_id, KeyTerms(team="search", scopes=("read",)))

    _, new = directory.rotate_key(account.account_id, old.key_id)

    ending = directory.key_by_plain(old_plain)
    assert ending is not None
    assert (new.team, new.scopes, new.replaces) == ("search", ("read",), old.key_id)
    assert ending.is_live(clock.now() + timedelta(seconds=3599))
    assert not ending.is_live(clock.now() + timedelta(seconds=3600))


def test_a_key_that_was_to_expire_has_a_successor_with_as_long_a_life(
    directory: Directory, account: Account, clock: ManualClock
) -> None:
    terms = KeyTerms(expires_at=clock.now() + timedelta(days=90))
    _, old = directory.create_key(account.account_id, terms)
    clock.advance(89.99 * 86400)

    _, new = directory.rotate_key(account.account_id, old.key_id)

    ending = directory.key_by_hash(old.key_hash)
    assert ending is not None
    assert new.expires_at == clock.now() + timedelta(days=90)
    assert ending.expires_at == terms.expires_at


def test_a_key_is_rotated_once_by_whoever_comes_first(
    store: DocumentStore, clock: ManualClock, directory: Directory, account: Account
) -> None:
    _, old = directory.create_key(account.account_id, KeyTerms())
    other = interrupted(store, clock, lambda: directory.rotate_key(account.account_id, old.key_id))

    with pytest.raises(Conflict):
        other.rotate_key(account.account_id, old.key_id)

    assert len(directory.keys_of(account.account_id)) == 2


def test_a_dead_key_cannot_be_rotated(directory: Directory, account: Account) -> None:
    _, record = directory.create_key(account.account_id, KeyTerms())
    directory.revoke_key(account.account_id, record.key_id)

    with pytest.raises(Conflict):
        directory.rotate_key(account.account_id, record.key_id)


def test_a_key_revoked_meanwhile_is_not_rotated(
    store: DocumentStore, clock: ManualClock, directory: Directory, account: Account
) -> None:
    _, record = directory.create_key(account.account_id, KeyTerms())
    other = interrupted(store, clock, lambda: directory.revoke_key(account.account_id, record.key_id))

    with pytest.raises(Conflict):
        other.rotate_key(account.account_id, record.key_id)


def test_revoking_a_key_ends_the_older_halves_of_its_rotations_too(
    directory: Directory, account: Account, clock: ManualClock
) -> None:
    _, first = directory.create_key(account.account_id, KeyTerms())
    _, second = directory.rotate_key(account.account_id, first.key_id)
    _, third = directory.rotate_key(account.account_id, second.key_id)

    directory.revoke_key(account.account_id, third.key_id)

    assert not any(each.is_live(clock.now()) for each in directory.keys_of(account.account_id))
    assert set(directory.changes().recent[-3:]) == {first.key_hash, second.key_hash, third.key_hash}


def test_revoking_the_old_half_of_a_rotation_leaves_the_successor(
    directory: Directory, account: Account, clock: ManualClock
) -> None:
    _, old = directory.create_key(account.account_id, KeyTerms())
    _, new = directory.rotate_key(account.account_id, old.key_id)

    directory.revoke_key(account.account_id, old.key_id)

    live = [each.key_id for each in directory.keys_of(account.account_id) if each.is_live(clock.now())]
    assert live == [new.key_id]


def test_revoking_twice_keeps_the_first_moment(
    directory: Directory, account: Account, clock: ManualClock
) -> None:
    _, record = directory.create_key(account.account_id, KeyTerms())
    first = directory.revoke_key(account.account_id, record.key_id)
    version = directory.changes().version
    clock.advance(60)

    again = directory.revoke_key(account.account_id, record.key_id)

    assert again.revoked_at == first.revoked_at
    assert directory.changes().version == version


def test_another_accounts_key_is_as_unknown_as_none(directory: Directory, account: Account) -> None:
    stranger = directory.create_account("stranger")
    _, record = directory.create_key(account.account_id, KeyTerms())

    for key_id in (record.key_id, "key_none"):
        with pytest.raises(NotFound) as refused:
            directory.revoke_key(stranger.account_id, key_id)
        assert str(refused.value) == "there is no such key"


def test_the_last_use_is_written_once_a_minute(
    store: DocumentStore, directory: Directory, account: Account, clock: ManualClock
) -> None:
    _, record = directory.create_key(account.account_id, KeyTerms())
    first = clock.now()
    other = Directory(store, clock, SECRET)

    directory.note_key_use(record.key_hash, first)
    directory.note_key_use(record.key_hash, first + timedelta(seconds=59))
    other.note_key_use(record.key_hash, first + timedelta(seconds=59))
    before = directory.key_by_hash(record.key_hash)
    other.note_key_use(record.key_hash, first + timedelta(seconds=120))
    after = directory.key_by_hash(record.key_hash)

    assert before is not None
    assert after is not None
    assert before.last_used_at == first
    assert after.last_used_at == first + timedelta(seconds=120)


def test_the_last_use_never_runs_backwards(
    store: DocumentStore, directory: Directory, account: Account, clock: ManualClock
) -> None:
    _, record = directory.create_key(account.account_id, KeyTerms())
    directory.note_key_use(record.key_hash, clock.now())

    Directory(store, clock, SECRET).note_key_use(record.key_hash, clock.now() - timedelta(hours=1))

    found = directory.key_by_hash(record.key_hash)
    assert found is not None
    assert found.last_used_at == clock.now()


def test_the_use_of_a_forgotten_key_is_forgotten(directory: Directory, clock: ManualClock) -> None:
    directory.note_key_use("0" * 64, clock.now())

    assert directory.key_by_hash("0" * 64) is None


def test_every_change_says_whom_it_touched(directory: Directory, account: Account) -> None:
    _, record = directory.create_key(account.account_id, KeyTerms())
    directory.set_status(account.account_id, "suspended")

    changes = directory.changes()

    assert changes.version == 3
    assert changes.recent == (account.account_id, record.key_hash, account.account_id)


def test_only_the_latest_changes_are_remembered(directory: Directory, account: Account) -> None:
    def touch(count: int) -> None:
        prepared = directory.edition_of_account(account.account_id, lambda each: each)
        directory.change(lambda: replace(prepared, touched=["someone"] * count))

    touch(CHANGES_KEPT_MAX - 1)
    full = directory.changes()
    touch(1)

    assert full.recent[0] == account.account_id
    assert len(directory.changes().recent) == CHANGES_KEPT_MAX
    assert account.account_id not in directory.changes().recent
    assert directory.changes().version == CHANGES_KEPT_MAX + 1


def test_changes_since_a_version_are_known_as_far_back_as_they_are_kept() -> None:
    changes = Changes(version=10, recent=("b", "c", "d"))

    assert changes.since(10) == ()
    assert changes.since(8) == ("c", "d")
    assert changes.since(7) == ("b", "c", "d")
    assert changes.since(6) is None
    assert changes.since(11) is None


def test_many_at_once_lose_no_change(store: DocumentStore, clock: ManualClock) -> None:
    directories = [Directory(store, clock, SECRET) for _ in range(2)]
    account = directories[0].create_account("busy")

    def create(number: int) -> str:
        return directories[number % 2].create_key(account.account_id, KeyTerms())[1].key_hash

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(create, range(12)))

    changes = directories[0].changes()
    assert {each.key_hash for each in directories[0].keys_of(account.account_id)} == set(made)
    assert changes.version == 13
    assert set(changes.recent[1:]) == set(made)


def test_a_change_that_never_gets_its_turn_says_so_and_does_nothing(
    store: DocumentStore, clock: ManualClock, directory: Directory, account: Account
) -> None:
    def interrupt() -> None:
        directory.set_status(account.account_id, "active")

    unlucky = interrupted(store, clock, *[interrupt] * 100)

    with pytest.raises(StoreUnavailable):
        unlucky.set_status(account.account_id, "suspended")

    after = directory.account(account.account_id)
    assert after is not None
    assert after.status == "active"
