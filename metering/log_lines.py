"""One line of a program's log: a JSON object in which nothing moves a terminal or ends the line early.

JSON escapes what lies below a space and no other control character. A terminal acts on some of those (U+009B
begins a command as Escape and `[` do), programs split lines at U+0085, U+2028 and U+2029 (Python's
`splitlines`), and what turns the direction of text shows a line as it is not. So these are escaped, too.
"""

import re
from typing import Any, Final

import msgspec

_RAW: Final = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
# Unknown kinds of value would print themselves, whatever they hold; their type's name is enough.
_ENCODER: Final = msgspec.json.Encoder(enc_hook=lambda value: type(value).__name__)


def log_line(fields: Any) -> str:
    """The object as one line of printable text, without its line break; read as JSON it is the same."""
    line = _ENCODER.encode(fields).decode()
    if line.isascii() and "\x7f" not in line:  # known without looking, and found in no time
        return line
    return _RAW.sub(_escaped, line)


def _escaped(found: "re.Match[str]") -> str:
    return f"\\u{ord(found.group()):04x}"
