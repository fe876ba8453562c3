"""Each of the battery's global invariants is seen where it does not hold."""

import secrets
from pathlib import Path

import pytest

from metering.clock import SystemClock
from metering.conservation import count_writes
from metering.directory import all_accounts
from metering.keys import new_key
from metering.opening import open_store
from tests.builders import make_event
from tests.system.invariants import DIALLED, Watched, broken


@pytest.fixture
def stopped(tmp_path: Path) -> Watched:
    """A deployment of one account, without any process."""
    deployment = Watched(tmp_path, f"sqlite:///{tmp_path}/modeltrack.db")
    deployment.directory().create_account("One")
    return deployment


def test_of_a_deployment_that_is_well_there_is_nothing_to_say(stopped: Watched) -> None:
    (stopped.folder / DIALLED).write_text("looked-up 127.0.0.1\n")

    assert broken(stopped) == []


@pytest.mark.parametrize("line", ["dialled 127.0.0.1:9", "dialled 10.0.0.1:443", "looked-up home.invalid"])
def test_what_is_dialled_elsewhere_is_told(stopped: Watched, line: str) -> None:
    stopped.told.append({"ANTHROPIC_BASE_URL": "http://127.0.0.1:443", "DATA_DIR": ""})
    (stopped.folder / DIALLED).write_text(f"dialled 127.0.0.1:443\n{line}\n")

    assert broken(stopped) == [line]


@pytest.mark.parametrize("key", [new_key(), f"sk-test-{secrets.token_hex(16)}"])
def test_a_key_that_is_kept_is_told_and_not_repeated(stopped: Watched, key: str) -> None:
    (stopped.folder / "proxy-1.log").write_text(f"a line\nkey={key}\n")

    (told,) = broken(stopped)
    assert "a key in proxy-1.log" in told
    assert key not in told


def test_a_call_without_its_event_is_told(stopped: Watched) -> None:
    said = '{"event": "call", "state": "completed", "request_id": "req_1"}'
    (stopped.folder / "proxy-1.log").write_text(f"no JSON\n{said}\n")

    assert broken(stopped) == ["a call without its event, completed: req_1"]


def test_books_that_do_not_agree_are_told(stopped: Watched) -> None:
    store, now = open_store(stopped.store_url), SystemClock().now()
    (account,) = all_accounts(store)
    event = make_event(account_id=account.account_id, timestamp=now)
    store.commit(count_writes(account.account_id, "instance", [event], admitted=2, now=now))
    store.close()

    (told,) = broken(stopped)
    assert account.account_id in told
    assert "in_flight=1" in told
