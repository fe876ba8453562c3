"""Fields as Firestore's messages, and back. Moments keep their microseconds; there are no floats."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from google.cloud.firestore_v1 import types
from google.protobuf.struct_pb2 import NULL_VALUE

Value = types.Value.pb()

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def fill_fields(into: Any, fields: Mapping[str, Any]) -> None:
    """Put the fields into a message's `fields` map."""
    for name, value in fields.items():
        fill(into[name], value)


def fill(into: Any, value: Any) -> None:
    """Put a value into a Value message."""
    if value is None:
        into.null_value = NULL_VALUE
    elif isinstance(value, bool):
        into.boolean_value = value
    elif isinstance(value, int):
        into.integer_value = value
    elif isinstance(value, str):
        into.string_value = value
    elif isinstance(value, bytes):
        into.bytes_value = value
    elif isinstance(value, datetime):
        fill_moment(into.timestamp_value, value)
    else:
        _fill_container(into, value)


def _fill_container(into: Any, value: Any) -> None:
    if isinstance(value, Mapping):
        # An empty mapping has to be said, too.
        into.map_value.SetInParent()
        fill_fields(into.map_value.fields, value)
    else:
        into.array_value.SetInParent()
        for held in value:
            fill(into.array_value.values.add(), held)


def fill_moment(into: Any, moment: datetime) -> None:
    """Put an aware UTC moment into a Timestamp message."""
    into.seconds, rest = divmod(moment - _EPOCH, _SECOND)
    into.nanos = rest.microseconds * 1000


def fields_of(message: Any) -> dict[str, Any]:
    """The fields of a Document or MapValue message."""
    return {name: value_of(value) for name, value in message.fields.items()}


def value_of(message: Any) -> Any:
    """What a Value message holds."""
    kind = message.WhichOneof("value_type")
    if kind == "map_value":
        return fields_of(message.map_value)
    if kind == "array_value":
        return [value_of(held) for held in message.array_value.values]
    if kind == "timestamp_value":
        return moment_of(message.timestamp_value)
    if kind == "null_value":
        return None
    return getattr(message, kind)


def moment_of(message: Any) -> datetime:
    """The moment a Timestamp message tells."""
    return _EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)
