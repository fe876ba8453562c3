"""firestore.indexes.json against `metering.collections`: what is queried is indexed, and nothing else."""

import json
from typing import Any

import pytest

from metering.collections import INDEXED_FIELDS, TTL_FIELDS
from tests.emulator import INDEX_FILE, declared_indexes

ARRAYS = {"request_ids", "session_ids"}
ORDERED = [{"order": order, "queryScope": "COLLECTION"} for order in ("ASCENDING", "DESCENDING")]
CONTAINED = [{"arrayConfig": "CONTAINS", "queryScope": "COLLECTION"}]


def _overrides() -> dict[tuple[str, str], list[dict[str, Any]]]:
    return {
        (found["collectionGroup"], found["fieldPath"]): found["indexes"]
        for found in json.loads(INDEX_FILE.read_text())["fieldOverrides"]
    }


def test_every_field_is_exempt_but_those_that_queries_use() -> None:
    expected: dict[tuple[str, str], list[dict[str, str]]] = {
        (collection, "*"): [] for collection in INDEXED_FIELDS
    } | {
        (collection, field): CONTAINED if field in ARRAYS else ORDERED
        for collection, fields in INDEXED_FIELDS.items()
        for field in fields
    }

    assert _overrides() == expected


def test_a_composite_index_is_of_fields_that_queries_use() -> None:
    for collection, fields in declared_indexes():
        assert {name for name, _ in fields} <= set(INDEXED_FIELDS[collection])


@pytest.mark.battery("R3")
def test_firestore_itself_deletes_what_the_table_says_and_nothing_else() -> None:
    overrides = json.loads(INDEX_FILE.read_text())["fieldOverrides"]
    policies = [(each["collectionGroup"], each["fieldPath"]) for each in overrides if "ttl" in each]

    assert sorted(policies) == sorted(TTL_FIELDS.items())
    assert all(each.get("ttl", True) is True for each in overrides)


def test_there_are_no_more_field_configurations_than_a_database_takes() -> None:
    # https://cloud.google.com/firestore/docs/ttl, read 2026-11-21: 200 in older copies of the page, 500 now
    assert len(_overrides()) <= 200
