"""Tables as CSV (RFC 4180): the same figures as in JSON, digit by digit.

Programs that open such a file take a text that begins with `=`, `+`, `-`, `@`, a tab or a return for a
formula. Such a text gets an apostrophe in front, as these programs mark text themselves; numbers stay as
they are.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from flask import Response
from pydantic import ConfigDict

CSV = "text/csv; charset=utf-8"

_FORMULA_BEGINNINGS = ("=", "+", "-", "@", "\t", "\r", "\n")


def with_csv(example: dict[str, Any]) -> ConfigDict:
    """The configuration of a model whose route also answers CSV, described with that example."""
    content = {"text/csv": {"schema": {"type": "string"}}}
    return ConfigDict(json_schema_extra={"example": example}, openapi_extra={"content": content})  # type: ignore[typeddict-unknown-key]  # flask-openapi3 reads it


def answer_csv(
    columns: Sequence[str], rows: Iterable[Mapping[str, object]], next_page: str | None
) -> Response:
    """The rows as a CSV answer. `X-Next-Page` names the following page, where there is one."""
    response = Response(csv_text(columns, rows), content_type=CSV)
    response.headers["Content-Disposition"] = 'attachment; filename="modeltrack.csv"'
    if next_page is not None:
        response.headers["X-Next-Page"] = next_page
    return response


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """The rows as CSV, with a line of the columns' names first."""
    return csv_lines([columns]) + csv_lines([row[column] for column in columns] for row in rows)


def csv_lines(lines: Iterable[Iterable[object]]) -> str:
    """Lines of a CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(map(_cell, line) for line in lines)
    return text.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, msgspec.Raw):
        return bytes(value).decode()
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA_BEGINNINGS) else value
    if isinstance(value, bool | list | tuple):
        return msgspec.json.encode(value).decode()
    return str(value)
