"""Who may call, and under which policy: accounts, their keys, and the list of what changed.

One document, `changes/current`, is rewritten in the same commit as every change here, on the condition that
nobody else rewrote it since it was read. So changes never interleave (what a change read is still true when
it commits), whichever process makes them, and each instance of the proxy learns of all of them by one read.
"""

import ipaddress
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

import msgspec

from metering.accounts import (
    LOCAL_ACCOUNT_ID,
    Account,
    AccountSettings,
    AccountStatus,
    Policy,
    compiled_policy,
    settings_under,
)
from metering.budgets import Budget
from metering.clock import Clock
from metering.collections import ACCOUNTS, CHANGES_PATH, KEYS, account_path, key_path, policy_path
from metering.errors import (
    AlreadyExists,
    Conflict,
    DocumentMissing,
    InvalidInput,
    NotFound,
    RevisionChanged,
    StoreUnavailable,
)
from metering.ids import new_id
from metering.keys import (
    LAST_USE_RESOLUTION_SECONDS,
    ROTATION_OVERLAP_SECONDS,
    SCOPES,
    KeyKind,
    KeyRecord,
    Scope,
    key_hash,
    new_ingress_id,
    new_key,
)
from metering.plans import SELF_HOSTED, all_plans, plan_named
from metering.routing import RoutingRule
from metering.stores import (
    STORE_TIMEOUT_SECONDS,
    Create,
    Delete,
    Document,
    DocumentStore,
    Put,
    Query,
    Update,
    Write,
)
from metering.tags import normalised_tag

CHANGES_KEPT_MAX = 200
CHANGE_ATTEMPTS_MAX = 12
CHANGE_PAUSE_SECONDS_MAX = 0.5
LIVE_KEYS_MAX = 100  # an account's keys that may be used
KEPT_KEYS_MAX = 200  # an account's keys altogether; beyond, the oldest dead ones are forgotten
KEY_ADDRESSES_MAX = 20
NOTED_USES_MAX = 10_000  # keys whose last use one process remembers
HINT_CHARACTERS = 4
ACCOUNTS_MAX = 1_000_000
ACCOUNTS_A_READ = 100

T = TypeVar("T")


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What changed lately: account ids and key hashes, oldest first; each counts one version.

    The last of `recent` made `version`.
    """

    version: int = 0
    recent: tuple[str, ...] = ()

    def since(self, version: int) -> tuple[str, ...] | None:
        """What changed after that version; None where that is not known: forget everything then."""
        missed = self.version - version
        if not 0 <= missed <= len(self.recent):
            return None
        return self.recent[len(self.recent) - missed :]


@dataclass(frozen=True)
class Change(Generic[T]):
    """A change ready to be committed: its writes, whom it touches (see `Changes`), and what it gives back."""

    writes: Sequence[Write]
    touched: Sequence[str]
    outcome: T


# What else a change demands: it may refuse by raising, and gives writes that demand what it has read.
Demands = Callable[[], Sequence[Write]]


def nothing_more() -> Sequence[Write]:
    """Demands nothing."""
    return ()


class KeyTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What a new key is to be: see `metering.keys.KeyRecord`."""

    kind: KeyKind = "header"
    name: str = ""
    scopes: tuple[Scope, ...] = ("proxy",)
    team: str = ""
    app: str = ""
    deployment: str = "default"
    addresses: tuple[str, ...] = ()
    expires_at: datetime | None = None


