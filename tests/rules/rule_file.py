"""Security rules as the emulator takes them: what is wrong with them, and which of them were asked."""

import re
from typing import Any

import msgspec
import requests

SECONDS_MAX = 20

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_ALLOW = re.compile(r"\ballow\b[^:;]*(?::\s*if\b\s*(?P<condition>[^;]*?)\s*)?;")
_LITERAL = {"true", "false"}


class Allow(msgspec.Struct, frozen=True):
    """One `allow` of the rules: the line it is on, and its condition; None: it is always granted."""

    line: int
    condition: str | None


def allows_in(rules: str) -> list[Allow]:
    """Every `allow` of these rules, in their order."""
    text = _without_comments(rules)
    return [Allow(_line_at(text, found.start()), found["condition"]) for found in _ALLOW.finditer(text)]


def countable(rules: str) -> str:
    """The same rules, such that the emulator counts every condition.

    It counts no literal. `debug` (https://firebase.google.com/docs/reference/rules/rules.debug, read
    2026-11-21) returns what it is given, and is counted.
    """

    def shown(found: re.Match[str]) -> str:
        if found["condition"] not in _LITERAL:
            return found[0]
        start, end = found.start("condition") - found.start(), found.end("condition") - found.start()
        return f"{found[0][:start]}debug({found['condition']}){found[0][end:]}"

    return _ALLOW.sub(shown, _without_comments(rules))


def publish(emulator: str, project: str, rules: str) -> list[str]:
    """Put the project under these rules. What the emulator says against them, with line and column."""
    answer = requests.put(
        f"http://{emulator}/emulator/v1/projects/{project}:securityRules",
        json={"rules": {"files": [{"name": "firestore.rules", "content": rules}]}},
        timeout=SECONDS_MAX,
    )
    if answer.status_code != 200:
        return [str(answer.json()["error"]["message"])]
    issues = answer.json().get("issues", [])
    return [f"{_place(issue['sourcePosition'])} {issue['description']}" for issue in issues]


def unasked(emulator: str, project: str, rules: str) -> list[str]:
    """Each `allow` of the project's `countable` rules whose condition no request has come to.

    One without a condition is always granted, and never counted.
    """
    answer = requests.get(
        f"http://{emulator}/emulator/v1/projects/{project}:ruleCoverage", timeout=SECONDS_MAX
    )
    answer.raise_for_status()
    asked = {
        report["sourcePosition"]["currentOffset"]
        for report in answer.json().get("report", [])
        if any(value.get("count") for value in report.get("values", []))
    }
    spans = [range(*found.span("condition")) for found in _ALLOW.finditer(countable(rules))]
    return [
        f"L{allow.line} an allow that was never asked"
        for allow, span in zip(allows_in(rules), spans, strict=True)
        if not any(offset in span for offset in asked)
    ]


def _without_comments(rules: str) -> str:
    """The rules with blanks where comments were, so that lines stay lines."""
    return _COMMENT.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), rules)


def _line_at(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


def _place(position: dict[str, Any]) -> str:
    return f"L{position['line']}:{position['column']}"
