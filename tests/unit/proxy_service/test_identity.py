import asyncio
from datetime import timedelta
from typing import Any

import pytest

from metering.accounts import LOCAL_ACCOUNT_ID
from metering.keys import KeyRecord, Scope, new_ingress_id, new_key
from proxy_service.headers import Inbound
from proxy_service.identity import (
    UNSEEN_CALLS_BURST,
    Credentials,
    Identified,
    Identity,
    credentials,
    refuse_misplaced_key,
    split_ingress,
)
from proxy_service.lookups import IN_VAIN_BURST
from proxy_service.policy import KeyUses, PolicyMemory
from proxy_service.refusals import RequestRefused
from proxy_service.tally import Tally
from tests.builders import ACCOUNT_ID, SECRET, make_key_record, make_policy
from tests.doubles.at_once import AtOnce
from tests.doubles.clock import ManualClock
from tests.doubles.directory import DirectoryDouble

PLAIN, INGRESS = new_key(), new_ingress_id()


class Desk:
    """An identity over a directory that holds one account and, as a test says, keys."""

    def __init__(self, *records: KeyRecord, is_hosted: bool = True) -> None:
        self.clock = ManualClock()
        self.tally = Tally()
        self.directory = DirectoryDouble()
        self.directory.put(make_policy(), *records)
        memory = PolicyMemory(self.directory, self.tally, look_up_threads=AtOnce(), poll_thread=AtOnce())
        uses = KeyUses(self.directory.note_key_use, self.clock, AtOnce())
        self._identity = Identity(memory, uses, self.clock, SECRET, self.tally, is_key_required=is_hosted)

    def identify(self, given: Credentials, scope: Scope = "proxy") -> Identified:
        return asyncio.run(self._identity.identify(given, scope))

    def refused(self, given: Credentials, scope: Scope = "proxy") -> RequestRefused:
        with pytest.raises(RequestRefused) as refused:
            self.identify(given, scope)
        return refused.value

    def refusal(self, given: Credentials, scope: Scope = "proxy") -> tuple[int, str]:
        refused = self.refused(given, scope)
        return refused.status, refused.code


def test_a_key_names_its_account_and_pins_what_it_pins() -> None:
    desk = Desk(make_key_record(PLAIN, team="search", app="web", deployment="eu"))

    who = desk.identify(Credentials(key=PLAIN))

    caller = who.caller
    assert (caller.account_id, caller.team, caller.app, caller.deployment) == (
        ACCOUNT_ID,
        "search",
        "web",
        "eu",
    )
    assert who.policy == make_policy()


def test_an_ingress_address_names_its_account() -> None:
    desk = Desk(make_key_record(INGRESS, kind="ingress"))

    assert desk.identify(Credentials(ingress_id=INGRESS)).caller.account_id == ACCOUNT_ID


def test_nobody_is_let_in_hosted_and_everybody_is_the_machines_own_account_self_hosted() -> None:
    assert Desk().refusal(Credentials()) == (401, "invalid_modeltrack_key")

    who = Desk(is_hosted=False).identify(Credentials())

    assert (who.caller.account_id, who.policy.account_id) == (LOCAL_ACCOUNT_ID, LOCAL_ACCOUNT_ID)


def test_an_unknown_key_is_nobody_self_hosted_too() -> None:
    assert Desk(is_hosted=False).refusal(Credentials(key=PLAIN))[0] == 401


@pytest.mark.parametrize(
    "changes", [{"revoked_at": ManualClock().now()}, {"expires_at": ManualClock().now()}], ids=str
)
def test_a_key_that_is_over_is_nobody(changes: dict[str, object]) -> None:
    assert Desk(make_key_record(PLAIN, **changes)).refusal(Credentials(key=PLAIN))[0] == 401


def test_a_key_works_up_to_the_moment_it_expires() -> None:
    desk = Desk(make_key_record(PLAIN, expires_at=ManualClock().now() + timedelta(seconds=10)))
    desk.identify(Credentials(key=PLAIN))

    desk.clock.advance(10)

    assert desk.refusal(Credentials(key=PLAIN))[0] == 401


def test_a_key_without_the_scope_is_known_and_refused() -> None:
    desk = Desk(make_key_record(PLAIN, scopes=("stats",)))

    assert desk.refusal(Credentials(key=PLAIN)) == (403, "wrong_scope")
    assert desk.identify(Credentials(key=PLAIN), "stats").caller.account_id == ACCOUNT_ID


def test_a_suspended_account_is_refused() -> None:
    desk = Desk(make_key_record(PLAIN))
    desk.directory.put(make_policy(status="suspended"))

    assert desk.refusal(Credentials(key=PLAIN)) == (403, "account_suspended")


