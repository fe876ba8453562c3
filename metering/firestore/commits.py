"""Writes as one CommitRequest, and its answer as results.

The messages are filled directly: the library's batch costs an order of magnitude more of the processor, and
its commit is retried by default, which counts an increment twice when only the answer was lost.
"""

from collections.abc import Sequence
from typing import Any

from google.cloud.firestore_v1 import types

from metering.documents import quoted
from metering.firestore.values import fill, fill_fields
from metering.stores import Create, Delete, Increment, Put, Update, Write, WriteResult

CommitRequest = types.CommitRequest.pb()
CommitResponse = types.CommitResponse.pb()


def commit_request(database: str, writes: Sequence[Write]) -> Any:
    """The CommitRequest that asks for these writes, in their order.

    Shape of `database`: `projects/<project>/databases/<database>`.
    """
    request = CommitRequest(database=database)
    for write in writes:
        _fill_write(request.writes.add(), f"{database}/documents/{write.path}", write)
    return request


def results_of(response: Any, writes: Sequence[Write]) -> list[WriteResult]:
    """What each write led to. Firestore answers transforms in the order in which they were asked for."""
    return [
        WriteResult(
            {
                path: value.integer_value
                for path, value in zip(write.amounts, result.transform_results, strict=True)
            }
        )
        if isinstance(write, Increment)
        else WriteResult()
        for write, result in zip(writes, response.write_results, strict=True)
    ]


def _fill_write(message: Any, name: str, write: Write) -> None:
    if isinstance(write, Delete):
        message.delete = name
    else:
        message.update.name = name
    if isinstance(write, Increment):
        _fill_increment(message, write)
        return
    _fill_precondition(message.current_document, write)
    if isinstance(write, Create | Put | Update):
        fill_fields(message.update.fields, write.fields)
    if isinstance(write, Update):
        # Without a mask the document would be replaced whole.
        message.update_mask.SetInParent()
        message.update_mask.field_paths.extend(quoted((field,)) for field in write.fields)


def _fill_precondition(message: Any, write: Create | Put | Update | Delete) -> None:
    if isinstance(write, Create):
        message.exists = False
    elif write.if_revision is not None:
        seconds, _, nanos = write.if_revision.partition(".")
        message.update_time.seconds = int(seconds)
        message.update_time.nanos = int(nanos)
    elif isinstance(write, Update):
        message.exists = True


def _fill_increment(message: Any, write: Increment) -> None:
    # An empty mask makes the document where it is missing and leaves it alone where it stands.
    message.update_mask.SetInParent()
    for path, value in write.merge.items():
        message.update_mask.field_paths.append(quoted(path))
        fields = message.update.fields
        for field in path[:-1]:
            fields = fields[field].map_value.fields
        fill(fields[path[-1]], value)
    for path, amount in write.amounts.items():
        transform = message.update_transforms.add()
        transform.field_path = quoted(path)
        transform.increment.integer_value = amount


def revision_of(document: Any) -> str:
    """A Document message's revision: the moment of its last change, to the nanosecond."""
    return f"{document.update_time.seconds}.{document.update_time.nanos:09d}"
