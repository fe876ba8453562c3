"""The journal's lines: what was admitted and what was settled, one JSON object a line.

`admitted` is written before the first byte goes upstream, `settled` before the last byte of the answer
leaves; together they let recovery store what a dead process knew, and find calls that never settled. A call
by a key that this instance could not look up names the key's hash instead of an account; recovery
attributes it.

Lines are ASCII and hold no line break but the one at their end, whatever the tags in them: anything that
splits text into lines (a log agent, `str.splitlines`) sees the same lines.
"""

import json
import re
from datetime import datetime, timedelta

import msgspec

from metering.errors import MeteringError
from metering.events import CostEvent, Provider, encoded_event

LINE_BYTES_MAX = 64 * 1024
FIGURE_MAX = 10**18  # of anything that a line counts: no budget is larger, and sums fit the stores

_NO_OFFSET = timedelta(0)
_OUR_TIME = range(2000, 9000)  # years; further out, nothing can be reckoned from a moment
_ACCOUNT_ID = re.compile(r"acct_[0-9a-z]{1,64}")
_KEY_HASH = re.compile(r"[0-9a-f]{64}")
_REQUEST_ID = re.compile(r"req_[0-9a-z]{1,64}")
_SEGMENT_NAME = re.compile(r"[0-9a-f]{32}-[0-9]{1,18}")
_INSTANCE = re.compile(r"(?:[0-9a-f]{32})?")
_LEASE_ID = re.compile(r"[0-9a-f]{32}\.[0-9a-f]{32}\.[0-9]{1,18}")


class BadJournalLine(MeteringError):
    """A line that is none of ours. Its text is not repeated: whatever it holds, it is not for logs."""


class Hold(msgspec.Struct, frozen=True, array_like=True):
    """What one budget was asked to keep back for a call, and from which lease."""

    budget_id: str
    period: str
    lease_id: str
    nanodollars: int


class Admitted(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="line", tag="admitted"
):
    """A call that was let through. Exactly one of `account_id` and `key_hash` says whose it is.

    It holds all that the event of a call that never settles is made of: whose it was, what it asked for, and
    `estimate_nanodollars`: what it was expected to cost, or the most it can where a strict budget holds that.
    `instance` is whose book it stands in.
    """

    request_id: str
    timestamp: datetime
    account_id: str = ""
    key_hash: str = ""
    key_id: str = ""
    deployment: str = "default"
    provider: Provider
    model: str = ""
    requested_model: str = ""
    streaming: bool = False
    instance: str = ""
    team: str = ""
    app: str = ""
    feature: str = ""
    customer_tier: str = ""
    session_id: str = ""
    trace_id: str = ""
    prompt_template_id: str = ""
    prompt_fingerprint: str = ""
    estimate_nanodollars: int = 0
    holds: tuple[Hold, ...] = ()


class Settled(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="line", tag="settled"):
    """A call that is over: its event, and the segment it belongs to.

    The event's `account_id` is empty where `key_hash` says whose it is.
    """

    segment: str
    key_hash: str = ""
    event: CostEvent


Line = Admitted | Settled

_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


def admitted_line(admitted: Admitted) -> bytes:
    """The line, its line break included."""
    return _ascii_line(_ENCODER.encode(admitted))


def settled_line(event: CostEvent, segment_name: str, *, key_hash: str = "") -> bytes:
    """The line, its line break included."""
    return settled_line_of(encoded_event(event), segment_name, key_hash=key_hash)


def settled_line_of(encoded: bytes, segment_name: str, *, key_hash: str = "") -> bytes:
    """The same, of an event that is encoded already (`encoded_event`)."""
    whose = f'"key_hash":"{key_hash}",' if key_hash else ""
    begin = f'{{"line":"settled","segment":"{segment_name}",{whose}"event":'
    return _ascii_line(b"%b%b}" % (begin.encode(), encoded))


def parse_line(line: bytes) -> Line:
    """What the line says; a line break at its end may be there or not.

    Ids in it become paths of the store, so their form is checked here.
    Raises: BadJournalLine, for anything that `admitted_line` and `settled_line` do not write.
    """
    if len(line) > LINE_BYTES_MAX:
        raise BadJournalLine("the line is too long")
    try:
        parsed = _DECODER.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # Without its cause, whose text may quote the line.
        raise BadJournalLine("the line is no journal line") from None
    subject = parsed.event if isinstance(parsed, Settled) else parsed
    if not _REQUEST_ID.fullmatch(subject.request_id):
        raise BadJournalLine("the line's request id has no such form")
    if not all(map(_is_moment, _moments(parsed))):
        raise BadJournalLine("the line's moments are not UTC, or not of our time")
    if not _has_figures(parsed):
        raise BadJournalLine("the line's figures are no call's")
    if not _is_owned(subject.account_id, parsed.key_hash):
        raise BadJournalLine("the line must name either an account or the hash of a key")
    if isinstance(parsed, Settled) and not _SEGMENT_NAME.fullmatch(parsed.segment):
        raise BadJournalLine("the line's segment has no such name")
    if isinstance(parsed, Admitted) and not _INSTANCE.fullmatch(parsed.instance):
        raise BadJournalLine("the line's instance has no such name")
    leases = parsed.event.charges if isinstance(parsed, Settled) else parsed.holds
    if not all(_LEASE_ID.fullmatch(each.lease_id) for each in leases):
        raise BadJournalLine("the line's lease has no such id")
    return parsed


def _ascii_line(line: bytes) -> bytes:
    if not line.isascii():
        line = json.dumps(json.loads(line), separators=(",", ":")).encode()
    return line + b"\n"


def _moments(line: Line) -> tuple[datetime, ...]:
    return (line.event.timestamp, line.event.ended_at) if isinstance(line, Settled) else (line.timestamp,)


def _is_moment(moment: datetime) -> bool:
    return moment.utcoffset() == _NO_OFFSET and moment.year in _OUR_TIME


def _has_figures(line: Line) -> bool:
    """Whether sums of the line's figures make sense: a huge one would keep others of its sum out."""
    subject = line.event if isinstance(line, Settled) else line
    least = {"saved_nanodollars": -FIGURE_MAX}  # the model that a call was turned to may have been dearer
    named = ((name, getattr(subject, name)) for name in subject.__struct_fields__)
    amounts = line.event.charges if isinstance(line, Settled) else line.holds
    return all(
        least.get(name, 0) <= figure <= FIGURE_MAX for name, figure in named if isinstance(figure, int)
    ) and all(0 <= each.nanodollars <= FIGURE_MAX for each in amounts)


def _is_owned(account_id: str, key_hash: str) -> bool:
    if account_id:
        return not key_hash and _ACCOUNT_ID.fullmatch(account_id) is not None
    return _KEY_HASH.fullmatch(key_hash) is not None
