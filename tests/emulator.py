"""What the emulator can tell about the queries that were asked of it."""

import json
from pathlib import Path
from typing import Any

import requests

from demo.emulator import QUESTION_SECONDS_MAX

INDEX_FILE = Path(__file__).resolve().parents[1] / "firestore.indexes.json"

Index = tuple[str, tuple[tuple[str, str], ...]]

# Queries by equality alone: Firestore joins the single-field indexes, and needs no composite one.
JOINED: frozenset[Index] = frozenset(
    {
        ("memberships", (("account_id", "ASCENDING"), ("person_id", "ASCENDING"))),
        ("leases", (("account_id", "ASCENDING"), ("state", "ASCENDING"))),
    },
)


def declared_indexes() -> set[Index]:
    """The composite indexes of firestore.indexes.json: the collection, and each field with its mode."""
    return {_index(found) for found in json.loads(INDEX_FILE.read_text())["indexes"]}


def undeclared_indexes(emulator: str, project: str) -> set[Index]:
    """The composite indexes that the project's queries needed and firestore.indexes.json lacks."""
    report = requests.get(
        f"http://{emulator}/emulator/v1/projects/{project}:indexUsage",
        params={"database": f"projects/{project}/databases/(default)"},
        timeout=QUESTION_SECONDS_MAX,
    )
    report.raise_for_status()
    used = {_used_index(found["index"]) for found in report.json().get("reports", [])}
    return {found for found in used if len(found[1]) > 1} - declared_indexes() - JOINED


def _used_index(found: dict[str, Any]) -> Index:
    # …/collectionGroups/<collection>/indexes/<id>
    return _index({**found, "collectionGroup": found["name"].split("/")[5]})


def _index(found: dict[str, Any]) -> Index:
    fields = [field for field in found["fields"] if field["fieldPath"] != "__name__"]
    modes = tuple((field["fieldPath"], field.get("order") or field["arrayConfig"]) for field in fields)
    return found["collectionGroup"], modes
