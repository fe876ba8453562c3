"""Keeping from a caller the one frame it did not ask for: the usage frame of a streamed chat completion.

Asked for `include_usage`, the upstream sends one more frame, with no choices, right before `[DONE]` or the
end. Exactly that frame is held back; every other byte passes as sent and at once, but for a frame's
beginning, which waits for the rest of it up to `FRAME_BYTES_MAX`.
"""

import re

import msgspec

from proxy_service.sse import FRAME_END_BEGUN_BYTES_MAX, FrameBuffer, data_of, frames_of

FRAME_BYTES_MAX = 64 * 1024  # a usage frame has less than 1 KiB; what is longer is none

_NO_CHOICES = re.compile(rb'"choices"[ \t]*:[ \t]*\[[ \t]*\]')


class _Chunk(msgspec.Struct):
    choices: list[msgspec.Raw]
    usage: dict[str, msgspec.Raw]


_CHUNK = msgspec.json.Decoder(_Chunk)


class Withholder:
    """Passes a stream of server-sent events on without its usage frame. Any split gives the same bytes.

    A frame that looks like the usage frame and is followed by anything but `[DONE]` or the end was none, and
    passes then.
    """

    def __init__(self) -> None:
        self._buffer = FrameBuffer()
        self._held = b""
        self._blanks_behind = b""  # empty lines behind the held frame
        self._is_in_long_frame = False

    def feed(self, data: bytes) -> bytes:
        """What of the stream goes to the caller now."""
        whole = self._buffer.feed(data)
        passed = self._passed(whole) if whole else b""
        rest = self._buffer.rest
        if len(rest) > FRAME_BYTES_MAX and not self._is_in_long_frame:
            self._is_in_long_frame = True
            passed += self._released()
        if self._is_in_long_frame:
            keep = max(0, len(rest) - FRAME_END_BEGUN_BYTES_MAX)
            passed += bytes(rest[:keep])
            del rest[:keep]
        return passed

    def finish(self) -> bytes:
        """The stream has ended: what still waits of it."""
        rest = bytes(self._buffer.rest)
        self._buffer.rest.clear()
        if rest.strip(b"\r\n") and not self._is_in_long_frame:
            rest = self._next(rest)
        self._held = b""
        return self._released() + rest

    def _passed(self, whole: bytes) -> bytes:
        if not (self._held or self._is_in_long_frame or _NO_CHOICES.search(whole)):
            return whole
        frames = frames_of(whole)
        passed = frames.pop(0) if self._is_in_long_frame else b""
        self._is_in_long_frame = False
        return passed + b"".join(map(self._next, frames))

    def _next(self, frame: bytes) -> bytes:
        """What passes now that this frame has come."""
        said = frame.lstrip(b"\r\n")
        blanks = frame[: len(frame) - len(said)]
        if self._held:
            self._blanks_behind += blanks
            if not said:
                return b"" if len(self._blanks_behind) <= FRAME_BYTES_MAX else self._released()
            if data_of(said).strip() == b"[DONE]":
                self._held = b""
            blanks = self._released()
        if len(said) <= FRAME_BYTES_MAX and _is_usage(said):
            self._held = said
            return blanks
        return blanks + said

    def _released(self) -> bytes:
        released = self._held + self._blanks_behind
        self._held = self._blanks_behind = b""
        return released


def _is_usage(frame: bytes) -> bool:
    if not _NO_CHOICES.search(frame):
        return False
    try:
        return not _CHUNK.decode(data_of(frame)).choices
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
