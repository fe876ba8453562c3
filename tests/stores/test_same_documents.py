"""Any sequence of commits leads to the same documents in both stores and in a plain dict."""

import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering import firestore, sqlite
from metering.errors import StoreError
from metering.stores import Create, DocumentStore, Query, Write
from tests.emulator import new_project, undeclared_indexes
from tests.stores.model import Documents, Outcome, applied
from tests.stores.strategies import SCALARS, commits

BOTH = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def both(
    emulator: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[DocumentStore, DocumentStore]]:
    """A store of each kind, to share between examples: each example has an account of its own."""
    folder: Path = tmp_path_factory.mktemp("both")
    project = new_project()
    with (
        closing(sqlite.open_store(folder / "modeltrack.db")) as embedded,
        closing(firestore.open_store(project, "(default)", emulator_address=emulator)) as hosted,
    ):
        yield embedded, hosted
    assert not undeclared_indexes(emulator, project)


def _below(collection: str, write: Write) -> Write:
    changed: Write = type(write)(
        f"{collection}/{write.path}", *(getattr(write, name) for name in write.__struct_fields__[1:])
    )
    return changed


def _outcome(store: DocumentStore, writes: list[Write]) -> Outcome:
    try:
        return [dict(result.values) for result in store.commit(writes)]
    except StoreError as refusal:
        return type(refusal)


@BOTH
@given(st.lists(commits(), min_size=1, max_size=5))
def test_any_commits_lead_to_the_same_documents(
    both: tuple[DocumentStore, DocumentStore], asked: list[list[Write]]
) -> None:
    collection = f"accounts/{uuid.uuid4().hex}/quarters"
    expected: Documents = {}

    for commit in asked:
        writes = [_below(collection, write) for write in commit]
        expected, outcome = applied(expected, writes)
        assert [_outcome(store, writes) for store in both] == [outcome, outcome]

        found = [store.query(Query(collection=collection)) for store in both]
        assert [_exact({each.path: each.fields for each in one}) for one in found] == [_exact(expected)] * 2


def _exact(value: Any) -> Any:
    """The value with its types, since True equals 1."""
    if isinstance(value, dict):
        return {name: _exact(held) for name, held in value.items()}
    if isinstance(value, list):
        return [_exact(held) for held in value]
    return (type(value).__name__, value)


MOMENTS = st.sampled_from([datetime(2026, 11, 21, hour, tzinfo=UTC) for hour in range(4)])
INDEXED = st.one_of(MOMENTS, MOMENTS, MOMENTS, SCALARS)
SESSIONS = st.lists(st.sampled_from(["one", "two", "three"]), max_size=2, unique=True)
SEGMENTS = st.dictionaries(
    st.sampled_from(["s-1", "s-2", "s-10", "S-1", "_s", "s.1"]), st.tuples(INDEXED, SESSIONS), max_size=6
)


@BOTH
@given(SEGMENTS, st.booleans(), st.none() | MOMENTS, st.none() | MOMENTS, st.integers(1, 3))
def test_any_range_pages_through_the_same_documents(
    both: tuple[DocumentStore, DocumentStore],
    segments: dict[str, tuple[Any, list[str]]],
    descending: bool,
    at_least: datetime | None,
    below: datetime | None,
    limit: int,
) -> None:
    collection = f"accounts/{uuid.uuid4().hex}/segments"
    writes = [
        Create(f"{collection}/{name}", {"last_at": at, "session_ids": sessions})
        for name, (at, sessions) in segments.items()
    ]

    def pages(store: DocumentStore, session: str | None) -> list[list[str]]:
        found, after = [], None
        for _ in range(len(segments) + 1):
            page = store.query(
                Query(
                    collection=collection,
                    contains=(session and ("session_ids", session)) or None,
                    order_by="last_at",
                    descending=descending or session is not None,
                    at_least=at_least,
                    below=below,
                    after=after,
                    limit=limit,
                )
            )
            found.append([document.document_id for document in page])
            if len(page) < limit:
                return found
            after = (page[-1].fields["last_at"], page[-1].document_id)
        raise AssertionError("pages without an end")

    for store in both:
        store.commit([*writes, Create(f"accounts/{uuid.uuid4().hex}", {})])
    assert pages(both[0], None) == pages(both[1], None)
    assert pages(both[0], "one") == pages(both[1], "one")
