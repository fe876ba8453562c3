"""What each rule did, on both stores: from rollups, and to the nanodollar what the events say."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from metering import compaction
from metering.events import CostEvent
from metering.ids import new_instance_name
from metering.ledger import Ledger
from metering.rule_savings import hits_by_rule, routing_figures
from metering.segments import SegmentPacker
from metering.stores import DocumentStore
from tests.builders import ACCOUNT_ID, AT, make_event
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore

DAY = (AT.replace(hour=0, minute=0), AT + timedelta(hours=12))


def keep(store: DocumentStore, events: Sequence[CostEvent]) -> None:
    packer, ledger = SegmentPacker(new_instance_name()), Ledger(store)
    for event in events:
        packer.add(event, 0.0)
    for segment in packer.drain():
        ledger.commit(segment)


def routed(rule: str, saved: int, **changes: Any) -> CostEvent:
    turned = {"routed": True, "routing_rule": rule, "saved_nanodollars": saved, "model": "claude-haiku-4-5"}
    return make_event(**turned | changes)


EVENTS = [
    make_event(),
    make_event(state="refused", status_code=429, cost_nanodollars=0),
    make_event(state="refused", status_code=503, cost_nanodollars=0),
    routed("cheaper", 30_000_000),
    routed("cheaper", 20_000_000, model="claude-haiku-4-5-20251001", cost_nanodollars=1),
    routed("cheaper", 7, state="cache_hit", cache_hit=True, cost_nanodollars=0),
    routed("dearer", -5_000_000, model="claude-opus-4-6"),
]


def test_each_rule_is_told_by_itself_and_all_calls_beside_them(store: DocumentStore) -> None:
    keep(store, EVENTS)

    found = routing_figures(store, ACCOUNT_ID, *DAY)

    assert (found.sums["requests"], found.sums["routed"], found.sums["blocked"]) == (7, 4, 1)
    assert hits_by_rule(found.rules) == {"cheaper": 3, "dearer": 1}
    assert [rule.saved_nanodollars for rule in found.rules] == [50_000_000, -5_000_000]
    cheaper = found.rules[0]
    assert (cheaper.sums["cost_nanodollars"], cheaper.sums["cache_hits"]) == (10_000_001, 1)
    assert [(each.model, each.sums["requests"]) for each in cheaper.served_by] == [
        ("claude-haiku-4-5", 2),
        ("claude-haiku-4-5-20251001", 1),
    ]


def test_compaction_leaves_what_rules_did_as_it_was(store: DocumentStore) -> None:
    keep(store, EVENTS)
    before = routing_figures(store, ACCOUNT_ID, *DAY)

    compaction.run(store, ManualClock(AT + timedelta(hours=2)))

    counting = CountingStore(store)
    assert routing_figures(counting, ACCOUNT_ID, *DAY) == before
    assert counting.documents_read == 2  # no open shard, and one day


def test_where_no_rule_fired_nothing_is_told_of_any(store: DocumentStore) -> None:
    keep(store, EVENTS[:1])

    found = routing_figures(store, ACCOUNT_ID, *DAY)

    assert (found.sums["requests"], found.rules) == (1, ())