@pytest.mark.parametrize(
    ("record", "policy", "code"),
    [
        ({}, {"status": "suspended"}, "account_suspended"),
        ({"scopes": ("stats",)}, {}, "wrong_scope"),
        ({"revoked_at": ManualClock().now()}, {}, "invalid_modeltrack_key"),
        ({"account_id": "acct_" + "f" * 32}, {}, "invalid_modeltrack_key"),
        ({"kind": "ingress", "addresses": ("203.0.113.0/24",)}, {}, "wrong_address"),
    ],
    ids=str,
)
def test_a_refusal_knows_whose_key_it_was_and_tells_the_caller_nothing_of_it(
    record: dict[str, Any], policy: dict[str, Any], code: str
) -> None:
    plain = INGRESS if record.get("kind") == "ingress" else PLAIN
    known = make_key_record(plain, **record)
    desk = Desk(known)
    desk.directory.put(make_policy(**policy))

    refused = desk.refused(Credentials(**{"ingress_id" if plain == INGRESS else "key": plain}))

    assert refused.caller is not None
    assert (refused.code, refused.caller.account_id, refused.caller.key_id) == (
        code,
        known.account_id,
        known.key_id,
    )
    assert known.key_id not in refused.message
    assert known.account_id not in refused.message


def test_a_refusal_of_a_key_that_nobody_has_knows_no_caller() -> None:
    assert Desk().refused(Credentials(key=PLAIN)).caller is None


def test_a_key_of_an_account_that_is_no_more_is_nobody() -> None:
    desk = Desk(make_key_record(PLAIN, account_id="acct_" + "f" * 32))

    assert desk.refusal(Credentials(key=PLAIN))[0] == 401


def test_key_and_address_must_name_one_account_and_the_keys_pins_count() -> None:
    key, address = make_key_record(PLAIN, team="key"), make_key_record(INGRESS, kind="ingress", team="way")
    both = Credentials(key=PLAIN, ingress_id=INGRESS)

    assert Desk(key, address).identify(both).caller.team == "key"
    other = make_key_record(INGRESS, kind="ingress", account_id="acct_" + "f" * 32)
    assert Desk(key, other).refusal(both) == (400, "two_accounts")


@pytest.mark.parametrize(
    ("address", "is_let_in"),
    [
        ("203.0.113.0", True),
        ("203.0.113.255", True),
        ("203.0.114.0", False),
        ("::ffff:203.0.113.7", True),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("nonsense", False),
        ("", False),
    ],
)
def test_an_ingress_address_lets_in_its_own_networks(address: str, is_let_in: bool) -> None:
    networks = ("203.0.113.0/24", "2001:db8::/32")
    desk = Desk(make_key_record(INGRESS, kind="ingress", addresses=networks))
    given = Credentials(ingress_id=INGRESS, address=address)

    if is_let_in:
        assert desk.identify(given).caller.account_id == ACCOUNT_ID
    else:
        assert desk.refusal(given) == (403, "wrong_address")


def test_a_flood_of_made_up_keys_keeps_no_key_of_another_address_out() -> None:
    desk = Desk(make_key_record(PLAIN))
    flood = [Credentials(key=new_key(), address="203.0.113.7") for _ in range(int(IN_VAIN_BURST) + 1)]

    refusals = [desk.refusal(given) for given in flood]

    assert set(refusals[:-1]) == {(401, "invalid_modeltrack_key")}
    assert refusals[-1] == (503, "key_not_verified")
    assert desk.identify(Credentials(key=PLAIN, address="198.51.100.1")).caller.account_id == ACCOUNT_ID


def test_the_machines_own_account_can_be_suspended_too() -> None:
    desk = Desk(is_hosted=False)
    desk.directory.put(make_policy(account_id=LOCAL_ACCOUNT_ID, status="suspended"))

    assert desk.refusal(Credentials()) == (403, "account_suspended")


def test_while_the_store_is_silent_a_known_key_goes_on() -> None:
    desk = Desk(make_key_record(PLAIN))
    desk.identify(Credentials(key=PLAIN))

    desk.directory.is_down = True

    assert desk.identify(Credentials(key=PLAIN)).caller.account_id == ACCOUNT_ID


