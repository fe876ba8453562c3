"""Attribution tags: user text made harmless once, at the edge, and only ever data from then on.

Rule (documented for callers): bytes are read as UTF-8, else as Latin-1; Unicode is normalised to NFC; control
and format characters (line breaks, NUL, bidirectional marks) are removed; surrounding blanks are dropped;
what is longer than 200 characters is cut there. A value that looks like a key (ours or a provider's) is
replaced by `[redacted]`. The caller's request is served whatever the tag is.
"""

import re
import unicodedata

TAG_CHARACTERS_MAX = 200
TAGS_REMEMBERED_MAX = 4_096
REDACTED = "[redacted]"

_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # Unicode categories: controls, format marks, surrogates, breaks

_as_they_came: dict[bytes | str, str] = {}  # most calls name the same few teams, apps and models

_PLAIN = re.compile(r"[A-Za-z0-9_.:/@+=, -]{0,200}")
_CREDENTIAL = re.compile(
    r"(?:\bmt_[0-9a-f]{16}|\bsk-[A-Za-z0-9_-]{12}|\bsk_(?:live|test)_|\bxox[abp]-|\bAKIA[0-9A-Z]{12}"
    r"|\bABSK[A-Za-z0-9+/=]{12}|\bbedrock-api-key-|\bBearer\s|\bgh[pousr]_[A-Za-z0-9]{16}|\bwhsec_|\bAIza[0-9A-Za-z_-]{20}|\beyJ[A-Za-z0-9_-]{16})"
)


def normalised_tag(value: bytes | str) -> str:
    """The tag as it is recorded; see the module's rule. Never raises."""
    known = _as_they_came.get(value)
    if known is not None:
        return known
    given = value if isinstance(value, str) else _decoded(value)
    text = given
    if not _PLAIN.fullmatch(text):
        # Removal comes first: what stood apart only by an invisible character may compose after it.
        visible = (each for each in text if unicodedata.category(each) not in _INVISIBLE)
        text = unicodedata.normalize("NFC", "".join(visible))
    text = text.strip()[:TAG_CHARACTERS_MAX].rstrip()
    if _CREDENTIAL.search(text):
        return REDACTED
    if text == given:
        _remember(value, text)
    return text


def _remember(value: bytes | str, tag: str) -> None:
    """Keep a tag that is recorded just as it came. Nothing else is kept, as it may be what no tag holds."""
    if len(_as_they_came) >= TAGS_REMEMBERED_MAX:
        _as_they_came.clear()
    _as_they_came[value] = tag


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
