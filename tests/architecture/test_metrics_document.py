"""docs/metrics.md lists every metric with its type and labels."""

import re
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from api_service.app import create_app
from api_service.exposition import exposition as api_exposition
from api_service.services import EXTENSION
from api_service.settings import ApiSettings
from metering.stores import DocumentStore
from proxy_service.exposition import Figures, ProcessState
from proxy_service.exposition import exposition as proxy_exposition
from proxy_service.tally import Tally
from tests.builders import SECRET, make_event
from tests.doubles.clock import ManualClock

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "metrics.md"
INFRA = ROOT / "infra"
METRIC = re.compile(r"^\| `(modeltrack_\w+)`(?: ‡)? \| (\w+) \| ([^|]+) \|", re.MULTILINE)

Metrics = dict[str, tuple[str, frozenset[str]]]  # name → type, labels


def documented(title: str) -> Metrics:
    section = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    assert section
    return {
        name: (kind, frozenset(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in METRIC.findall(section[1])
    }


def told(text: bytes) -> Metrics:
    """What a scraper gets: each metric's name, type and labels."""
    found: Metrics = {}
    for family in text_string_to_metric_families(text.decode()):
        labels = {name for sample in family.samples for name in sample.labels} - {"le"}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = (family.type, frozenset(labels))
    return {name: kind for name, kind in found.items() if not name.startswith("process_")}


def busy_tally() -> Tally:
    """A tally in which every label has a value."""
    tally = Tally()
    tally.count(make_event(provider="openai", unpriced=True))
    tally.refusals["budget_exceeded"] += 1
    return tally


def test_the_proxys_metrics_are_the_documented_ones() -> None:
    figures = Figures(
        since=datetime(2026, 11, 21, tzinfo=UTC),
        requests=0,
        tokens=0,
        cost_nanodollars=0,
        cache_hits=0,
        cache_misses=0,
        cache_entries=0,
        saved_nanodollars=0,
        tally=busy_tally(),
        state=ProcessState(store_errors={"commit": 1}),
    )

    assert told(proxy_exposition(figures)) == documented("Proxy")


def test_the_apis_metrics_are_the_documented_ones(sqlite_store: DocumentStore) -> None:
    app = create_app(ApiSettings(), sqlite_store, ManualClock(), SECRET)
    known = app.extensions[EXTENSION]
    known.jobs.note_done("recover", known.clock.now())
    app.test_client().get("/healthz")

    assert told(api_exposition(known)) == documented("API")


def test_alerts_and_dashboards_ask_for_metrics_that_are_told() -> None:
    asked = {
        name.removesuffix("_bucket")
        for file in (*INFRA.glob("*.tf"), *INFRA.glob("*.json"))
        for name in re.findall(r"modeltrack_[a-z_]+", file.read_text())
    }

    assert asked
    assert asked <= documented("Proxy").keys() | documented("API").keys()
