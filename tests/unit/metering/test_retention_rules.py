"""The one table of retention: complete, told as it is, and kept by whoever deletes."""

from collections import Counter
from datetime import timedelta
from pathlib import Path

from metering.accounts import EVENTS_KEPT_DAYS_DEFAULT
from metering.collections import INDEXED_FIELDS, TTL_FIELDS
from metering.compaction import SHARDS_KEPT
from metering.retention import RetentionReport
from metering.retention_rules import ERASED_WITHIN, EVENTS_STORED_MIN, RULES
from metering.segments import EVENTS_KEPT_MIN

DAY = timedelta(days=1)
PAGE = Path(__file__).parents[3] / "docs" / "retention.md"


def test_every_collection_stands_under_one_rule() -> None:
    named = Counter(collection for rule in RULES.values() for collection in rule.collections)

    assert set(named) == set(INDEXED_FIELDS)
    assert set(named.values()) == {1}


def test_the_page_says_what_the_table_does() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]

    assert rows[1:] == [f"| {rule.what} | {rule.until} |" for rule in RULES.values()]


def test_what_goes_by_a_moment_is_found_by_it_and_reported() -> None:
    for name, rule in RULES.items():
        if rule.moment:
            assert rule.kept is not None
            assert name in RetentionReport.__struct_fields__
            assert all(rule.moment in INDEXED_FIELDS[each] for each in rule.collections)


def test_firestore_itself_deletes_only_what_is_over_by_then() -> None:
    at_once = {
        collection: rule.moment
        for rule in RULES.values()
        for collection in rule.collections
        if rule.kept == timedelta(0) and rule.moment
    }

    assert at_once == TTL_FIELDS


def test_what_others_delete_is_kept_as_long_as_the_table_says() -> None:
    assert RULES["shards"].kept == SHARDS_KEPT
    assert EVENTS_STORED_MIN == EVENTS_KEPT_MIN
    assert EVENTS_KEPT_DAYS_DEFAULT == 400


def test_what_was_promised_is_kept() -> None:
    assert RULES["sessions"].kept == RULES["tokens"].kept == timedelta(0)
    assert RULES["audit_events"].kept == 90 * DAY
    assert RULES["erased_accounts"].kept == ERASED_WITHIN == 30 * DAY
