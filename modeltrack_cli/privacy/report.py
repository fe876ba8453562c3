"""What the command prints: what was sent, what was looked at, what was found; never what it was found in."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from metering.version import VERSION
from modeltrack_cli.privacy.looking import Looked, by_source
from modeltrack_cli.privacy.run import Outcome
from modeltrack_cli.privacy.search import Spot
from modeltrack_cli.spellings import UNPACKS_ZSTD

CLEAN: Final = 0
FOUND: Final = 1
COULD_NOT_LOOK: Final = 2

SHOWN_MAX: Final = 200
# How sources of a kind begin, in the order in which the kinds are printed; the last takes all others.
_GROUPS: Final = {
    "the ": "the account's export, and what was answered",
    "API GET ": "questions of the API",
    "page ": "pages",
    "proxy GET ": "the proxy's figures",
    "": "what was given besides",
}
_PERIOD: Final = re.compile(r"/\d{4}-(?:W\d\d|Q\d|\d\d)\b")
_ENDS: Final = {
    CLEAN: "no canary is anywhere where it was looked for",
    FOUND: "what must be nowhere is kept or told",
    COULD_NOT_LOOK: "nothing was found, but not everything could be looked at",
}


def exit_code(outcome: Outcome) -> int:
    """0: nothing was found; 1: something was; 2: nothing was, but not everything could be looked at."""
    if outcome.gaze.spots:
        return FOUND
    return COULD_NOT_LOOK if troubles(outcome) else CLEAN


def troubles(outcome: Outcome) -> list[str]:
    """What could not be looked at, and why."""
    looked = by_source(outcome.gaze.looked)
    of_sources = [f"{each.source}: {each.trouble}" for each in looked if each.trouble]
    return [*of_sources, *outcome.gaze.troubles]


def lines(outcome: Outcome, *, has_logs: bool) -> Iterator[str]:
    """Everything, a line each."""
    sent, answered = outcome.canaries.by_route(), outcome.post.answered
    width = max(map(len, answered), default=0)
    if not answered:
        yield f"looking again for {len(outcome.canaries)} canaries that were sent before"
        yield from _looked(outcome, has_logs=has_logs)
        return
    yield "sent: canaries by route, and the answers by status (cut: hung up on before the end, on purpose)"
    for route, statuses in answered.items():
        yield f"  {route:<{width}}  {sent[route]:>4}  {_counted(statuses)}"
    yield f"  {outcome.events} events of these calls can be read"
    yield from _looked(outcome, has_logs=has_logs)


def _looked(outcome: Outcome, *, has_logs: bool) -> Iterator[str]:
    for title, group in groups_of(by_source(map(_of_any_period, by_source(outcome.gaze.looked)))):
        yield f"looked at: {title} ({len(group)})"
        width = max(len(_named(each)) for each in group)
        for each in group:
            note = f"not all looked at: {each.trouble}" if each.trouble else each.note
            size = f"{each.bytes:>12,} bytes {each.lines:>9,} lines"
            yield f"{'–' if each.trouble else '✓'} {_named(each):<{width}} {size}  {note}".rstrip()
    if not has_logs:
        yield "  no logs were given (--logs), so none were looked at"
    if not UNPACKS_ZSTD:
        yield "  what is packed by zstd was not unpacked: the package zstandard is not installed"
    for trouble in outcome.gaze.troubles:
        yield f"– {trouble}"
    found = list(grouped(outcome.gaze.spots))
    for where, spot, count in found[:SHOWN_MAX]:
        more = f", and {count - 1} more" if count > 1 else ""
        yield f"✗ {where} → {_printable(spot.source)}, line {spot.line}{_at(spot)}{more}"
    if len(found) > SHOWN_MAX:
        yield f"✗ and {len(found) - SHOWN_MAX} other places"
    yield _end(outcome, len(found))


def groups_of(looked: Sequence[Looked]) -> Iterator[tuple[str, list[Looked]]]:
    """The sources by what they are, those of one kind by their names."""
    groups: dict[str, list[Looked]] = {title: [] for title in _GROUPS.values()}
    for each in looked:
        groups[next(title for begin, title in _GROUPS.items() if each.source.startswith(begin))].append(each)
    for title, group in groups.items():
        if group:
            yield title, sorted(group, key=lambda each: each.source)


def _of_any_period(looked: Looked) -> Looked:
    """Fifty reports are one line, but for those with which something is wrong."""
    source = looked.source if looked.trouble else _PERIOD.sub("/{period}", looked.source)
    return msgspec.structs.replace(looked, source=source)


def _named(looked: Looked) -> str:
    return _printable(looked.source) + (f" ×{looked.times}" if looked.times > 1 else "")


def grouped(spots: Sequence[Spot]) -> Iterator[tuple[str, Spot, int]]:
    """Each place whose canary was found, with the first spot in each source and how many there are."""
    counted = Counter((spot.place, spot.source) for spot in spots)
    for spot in spots:
        if count := counted.pop((spot.place, spot.source), 0):
            yield f"{spot.place.route}: {spot.place.where}", spot, count


def document(outcome: Outcome, *, has_logs: bool) -> str:
    """The same as JSON."""
    sent = outcome.canaries.by_route()
    told: dict[str, Any] = {
        "version": VERSION,
        "exit_code": exit_code(outcome),
        "canaries": len(outcome.canaries),
        "sent": [
            {"route": route, "canaries": sent[route], "answers": dict(statuses)}
            for route, statuses in outcome.post.answered.items()
        ],
        "events": outcome.events,
        "looked_at": [
            {
                "source": each.source,
                "bytes": each.bytes,
                "lines": each.lines,
                "note": each.note,
                "trouble": each.trouble,
                "times": each.times,
            }
            for each in by_source(outcome.gaze.looked)
        ],
        "has_logs": has_logs,
        "unpacks_zstd": UNPACKS_ZSTD,
        "not_looked_at": troubles(outcome),
        "found": [
            {
                "route": spot.place.route,
                "place": spot.place.where,
                "source": spot.source,
                "line": spot.line,
                "path": spot.path,
                "count": count,
            }
            for _, spot, count in grouped(outcome.gaze.spots)
        ],
    }
    return json.dumps(told, indent=2, ensure_ascii=False)


def _end(outcome: Outcome, found: int) -> str:
    answered = outcome.post.answered
    requests = sum(sum(each.values()) for each in answered.values())
    how = f"in {requests} requests by {len(answered)} routes" if answered else "of an earlier run"
    looked = by_source(outcome.gaze.looked)
    return (
        f"{len(outcome.canaries)} canaries {how};"
        f" {sum(each.bytes for each in looked):,} bytes of {len(looked)} sources searched for"
        f" {len(outcome.gaze.wanted.texts)} spellings; {found} found, {len(troubles(outcome))} not looked at:"
        f" {_ENDS[exit_code(outcome)]}"
    )


def _at(spot: Spot) -> str:
    return f", {spot.path}" if spot.path else ""


def _counted(statuses: Counter[str]) -> str:
    return " ".join(f"{status}×{count}" for status, count in sorted(statuses.items()))


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text)