class Directory:
    """Accounts, keys and policies in a store. Safe to share between threads, and with other processes.

    Every method raises StoreUnavailable when the store gives no answer in time; a change may then have
    happened or not. Every changing method raises it too when others kept changing things for longer than
    it was willing to try; then nothing happened.
    """

    def __init__(
        self,
        store: DocumentStore,
        clock: Clock,
        secret: bytes,
        *,
        plan_of_new: str = SELF_HOSTED,
        timeout_seconds: float = STORE_TIMEOUT_SECONDS,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._clock = clock
        self._secret = secret
        self._plan_of_new = plan_of_new
        self._timeout_seconds = timeout_seconds
        self._pause = pause
        self._noted: OrderedDict[str, datetime] = OrderedDict()
        self._noted_lock = threading.Lock()

    def changes(self) -> Changes:
        """What changed lately."""
        return _changes_from(self._get(CHANGES_PATH))

    def change(self, prepare: Callable[[], Change[T]]) -> T:
        """Commit what `prepare` makes, together with the word that it happened; gives its outcome.

        `prepare` reads what it needs and may refuse by raising. It runs again whenever somebody else's
        change came between, so it must not keep anything from an earlier run.
        """
        for attempt in range(CHANGE_ATTEMPTS_MAX):
            current = self._get(CHANGES_PATH)
            prepared = prepare()
            if not prepared.writes:
                return prepared.outcome
            writes = [*prepared.writes, _recorded(current, prepared.touched)]
            try:
                self._store.commit(writes, timeout_seconds=self._timeout_seconds)
            except (RevisionChanged, AlreadyExists, DocumentMissing):
                # Nothing was applied: somebody was faster. The next run reads what they did.
                self._pause(_pause_seconds(attempt))
            else:
                return prepared.outcome
        raise StoreUnavailable("others kept changing accounts or keys; nothing was changed")

    # Accounts

    def create_account(self, name: str) -> Account:
        """Make an account with the given name."""
        return self.change(lambda: self.creation_of_account(name))

    def creation_of_account(self, name: str, account_id: str | None = None) -> Change[Account]:
        """The making of an account, for `change` to commit, alone or with what belongs to it."""
        account = Account(
            account_id=account_id or new_id("acct"),
            name=normalised_tag(name),
            created_at=self._clock.now(),
            plan=self._plan_of_new,
            settings=settings_under(plan_named(self._plan_of_new), AccountSettings()),
        )
        writes = [
            Create(account_path(account.account_id), _account_fields(account)),
            Create(policy_path(account.account_id), _policy_fields(compiled_policy(account))),
        ]
        return Change(writes, [account.account_id], account)

    def ensure_local_account(self) -> Account:
        """The account of this self-hosted machine, made when it is not there yet."""

        def prepare() -> Change[Account]:
            existing = self.account(LOCAL_ACCOUNT_ID)
            if existing is not None:
                return Change([], [], existing)
            return self.creation_of_account("local", LOCAL_ACCOUNT_ID)

        return self.account(LOCAL_ACCOUNT_ID) or self.change(prepare)

    def account(self, account_id: str) -> Account | None:
        """The account, or None."""
        document = self._get(account_path(account_id))
        return None if document is None else account_from(document)

    def open_account(self, account_id: str) -> Account:
        """The account, to be changed. Raises: NotFound, Conflict (it was closed, for good)."""
        found = self.account(account_id)
        if found is None:
            raise NotFound("there is no such account")
        if found.closed_at is not None:
            raise Conflict("this account was closed and is being erased; there is no way back")
        return found

    def policy(self, account_id: str) -> Policy | None:
        """What a proxy needs to know of the account, or None where there is no such account."""
        document = self._get(policy_path(account_id))
        return None if document is None else policy_from(document)

    def change_account(
        self, account_id: str, edit: Callable[[Account], Account], demanding: Demands = nothing_more
    ) -> Account:
        """Replace the account by what `edit` makes of it as it now is; its policy follows in the same commit.

        Raises: NotFound, and whatever `edit` and `demanding` raise to refuse.
        """
        return self.change(_also(demanding, lambda: self.edition_of_account(account_id, edit)))

    def edition_of_account(self, account_id: str, edit: Callable[[Account], Account]) -> Change[Account]:
        """The change that `change_account` makes, for `change` to commit with what belongs to it."""
        before = self.open_account(account_id)
        after = edit(before)
        writes: list[Write] = [
            Put(account_path(account_id), _account_fields(after)),
            Update(policy_path(account_id), _fields_of_account(compiled_policy(after))),
        ]
        return Change(writes, [account_id], after)

    def edition_of_policy(self, account_id: str, edit: Callable[[Policy], Policy]) -> Change[Policy]:
        """The change that gives the account the budgets and routing rules of what `edit` makes of its policy.

        They are kept in the policy itself, so that there is nothing for a proxy's view to differ from.
        Raises: NotFound, and whatever `edit` raises to refuse.
        """
        before = self.policy(account_id)
        if before is None:
            raise NotFound("there is no such account")
        self.open_account(account_id)
        after = edit(before)
        if after == before:
            return Change([], [], after)
        return Change([Update(policy_path(account_id), _fields_of_rules(after))], [account_id], after)

    def change_settings(self, account_id: str, settings: AccountSettings) -> Account:
        """Give the account these settings. Raises: NotFound."""
        return self.change_account(
            account_id, lambda account: msgspec.structs.replace(account, settings=settings)
        )

    def set_status(self, account_id: str, status: AccountStatus) -> Account:
        """Suspend the account, or make it active again. Raises: NotFound."""
        return self.change_account(
            account_id, lambda account: msgspec.structs.replace(account, status=status)
        )

    def set_plan(self, account_id: str, name: str) -> Account:
        """Give the account that plan, and settings within it. Raises: InvalidInput, NotFound."""
        if name not in all_plans():
            raise InvalidInput(f"give one of {', '.join(all_plans())}", "plan")

        return self.change_account(account_id, lambda account: with_plan(account, name))

    # Keys

    def create_key(
        self, account_id: str, terms: KeyTerms, demanding: Demands = nothing_more
    ) -> tuple[str, KeyRecord]:
        """Make a key: its plain text, which is never to be had again, and its record.

        Raises: InvalidInput, NotFound (no such account), Conflict (too many live keys, or the account was
        closed), and what `demanding` raises to refuse.
        """
        checked = self._checked(terms)

        def prepare() -> Change[tuple[str, KeyRecord]]:
            self.open_account(account_id)
            return self._creation_of_key(account_id, checked, replaces="")

        return self.change(_also(demanding, prepare))

    def key_by_hash(self, hashed: str) -> KeyRecord | None:
        """The record of the key with that hash, live or not; None where none is known."""
        document = self._get(key_path(hashed))
        return None if document is None else key_from(document)

    def key_by_plain(self, plain: str) -> KeyRecord | None:
        """The record of the key with that plain text, live or not; None where none is known."""
        return self.key_by_hash(key_hash(plain, self._secret))

    def keys_of(self, account_id: str) -> list[KeyRecord]:
        """The account's keys, live and dead, newest first."""
        found = self._store.query(
            Query(collection=KEYS, equal={"account_id": account_id}, limit=KEPT_KEYS_MAX),
            timeout_seconds=self._timeout_seconds,
        )
        return sorted((key_from(each) for each in found), key=_age_order, reverse=True)

    def rotate_key(
        self, account_id: str, key_id: str, demanding: Demands = nothing_more
    ) -> tuple[str, KeyRecord]:
        """Make a successor on the same terms: its plain text and record. The old key works one hour longer.

        A key that was to expire has a successor that lives as long as the old one was meant to.
        Raises: NotFound, Conflict (the key is dead or has a successor already; too many live keys).
        """

        def prepare() -> Change[tuple[str, KeyRecord]]:
            now = self._clock.now()
            self.open_account(account_id)
            keys = self.keys_of(account_id)
            old = _key_among(keys, key_id)
            if not old.is_live(now):
                raise Conflict("this key has expired or was revoked; create a new one")
            if any(each.replaces == key_id for each in keys):
                raise Conflict("this key was rotated already; rotate its successor")
            made = self._creation_of_key(account_id, terms_of_successor(old, now), replaces=key_id)
            overlap_ends_at = now + timedelta(seconds=ROTATION_OVERLAP_SECONDS)
            ends_at = min(old.expires_at or overlap_ends_at, overlap_ends_at)
            ending = Update(key_path(old.key_hash), {"expires_at": ends_at})
            return replace(made, writes=[*made.writes, ending], touched=[*made.touched, old.key_hash])

        return self.change(_also(demanding, prepare))

    def revoke_key(self, account_id: str, key_id: str, demanding: Demands = nothing_more) -> KeyRecord:
        """End a key now, and with it every older key that it replaced and that still works.

        Revoking the old half of a rotation ends its overlap and leaves the successor alive. Revoking twice
        changes nothing. Raises: NotFound.
        """

        def prepare() -> Change[KeyRecord]:
            now = self._clock.now()
            keys = self.keys_of(account_id)
            key = _key_among(keys, key_id)
            ending = [each for each in _with_predecessors(keys, key) if each.revoked_at is None]
            writes = [Update(key_path(each.key_hash), {"revoked_at": now}) for each in ending]
            revoked = msgspec.structs.replace(key, revoked_at=key.revoked_at or now)
            return Change(writes, [each.key_hash for each in ending], revoked)

        return self.change(_also(demanding, prepare))

    def note_key_use(self, hashed: str, at: datetime) -> None:
        """Remember that the key was used then; written at most once a minute, and never backwards."""
        if not self._is_due(hashed, at):
            return
        record = self.key_by_hash(hashed)
        if record is None or not _is_minute_apart(record.last_used_at, at):
            return
        try:
            self._store.commit(
                [Update(key_path(hashed), {"last_used_at": at})], timeout_seconds=self._timeout_seconds
            )
        except DocumentMissing:
            return  # forgotten meanwhile

    def _is_due(self, hashed: str, at: datetime) -> bool:
        with self._noted_lock:
            if not _is_minute_apart(self._noted.get(hashed), at):
                return False
            self._noted[hashed] = at
            self._noted.move_to_end(hashed)
            if len(self._noted) > NOTED_USES_MAX:
                self._noted.popitem(last=False)
            return True

    def _creation_of_key(
        self, account_id: str, terms: KeyTerms, *, replaces: str
    ) -> Change[tuple[str, KeyRecord]]:
        now = self._clock.now()
        keys = self.keys_of(account_id)
        if sum(each.is_live(now) for each in keys) >= LIVE_KEYS_MAX:
            raise Conflict(f"an account has at most {LIVE_KEYS_MAX} keys; revoke one first")
        plain = new_key() if terms.kind == "header" else new_ingress_id()
        record = KeyRecord(
            key_id=new_id("key"),
            key_hash=key_hash(plain, self._secret),
            account_id=account_id,
            hint=plain[-HINT_CHARACTERS:],
            created_at=now,
            replaces=replaces,
            **{name: getattr(terms, name) for name in KeyTerms.__struct_fields__},
        )
        dead = [each for each in keys if not each.is_live(now)]
        forgotten = dead[max(0, KEPT_KEYS_MAX - 1 - (len(keys) - len(dead))) :]
        writes: list[Write] = [Create(key_path(record.key_hash), _key_fields(record))]
        writes += [Delete(key_path(each.key_hash)) for each in forgotten]
        return Change(writes, [record.key_hash], (plain, record))

    def _checked(self, terms: KeyTerms) -> KeyTerms:
        if not terms.scopes or not set(terms.scopes) <= set(SCOPES):
            raise InvalidInput(f"give one or more of the scopes {', '.join(SCOPES)}", "scopes")
        if terms.kind == "ingress" and terms.scopes != ("proxy",):
            raise InvalidInput("an ingress id has the scope proxy and no other", "scopes")
        if terms.kind == "header" and terms.addresses:
            raise InvalidInput("only an ingress id is limited to addresses", "addresses")
        if terms.expires_at is not None and terms.expires_at <= self._clock.now():
            raise InvalidInput("give a moment in the future", "expires_at")
        return msgspec.structs.replace(
            terms,
            name=normalised_tag(terms.name),
            scopes=tuple(scope for scope in SCOPES if scope in terms.scopes),
            team=normalised_tag(terms.team),
            app=normalised_tag(terms.app),
            deployment=normalised_tag(terms.deployment) or "default",
            addresses=_networks(terms.addresses),
        )

    def _get(self, path: str) -> Document | None:
        return self._store.get(path, timeout_seconds=self._timeout_seconds)


def _also(demanding: Demands, prepare: Callable[[], Change[T]]) -> Callable[[], Change[T]]:
    """Prepares the change together with what is demanded for it."""

    def prepare_both() -> Change[T]:
        demanded = demanding()
        made = prepare()
        return replace(made, writes=[*made.writes, *demanded]) if made.writes else made

    return prepare_both


def with_plan(account: Account, name: str) -> Account:
    """The account with that plan, and settings within it."""
    settings = settings_under(plan_named(name), account.settings, plan_named(account.plan))
    return msgspec.structs.replace(account, plan=name, settings=settings)


def all_accounts(store: DocumentStore) -> Iterator[Account]:
    """Every account there is, in no order that means anything. A store failure passes to the caller."""
    after: tuple[str, str] | None = None
    for _ in range(0, ACCOUNTS_MAX, ACCOUNTS_A_READ):
        found = store.query(Query(collection=ACCOUNTS, after=after, limit=ACCOUNTS_A_READ))
        yield from (account_from(document) for document in found)
        if len(found) < ACCOUNTS_A_READ:
            return
        after = ("", found[-1].document_id)


def account_from(document: Document) -> Account:
    """The account that a document of `accounts` holds."""
    return msgspec.convert(_with_settings(document.fields), Account)


def policy_from(document: Document) -> Policy:
    """The policy that a document of `policies` holds."""
    fields = document.fields
    rules = {
        "budgets": msgspec.json.decode(fields.get("budgets", "[]"), type=tuple[Budget, ...]),
        "routing_rules": msgspec.json.decode(fields.get("routing_rules", "[]"), type=tuple[RoutingRule, ...]),
    }
    return msgspec.convert(_with_settings(fields) | rules, Policy)


def key_from(document: Document) -> KeyRecord:
    """The record that a document of `keys` holds."""
    return msgspec.convert(document.fields, KeyRecord)


def terms_of(record: KeyRecord) -> KeyTerms:
    """On which terms the key was made."""
    return KeyTerms(**{name: getattr(record, name) for name in KeyTerms.__struct_fields__})


def terms_of_successor(old: KeyRecord, now: datetime) -> KeyTerms:
    """On which terms a rotation at that moment makes the key's successor."""
    lifetime = None if old.expires_at is None else old.expires_at - old.created_at
    return msgspec.structs.replace(terms_of(old), expires_at=None if lifetime is None else now + lifetime)


def _with_settings(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "settings": msgspec.json.decode(fields["settings"], type=AccountSettings)}


def _account_fields(account: Account) -> dict[str, Any]:
    # The settings are one text: deployment names are the tenant's words and never become names of fields.
    return {
        "account_id": account.account_id,
        "name": account.name,
        "created_at": account.created_at,
        "status": account.status,
        "plan": account.plan,
        "second_factor_required_at": account.second_factor_required_at,
        "closed_at": account.closed_at,
        "settings": msgspec.json.encode(account.settings).decode(),
    }


def _policy_fields(policy: Policy) -> dict[str, Any]:
    return {"account_id": policy.account_id, **_fields_of_account(policy), **_fields_of_rules(policy)}


def _fields_of_account(policy: Policy) -> dict[str, Any]:
    return {"status": policy.status, "settings": msgspec.json.encode(policy.settings).decode()}


def _fields_of_rules(policy: Policy) -> dict[str, Any]:
    return {
        "budgets": msgspec.json.encode(policy.budgets).decode(),
        "routing_rules": msgspec.json.encode(policy.routing_rules).decode(),
    }


def _key_fields(record: KeyRecord) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(record, builtin_types=(datetime,))
    return fields


def _changes_from(document: Document | None) -> Changes:
    return Changes() if document is None else msgspec.convert(document.fields, Changes)


def _recorded(current: Document | None, touched: Sequence[str]) -> Write:
    before = _changes_from(current)
    fields = {
        "version": before.version + len(touched),
        "recent": [*before.recent, *touched][-CHANGES_KEPT_MAX:],
    }
    if current is None:
        return Create(CHANGES_PATH, fields)
    return Put(CHANGES_PATH, fields, if_revision=current.revision)


def _pause_seconds(attempt: int) -> float:
    return secrets.SystemRandom().uniform(0, min(CHANGE_PAUSE_SECONDS_MAX, 0.01 * 2**attempt))


def _age_order(record: KeyRecord) -> tuple[datetime, str]:
    return (record.created_at, record.key_id)


def _key_among(keys: Sequence[KeyRecord], key_id: str) -> KeyRecord:
    for each in keys:
        if each.key_id == key_id:
            return each
    raise NotFound("there is no such key")


def _with_predecessors(keys: Sequence[KeyRecord], key: KeyRecord) -> list[KeyRecord]:
    by_id = {each.key_id: each for each in keys}
    chain = [key]
    while (older := by_id.pop(chain[-1].replaces, None)) is not None:
        chain.append(older)
    return chain


def _is_minute_apart(earlier: datetime | None, later: datetime) -> bool:
    return earlier is None or later - earlier >= timedelta(seconds=LAST_USE_RESOLUTION_SECONDS)


def _networks(addresses: Sequence[str]) -> tuple[str, ...]:
    if len(addresses) > KEY_ADDRESSES_MAX:
        raise InvalidInput(f"give at most {KEY_ADDRESSES_MAX} networks", "addresses")
    try:
        return tuple(str(ipaddress.ip_network(each)) for each in addresses)
    except ValueError as error:
        raise InvalidInput("give networks in CIDR form, for example 203.0.113.0/24", "addresses") from error
