"""Notices as Slack shows them: what an incoming webhook of Slack takes.

https://docs.slack.dev/messaging/formatting-message-text (read 2026-11-21): `&`, `<` and `>` are all there is
to escape, and escaped, nothing in a name can call a channel together or pass for a link of ours.
"""

from collections.abc import Mapping
from typing import Any, Final

HEADER_CHARACTERS_MAX: Final = 150
SECTION_CHARACTERS_MAX: Final = 3_000
BAR_BLOCKS: Final = 10

_ESCAPES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_SIGNS: Final = {"info": "ℹ️", "warning": "⚠️", "critical": "🚨"}


def slack_message(title: str, text: str, level: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """The body to post. Where the notice says how much of a budget is spent, a bar shows it."""
    lines = [_escaped(text, SECTION_CHARACTERS_MAX - 200)]
    if isinstance(percent := data.get("percent"), int):
        lines.append(f"`{budget_bar(percent)}` {percent}%")
    return {
        "text": _escaped(title, SECTION_CHARACTERS_MAX),
        "blocks": [
            {
                "type": "header",
                "text": {"type": "plain_text", "text": f"{_SIGNS[level]} {title}"[:HEADER_CHARACTERS_MAX]},
            },
            {"type": "section", "text": {"type": "mrkdwn", "text": "\n".join(lines)}},
        ],
    }


def budget_bar(percent: int) -> str:
    """How much is spent, as a bar of `BAR_BLOCKS` blocks; what is beyond the limit does not lengthen it."""
    full = min(BAR_BLOCKS, max(0, percent) * BAR_BLOCKS // 100)
    return "█" * full + "░" * (BAR_BLOCKS - full)


def _escaped(text: str, most: int) -> str:
    escaped = text.translate(_ESCAPES)
    if len(escaped) <= most:
        return escaped
    cut = escaped[:most]
    # Not in the middle of an escape.
    return cut[: cut.rfind("&")] if "&" in cut[-4:] and ";" not in cut[cut.rfind("&") :] else cut
