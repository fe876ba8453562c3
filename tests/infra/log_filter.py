"""The part of Cloud Logging's query language that infra/ uses, and whether a log entry matches.

https://cloud.google.com/logging/docs/view/logging-query-language (read 2026-11-21): `=` compares whole values
and, against text, takes no notice of case; `:` looks for a part of the text, likewise; `=~` for what an
expression finds in it, case and all; a field that an entry lacks matches nothing. AND beside OR wants
brackets here, so that nobody has to know which binds first.
"""

import re
from collections.abc import Mapping
from typing import Any

_TOKEN = re.compile(r'\s*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<word>[A-Za-z_][\w.]*)|(?P<sign>=~|[()=:]))')

Entry = Mapping[str, Any]


def matches(query: str, entry: Entry) -> bool:
    """Whether the entry is one that the query finds. Raises: ValueError for what is not understood here."""
    reader = _Reader(query)
    found = reader.either(entry)
    if reader.tokens:
        raise ValueError(f"not understood: {reader.tokens[0]}")
    return found


class _Reader:
    def __init__(self, query: str) -> None:
        self.tokens: list[str] = []
        position, end = 0, len(query.rstrip())
        while position < end:
            found = _TOKEN.match(query, position)
            if found is None:
                raise ValueError(f"not understood: {query[position:]}")
            self.tokens.append(found[0].strip())
            position = found.end()

    def either(self, entry: Entry) -> bool:
        found = self._one(entry)
        joint = self.tokens[0] if self.tokens else ""
        while joint in {"AND", "OR"} and self._has(joint):
            one = self._one(entry)
            found = (found or one) if joint == "OR" else (found and one)
        if self.tokens and self.tokens[0] in {"AND", "OR"}:
            raise ValueError("AND beside OR wants brackets")
        return found

    def _one(self, entry: Entry) -> bool:
        if self._has("("):
            found = self.either(entry)
            self._take(")")
            return found
        if self._has("log_id"):
            self._take("(")
            wanted = self._text()
            self._take(")")
            return str(entry["log_id"]) == wanted
        value = _field(entry, self.tokens.pop(0))
        if self._has(":"):
            wanted = self._text()
            return value is not None and wanted.lower() in str(value).lower()
        if self._has("=~"):
            wanted = self._text()
            return value is not None and re.search(wanted, str(value)) is not None
        self._take("=")
        wanted_texts = {each.lower() for each in self._texts()}
        return value is not None and str(value).lower() in wanted_texts

    def _texts(self) -> list[str]:
        if not self._has("("):
            return [self._text()]
        texts = [self._text()]
        while self._has("OR"):
            texts.append(self._text())
        self._take(")")
        return texts

    def _text(self) -> str:
        text = self.tokens.pop(0)
        if not text.startswith('"'):
            raise ValueError(f"not understood: {text}")
        return re.sub(r"\\(.)", r"\1", text[1:-1])

    def _has(self, token: str) -> bool:
        if self.tokens[:1] != [token]:
            return False
        self.tokens.pop(0)
        return True

    def _take(self, token: str) -> None:
        if not self._has(token):
            raise ValueError(f"{token} is missing before {self.tokens[:1]}")


def _field(entry: Entry, path: str) -> object:
    value: Any = entry
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
