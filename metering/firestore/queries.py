"""A query as Firestore's StructuredQuery."""

from typing import Any

from google.cloud.firestore_v1 import types

from metering.firestore.values import fill
from metering.stores import Query

RunQueryRequest = types.RunQueryRequest.pb()
RunQueryResponse = types.RunQueryResponse.pb()

_FieldFilter = types.StructuredQuery.FieldFilter.Operator
_Direction = types.StructuredQuery.Direction
_AND = types.StructuredQuery.CompositeFilter.Operator.AND
_NAME = "__name__"


def query_request(database: str, query: Query) -> Any:
    """The RunQueryRequest that asks for the query's documents."""
    parent, _, collection = f"{database}/documents/{query.collection}".rpartition("/")
    request = RunQueryRequest(parent=parent)
    asked = request.structured_query
    asked.from_.add().collection_id = collection
    asked.limit.value = query.limit
    _fill_filters(asked, query)
    _fill_order(asked, query)
    if query.after is not None:
        _fill_start(asked.start_at, query, f"{database}/documents/{query.collection}/{query.after[1]}")
    return request


def _fill_filters(asked: Any, query: Query) -> None:
    wanted = [(field, _FieldFilter.EQUAL, value) for field, value in query.equal.items()]
    if query.contains is not None:
        wanted.append((query.contains[0], _FieldFilter.ARRAY_CONTAINS, query.contains[1]))
    if query.order_by is not None and query.at_least is not None:
        wanted.append((query.order_by, _FieldFilter.GREATER_THAN_OR_EQUAL, query.at_least))
    if query.order_by is not None and query.below is not None:
        wanted.append((query.order_by, _FieldFilter.LESS_THAN, query.below))
    if not wanted:
        return
    asked.where.composite_filter.op = _AND
    for field, operator, value in wanted:
        narrow = asked.where.composite_filter.filters.add().field_filter
        narrow.field.field_path = field
        narrow.op = operator
        fill(narrow.value, value)


def _fill_order(asked: Any, query: Query) -> None:
    direction = _Direction.DESCENDING if query.descending else _Direction.ASCENDING
    for field in (query.order_by, _NAME):
        if field is not None:
            order = asked.order_by.add()
            order.field.field_path = field
            order.direction = direction


def _fill_start(start: Any, query: Query, name: str) -> None:
    start.before = False
    if query.order_by is not None and query.after is not None:
        fill(start.values.add(), query.after[0])
    start.values.add().reference_value = name
