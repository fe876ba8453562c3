"""A query as one SQL statement over entries and documents. Names in the text are ours; values are bound."""

from typing import Any

from metering.sqlite.entries import ELEMENT, sortable
from metering.stores import Query

_HELD = (
    "EXISTS (SELECT 1 FROM entries AS held WHERE held.collection = documents.collection"
    " AND held.field = ? AND held.value = ? AND held.id = documents.id)"
)


def statement(query: Query) -> tuple[str, list[Any]]:
    """The SQL that gives (id, fields, revision) of the documents found, and the values to bind."""
    # The index that gives the order leads; CROSS JOIN keeps SQLite from leading with another.
    narrowed = [(name, sortable(value)) for name, value in query.equal.items()]
    if query.contains is not None:
        narrowed.append((query.contains[0], ELEMENT + sortable(query.contains[1])))
    if query.order_by is not None:
        source, conditions, bound = _ordered(query, query.order_by)
        order = "entries.value {0}, entries.id {0}"
    elif narrowed:
        field, value = narrowed.pop()
        source = _LED_BY_ENTRIES
        conditions = ["entries.collection = ?", "entries.field = ?", "entries.value = ?"]
        bound = [query.collection, field, value]
        order = "entries.id {0}"
    else:
        source, conditions, bound, order = (
            "documents",
            ["documents.collection = ?"],
            [query.collection],
            "documents.id {0}",
        )
    if query.after is not None and query.order_by is None:
        conditions.append(f"documents.id {_beyond(query)} ?")
        bound.append(query.after[1])
    for field, value in narrowed:
        conditions.append(_HELD)
        bound += [field, value]
    text = (
        f"SELECT documents.id, documents.fields, documents.revision FROM {source}"  # nosec B608 # noqa: S608 - ours
        f" WHERE {' AND '.join(conditions)}"
        f" ORDER BY {order.format('DESC' if query.descending else 'ASC')} LIMIT ?"
    )
    return text, [*bound, query.limit]


_LED_BY_ENTRIES = (
    "entries CROSS JOIN documents ON documents.collection = entries.collection AND documents.id = entries.id"
)


def _ordered(query: Query, field: str) -> tuple[str, list[str], list[Any]]:
    conditions = ["entries.collection = ?", "entries.field = ?", "entries.value < ?"]
    bound: list[Any] = [query.collection, field, ELEMENT]
    if query.at_least is not None:
        # A range finds values of its own type only, as in Firestore.
        low = sortable(query.at_least)
        conditions += ["entries.value >= ?", "entries.value < ?"]
        bound += [low, bytes([low[0] + 1])]
    if query.below is not None:
        high = sortable(query.below)
        conditions += ["entries.value < ?", "entries.value >= ?"]
        bound += [high, high[:1]]
    if query.after is not None:
        conditions.append(f"(entries.value, entries.id) {_beyond(query)} (?, ?)")
        bound += [sortable(query.after[0]), query.after[1]]
    return _LED_BY_ENTRIES, conditions, bound


def _beyond(query: Query) -> str:
    return "<" if query.descending else ">"
