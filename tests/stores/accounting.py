"""What a store holds of an account's calls, added up by other means than the product's."""

from collections import Counter

from metering.collections import counts_collection, quarters_collection, segments_collection
from metering.events import CostEvent
from metering.rollups import KINDS_OF, Kind
from metering.segments import stored_events
from metering.stores import Document, DocumentStore, Query

STATES_OF_ERRORS = {"upstream_error", "upstream_truncated", "refused", "drained", "lost"}


def all_documents(store: DocumentStore, collection: str) -> list[Document]:
    """Every document of the collection."""
    found = store.query(Query(collection=collection, limit=1000))
    assert len(found) < 1000, "more than this reads"
    return found


def all_events(store: DocumentStore, account_id: str) -> list[CostEvent]:
    """Every stored event, as often as it is stored."""
    segments = all_documents(store, segments_collection(account_id))
    return [event for segment in segments for event in stored_events(segment.fields)]


def rollup_totals(store: DocumentStore, account_id: str, *kinds: str) -> Counter[str]:
    """The sums of all cells of these kinds."""
    totals: Counter[str] = Counter()
    for shard in all_documents(store, quarters_collection(account_id)):
        for cell in shard.fields["cells"].values():
            if cell["of"][0] in kinds:
                totals.update({name: amount for name, amount in cell.items() if name != "of"})
    return totals


def event_totals(events: list[CostEvent]) -> Counter[str]:
    """What the rollups of these events must come to."""
    totals: Counter[str] = Counter()
    for event in events:
        totals["requests"] += 1
        totals["errors"] += event.status_code >= 400 or event.state in STATES_OF_ERRORS
        for name in ("input_tokens", "output_tokens", "cache_read_tokens", "reasoning_tokens"):
            totals[name] += getattr(event, name)
        totals["cost_nanodollars"] += event.cost_nanodollars
        totals["estimated_cost_nanodollars"] += event.cost_nanodollars * event.estimated
        totals["unpriced_requests"] += event.unpriced
        totals["saved_nanodollars"] += event.saved_nanodollars
        totals["cache_saved_nanodollars"] += event.saved_nanodollars * event.cache_hit
        totals["cache_hits"] += event.cache_hit
        totals["routed"] += event.routed
    return +totals


def counted_calls(store: DocumentStore, account_id: str) -> Counter[str]:
    """How many calls the instances' counts say are settled, and lost."""
    totals: Counter[str] = Counter()
    for count in all_documents(store, counts_collection(account_id)):
        if "instance" in count.fields:  # else a day's, of the same ones
            totals.update(settled=count.fields["settled"], lost=count.fields["lost"])
    return +totals


def assert_each_event_counted_once(store: DocumentStore, account_id: str, events: list[CostEvent]) -> None:
    """Each event is stored in one place, unchanged, and every kind of rollup sums to all of them."""
    stored = all_events(store, account_id)
    assert sorted(stored, key=lambda event: event.request_id) == sorted(
        events, key=lambda event: event.request_id
    )
    kinds: tuple[tuple[Kind, ...], ...] = (("main",), ("key",), KINDS_OF["template"])
    for each in kinds:
        assert rollup_totals(store, account_id, *each) == event_totals(events)
    one_by_one = [event for event in events if event.service_tier != "batch"]
    admitted = [event for event in one_by_one if event.state not in {"refused", "cache_hit"}]
    ends = Counter("lost" if event.state == "lost" else "settled" for event in admitted)
    assert counted_calls(store, account_id) == ends
