r"""Server-sent events as bytes: where frames end, and what a frame says.

A *frame* is an event's lines and the blank line that ends it, as sent. Lines end in LF, CRLF or CR; what ends
a frame is `\n\n`, `\n\r\n` (so CRLF twice too) or `\r\r`.
"""

import re

_FRAME_END = re.compile(rb"\n\n|\n\r\n|\r\r")
_FRAME_END_BYTES_MAX = 3
FRAME_END_BEGUN_BYTES_MAX = _FRAME_END_BYTES_MAX - 1  # what may be here of an end that is not whole


class FrameBuffer:
    """Cuts bytes at the ends of frames.

    `rest` holds the frame that has not ended yet; whoever feeds bounds it, but
    for its last `FRAME_END_BEGUN_BYTES_MAX` bytes.
    """

    def __init__(self) -> None:
        self.rest = bytearray()

    def feed(self, data: bytes) -> bytes:
        """The frames that are whole with these bytes, as sent; b"" where none is."""
        rest = self.rest
        if not rest and data.endswith(b"\n\n"):
            return data
        searched = max(0, len(rest) - FRAME_END_BEGUN_BYTES_MAX)
        rest += data
        end = _last_end(rest, searched)
        if not end:
            return b""
        whole = bytes(memoryview(rest)[:end])
        del rest[:end]
        return whole


def frames_of(whole: bytes) -> list[bytes]:
    """The single frames of what a `FrameBuffer` gave, each with its end."""
    frames = []
    start = 0
    for found in _FRAME_END.finditer(whole):
        frames.append(whole[start : found.end()])
        start = found.end()
    if start < len(whole):
        frames.append(whole[start:])
    return frames


def data_of(frame: bytes) -> bytes:
    """What the frame's `data` lines say, joined by line feeds; b"" for a comment."""
    said = []
    for line in frame.splitlines():
        if line.startswith(b"data:"):
            said.append(line[6:] if line[5:6] == b" " else line[5:])
    return said[0] if len(said) == 1 else b"\n".join(said)


def _last_end(data: bytearray, searched: int) -> int:
    """Where the last frame ends; 0 where none does. The ends' starts lie at or after `searched`."""
    last = 0
    for separator in (b"\n\n", b"\n\r\n", b"\r\r"):
        at = data.rfind(separator, searched)
        if at >= 0:
            last = max(last, at + len(separator))
    return last
