"""No time tells whether an address is known: not that of a refused log-in, nor that of what comes after it.

Run with -s to see the figures.
"""

import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from api_service.afterwards import WAITING_MAX
from api_service.app import create_app
from api_service.logs import ApiLog
from api_service.passwords import Passwords
from api_service.services import EXTENSION
from api_service.settings import ApiSettings
from metering.clock import SystemClock
from metering.collections import audit_events_collection
from metering.opening import open_store
from metering.stores import Query
from tests.doubles.mailbox import Mailbox
from tests.services.api.conftest import PASSWORD, SECRET
from tests.services.api.logbook import Logbook
from tests.system.processes import eventually

TRIES = 200
PEOPLE = 20
# How often a known address may take longer than an unknown one. 0.5 tells nothing, and chance alone moves
# 200 tries of each by 0.03: four times that is no chance.
FAIR = (0.38, 0.62)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    store = open_store(f"sqlite:///{tmp_path}/modeltrack.db")
    clock = SystemClock()
    made = create_app(
        ApiSettings(data_dir=tmp_path),
        store,
        clock,
        SECRET,
        log=ApiLog(clock, "error", Logbook()),
        passwords=Passwords(memory_kib=64, passes=1),  # a slow hash would hide what there is to be seen
        mail=Mailbox(),
    )
    yield made
    made.extensions[EXTENSION].afterwards.close()
    store.close()


def seconds_of(app: Flask, number: int, path: str, sent: dict[str, str]) -> tuple[float, float]:
    """How long the request takes, and one that comes right after it."""
    afterwards = app.extensions[EXTENSION].afterwards
    eventually(
        lambda: afterwards.waiting < WAITING_MAX // 2, what="what was left to do"
    )  # else it is too busy
    client = app.test_client()
    client.environ_base["REMOTE_ADDR"] = f"10.0.{number // 250}.{number % 250}"
    began = time.perf_counter()
    status = client.post(path, json=sent).status_code
    between = time.perf_counter()
    client.get("/v1/sign-in-providers")
    ended = time.perf_counter()
    assert status in {401, 202}
    return between - began, ended - between


def share_longer(ours: list[float], theirs: list[float]) -> float:
    """How often one of ours is longer than one of theirs, of all pairs."""
    return sum(each > other for each in ours for other in theirs) / (len(ours) * len(theirs))


@pytest.mark.battery("A5")
@pytest.mark.parametrize("path", ["/v1/login", "/v1/password-reset"])
def test_a_known_address_takes_as_long_as_an_unknown_one(
    app: Flask, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client = app.test_client()
    for number in range(PEOPLE * 2):  # each is asked for by 5 mails in a quarter of an hour at most
        sent = {"email": f"p{number}@example.com", "password": PASSWORD, "account_name": "A"}
        assert client.post("/v1/signup", json=sent).status_code == 201
    account_id = client.get("/v1/account").get_json()["id"]
    taken: dict[str, list[tuple[float, float]]] = {"p": [], "q": []}
    for number in range(2 * TRIES):
        kind = "pq"[number % 2]
        sent = {"email": f"{kind}{number // 2 % (PEOPLE * 2)}@example.com"}
        sent |= {"password": "not the password"} if path == "/v1/login" else {}
        taken[kind].append(seconds_of(app, number, path, sent))

    figures = {}
    for what, place in (("itself", 0), ("the next request", 1)):
        known, unknown = ([each[place] for each in taken[kind]] for kind in "pq")
        figures[what] = share_longer(known, unknown)
        with capsys.disabled():
            sys.stdout.write(
                f"\n{path}, {what}: known {statistics.median(known) * 1000:.2f} ms, unknown"
                f" {statistics.median(unknown) * 1000:.2f} ms (medians of {TRIES}); longer when known in"
                f" {figures[what]:.0%} of pairs\n"
            )
    app.extensions[EXTENSION].afterwards.close()
    noted = app.extensions[EXTENSION].store.query(Query(collection=audit_events_collection(account_id)))
    assert any(each.fields["actor"] == "nobody" for each in noted)
    assert all(FAIR[0] < each < FAIR[1] for each in figures.values()), figures
