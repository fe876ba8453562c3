"""A store as a plain dict, written from the promises of `metering.stores` alone."""

import copy
from collections.abc import Sequence
from typing import Any

from metering.errors import AlreadyExists, DocumentMissing, StoreError
from metering.stores import Create, Delete, FieldPath, Increment, Put, Update, Write

Documents = dict[str, dict[str, Any]]
Outcome = type[StoreError] | list[dict[FieldPath, int]]


def applied(documents: Documents, writes: Sequence[Write]) -> tuple[Documents, Outcome]:
    """The documents after a commit, and what the commit answers: sums, or the error that it raises."""
    after = copy.deepcopy(documents)
    try:
        return after, [_apply(after, write) for write in writes]
    except StoreError as refusal:
        return documents, type(refusal)


def _apply(documents: Documents, write: Write) -> dict[FieldPath, int]:
    path, fields = write.path, copy.deepcopy(getattr(write, "fields", {}))
    match write:
        case Create():
            if path in documents:
                raise AlreadyExists(path)
            documents[path] = fields
        case Put():
            documents[path] = fields
        case Update():
            if path not in documents:
                raise DocumentMissing(path)
            documents[path].update(fields)
        case Delete():
            documents.pop(path, None)
        case Increment():
            return _increment(documents.setdefault(path, {}), write)
    return {}


def _increment(fields: dict[str, Any], write: Increment) -> dict[FieldPath, int]:
    for path, value in write.merge.items():
        _holder(fields, path)[path[-1]] = copy.deepcopy(value)
    sums: dict[FieldPath, int] = {}
    for path, amount in write.amounts.items():
        holder = _holder(fields, path)
        held = holder.get(path[-1])
        total = amount + (held if type(held) is int else 0)
        sums[path] = holder[path[-1]] = min(max(total, -(2**63)), 2**63 - 1)
    return sums


def _holder(fields: dict[str, Any], path: FieldPath) -> dict[str, Any]:
    for name in path[:-1]:
        if not isinstance(fields.get(name), dict):
            fields[name] = {}
        fields = fields[name]
    return fields