def test_while_the_store_is_silent_an_unseen_key_is_served_unattributed_up_to_a_rate() -> None:
    desk = Desk()
    desk.directory.is_down = True
    given = Credentials(key=PLAIN)

    served = [desk.identify(given) for _ in range(int(UNSEEN_CALLS_BURST))]

    assert {who.caller.account_id for who in served} == {""}
    assert {who.unseen_key_hash for who in served} == {make_key_record(PLAIN).key_hash}
    assert desk.refusal(given) == (503, "key_not_verified")
    assert desk.tally.unseen_keys_served == UNSEEN_CALLS_BURST


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"revoked_at": ManualClock().now()}, 401), ({"scopes": ("stats",)}, 403)],
    ids=str,
)
def test_while_the_store_is_silent_no_made_up_address_lets_a_refused_key_in(
    changes: dict[str, object], status: int
) -> None:
    desk = Desk(make_key_record(PLAIN, **changes))
    desk.refusal(Credentials(key=PLAIN))
    desk.directory.is_down = True

    assert desk.refusal(Credentials(key=PLAIN, ingress_id=new_ingress_id()))[0] == status


def test_while_the_store_is_silent_a_known_key_beside_an_unseen_address_keeps_its_account() -> None:
    desk = Desk(make_key_record(PLAIN, team="search"))
    desk.identify(Credentials(key=PLAIN))
    desk.directory.is_down = True

    who = desk.identify(Credentials(key=PLAIN, ingress_id=INGRESS))

    assert (who.caller.account_id, who.caller.team, who.unseen_key_hash) == (ACCOUNT_ID, "search", "")
    assert desk.tally.unseen_keys_served == 1


def test_while_the_store_is_silent_keyless_calls_pass_self_hosted_and_not_hosted() -> None:
    local, hosted = Desk(is_hosted=False), Desk()
    local.directory.is_down = hosted.directory.is_down = True

    assert local.identify(Credentials()).caller.account_id == LOCAL_ACCOUNT_ID
    assert hosted.refusal(Credentials())[0] == 401


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mt_",
        PLAIN[:-1],
        PLAIN[:-1] + ("0" if PLAIN[-1] != "0" else "1"),
        PLAIN.upper(),
        PLAIN + " ",
        "sk-ant-api03-pasted",
        "' OR 1=1--",
        "x" * 100_000,
        "mt_\u00e9",
    ],
    ids=range(10),
)
def test_what_is_no_key_is_refused_without_asking_and_without_being_repeated(text: str) -> None:
    inbound = Inbound(outbound=[], ours={b"x-modeltrack-key": text.encode("latin-1", "replace")})

    with pytest.raises(RequestRefused) as refused:
        credentials(inbound, None, "127.0.0.1")

    assert refused.value.status == 401
    assert not text or text not in refused.value.message


@pytest.mark.parametrize("ingress_id", ["", "..", INGRESS[:-1], INGRESS + "0", PLAIN], ids=range(5))
def test_what_is_no_ingress_id_is_refused(ingress_id: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        credentials(Inbound(outbound=[], ours={}), ingress_id, "127.0.0.1")

    assert refused.value.status == 401


def test_two_keys_are_refused() -> None:
    with pytest.raises(RequestRefused) as refused:
        credentials(Inbound(outbound=[], ours={}, has_two_keys=True), None, "127.0.0.1")

    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("target", "split"),
    [
        (b"/v1/messages", (None, b"/v1/messages")),
        (b"/ws/abc/v1/messages?x=1", ("abc", b"/v1/messages?x=1")),
        (b"/ws/abc", ("abc", b"/")),
        (b"/ws/", ("", b"/")),
        (b"/wsx/abc/v1", (None, b"/wsx/abc/v1")),
    ],
)
def test_the_ingress_id_is_taken_off_the_path(target: bytes, split: tuple[str | None, bytes]) -> None:
    assert split_ingress(target) == split


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x-api-key", PLAIN.encode()),
        (b"Api-Key", PLAIN.encode()),
        (b"Authorization", b"Bearer " + PLAIN.encode()),
    ],
    ids=["anthropic", "azure", "bearer"],
)
def test_our_key_in_the_place_of_the_providers_is_refused_and_never_sent_to_it(
    name: bytes, value: bytes
) -> None:
    with pytest.raises(RequestRefused) as refused:
        refuse_misplaced_key([(b"accept", b"*/*"), (name, value)])

    assert (refused.value.status, refused.value.code) == (401, "modeltrack_key_misplaced")
    assert PLAIN not in refused.value.message


@pytest.mark.parametrize("value", [b"sk-ant-1", b"mt_1", b"Bearer mt_", PLAIN[:-1].encode(), b"", b"\xff"])
def test_what_is_no_key_of_ours_is_the_providers_to_judge(value: bytes) -> None:
    refuse_misplaced_key([(b"x-api-key", value), (b"authorization", value)])
