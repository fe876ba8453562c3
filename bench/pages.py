"""What the dashboard's pages take on the server with a million events: `python -m bench.pages`.

Events of sixty days are stored as the proxy stores them (`bench.statistics`), then every page is asked for by
the account's owner, for the last thirty days, through the real application, on SQLite in a temporary folder.
Printed: documents read, p50 and p95 of all requests but the first, before which nothing is remembered; of the
processor's time, which tells more on a busy machine, the first one's, and the others' median and p95; and the
page's bytes. Nothing passes or fails.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from flask.testing import FlaskClient

from api_service.app import create_app
from api_service.dashboard.navigation import PAGES, Page
from api_service.server import keep_for_good
from api_service.settings import ApiSettings
from bench.statistics import NOW, START, write
from demo.arguments import whole_number
from metering.directory import Directory
from metering.opening import open_store
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore
from tests.doubles.mailbox import Mailbox

EVENTS = 1_000_000
EVENTS_MAX = 100_000_000
REPEATS = 30
P95_MS = 100  # what a page may take; one that takes longer is marked
BETWEEN_PAGES_SECONDS = 60  # the service's own clock, so that it refuses nobody for asking too often

_SECRET = b"the secret of a bench, of thirty-two bytes"
_ORIGIN = "http://127.0.0.1:3001"


class Figures(NamedTuple):
    """What one page took."""

    documents: int
    p50_ms: float
    p95_ms: float
    first_cpu_ms: float
    cpu_ms: float
    p95_cpu_ms: float
    bytes: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.pages", description=__doc__)
    parser.add_argument("--events", type=whole_number(1, EVENTS_MAX), default=EVENTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        print(table(measured(Path(folder), options.events), options.events))


def measured(folder: Path, events: int) -> dict[str, Figures]:
    """The figures of every page, by its path, with so many events in the store."""
    store, clock = open_store(f"sqlite:///{folder}/bench.db"), ManualClock(START)
    account = Directory(store, clock, _SECRET).ensure_local_account()
    began = time.perf_counter()
    write(store, clock, account.account_id, events)
    print(f"{events:,} events stored in {time.perf_counter() - began:.0f} s")
    counting = CountingStore(store)
    app = create_app(
        ApiSettings(data_dir=folder, log_level="error"), counting, clock, _SECRET, mail=Mailbox()
    )
    keep_for_good()
    client = app.test_client()
    headers = _signed_up(client)
    named = _furnished(client, headers)
    made = [each for each in PAGES if f"dashboard.{each.name}_page" in app.view_functions]
    found = {}
    for each in made:
        clock.advance(BETWEEN_PAGES_SECONDS)
        found[each.path] = _asked(client, _address(each, named), counting)
    store.close()
    return found


def _signed_up(client: FlaskClient) -> dict[str, str]:
    """The first to sign up owns the machine's account: what their page sends with every write."""
    asked = {"email": "ada@example.com", "password": "correct horse battery", "account_name": "Bench"}
    answered = client.post("/v1/signup", json=asked)
    return {"X-CSRF-Token": answered.get_json()["csrf_token"], "Origin": _ORIGIN}


def _furnished(client: FlaskClient, headers: dict[str, str]) -> dict[str, str]:
    """Budgets and a rule, and the names of one of each that has a page of its own."""
    for team in range(1, 6):
        budget = {"name": f"Team {team}", "limit_usd": "5000", "scope": {"team": f"team {team}"}}
        _told(client.post("/v1/budgets", json=budget, headers=headers))
    rule = {"from_models": ["gpt-4o"], "provider": "openai", "threshold": 70, "to_model": "gpt-4o-mini"}
    made = _told(client.post("/v1/routing-rules", json={"name": "cheaper", **rule}, headers=headers))
    return {
        "budget_id": _told(client.get("/v1/budgets"))["data"][0]["id"],
        "rule_id": made["id"],
        "request_id": _told(client.get("/v1/events?limit=1"))["data"][0]["request_id"],
        "session_id": _told(client.get("/v1/sessions"))["data"][0]["session_id"],
        "period": f"{NOW:%Y-%m}",
    }


def _told(response: Any) -> dict[str, Any]:
    if response.status_code >= 300:
        raise RuntimeError(response.text)
    told: dict[str, Any] = response.get_json()
    return told


def _address(page: Page, named: dict[str, str]) -> str:
    address = page.path
    for name, value in named.items():
        address = address.replace(f"<{name}>", value)
    return f"{address}?session_id={named['session_id']}" if page.name == "session" else address


def _asked(client: FlaskClient, address: str, counting: CountingStore) -> Figures:
    taken, worked, documents, size = [], [], 0, 0
    for _ in range(1 + REPEATS):
        before, began, cpu_began = counting.documents_read, time.perf_counter(), time.process_time()
        response = client.get(address, headers={"Accept": "text/html"})
        taken.append((time.perf_counter() - began) * 1000)
        worked.append((time.process_time() - cpu_began) * 1000)
        documents, size = counting.documents_read - before, len(response.get_data())
        if response.status_code >= 400:
            raise RuntimeError(f"{address}: {response.status_code}")
    return Figures(
        documents,
        statistics.median(taken[1:]),
        _p95(taken[1:]),
        worked[0],
        statistics.median(worked[1:]),
        _p95(worked[1:]),
        size,
    )


def _p95(figures: list[float]) -> float:
    return statistics.quantiles(figures, n=20)[-1]


def table(measured: dict[str, Figures], events: int) -> str:
    """One line a page, those that take longest first."""
    lines = [
        f"{f'pages with {events:,} events':<34}  documents  p50 ms  p95 ms  CPU first  median  p95     bytes"
    ]
    for path, each in sorted(measured.items(), key=lambda item: -item[1].p95_ms):
        times = f"{each.p50_ms:>8.0f}{each.p95_ms:>8.0f}"
        times += f"{each.first_cpu_ms:>11.0f}{each.cpu_ms:>8.0f}{each.p95_cpu_ms:>5.0f}"
        mark = f"  over {P95_MS} ms" if each.p95_ms > P95_MS else ""
        lines.append(f"{path:<34}{each.documents:>11}{times}{each.bytes:>10,}{mark}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
