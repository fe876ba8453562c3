"""The emulator's projects that tests use, and what it can tell about the queries that were asked there."""

import json
import uuid
from pathlib import Path
from typing import Any

import requests

from demo.emulator import QUESTION_SECONDS_MAX

INDEX_FILE = Path(__file__).resolve().parents[1] / "firestore.indexes.json"

Index = tuple[str, tuple[tuple[str, str], ...]]

# Queries by equality alone: Firestore joins the single-field indexes, and needs no composite one
# (https://cloud.google.com/firestore/docs/query-data/index-overview, "index merging", read 2026-11-21).
JOINED: frozenset[Index] = frozenset(
    {
        ("memberships", (("account_id", "ASCENDING"), ("person_id", "ASCENDING"))),
        ("leases", (("account_id", "ASCENDING"), ("state", "ASCENDING"))),
    },
)

_projects: list[str] = []
_told: dict[str, set[Index]] = {}  # by project; whoever asks does so when its queries are over
_session = requests.Session()


def new_project() -> str:
    """A project that no other test uses: the emulator keeps projects apart.

    The index gate (`tests.index_gate`) judges what is queried there.
    """
    return judged(project_apart())


def judged(project: str) -> str:
    """The project, of which the index gate judges what is queried there."""
    _projects.append(project)
    return project


def project_apart() -> str:
    """A project whose queries are nobody's business, such as those of whoever is refused."""
    return f"demo-{uuid.uuid4().hex[:20]}"


def indexes_of_judged(emulator: str) -> set[Index]:
    """The composite indexes that the queries of all judged projects of this process needed."""
    for project in _projects:
        if project not in _told:
            used_indexes(emulator, project)
    return {index for project in _projects for index in _told[project]}


def declared_indexes(file: Path = INDEX_FILE) -> set[Index]:
    """The composite indexes of firestore.indexes.json: the collection, and each field with its mode."""
    return {_index(found) for found in json.loads(file.read_text())["indexes"]}


def declared_fields(file: Path = INDEX_FILE) -> set[tuple[str, str]]:
    """The collections' fields that have an index of their own."""
    overrides = json.loads(file.read_text())["fieldOverrides"]
    return {(found["collectionGroup"], found["fieldPath"]) for found in overrides if found["indexes"]}


def used_indexes(emulator: str, project: str) -> set[Index]:
    """The composite indexes that the project's queries needed. Of single fields the emulator is silent."""
    report = _session.get(
        f"http://{emulator}/emulator/v1/projects/{project}:indexUsage",
        params={"database": f"projects/{project}/databases/(default)"},
        timeout=QUESTION_SECONDS_MAX,
    )
    report.raise_for_status()
    used = {_used_index(found["index"]) for found in report.json().get("reports", [])}
    _told[project] = {found for found in used if len(found[1]) > 1}
    return _told[project]


def undeclared_indexes(emulator: str, project: str) -> set[Index]:
    """The composite indexes that the project's queries needed and firestore.indexes.json lacks."""
    return used_indexes(emulator, project) - declared_indexes() - JOINED


def _used_index(found: dict[str, Any]) -> Index:
    # …/collectionGroups/<collection>/indexes/<id>
    return _index({**found, "collectionGroup": found["name"].split("/")[5]})


def _index(found: dict[str, Any]) -> Index:
    fields = [field for field in found["fields"] if field["fieldPath"] != "__name__"]
    modes = tuple((field["fieldPath"], field.get("order") or field["arrayConfig"]) for field in fields)
    return found["collectionGroup"], modes
