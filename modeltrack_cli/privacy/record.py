"""What a run sent, kept in a file: logs that arrive later are looked through for it, when they are there."""

import os
import stat
from pathlib import Path
from typing import Final

import msgspec

from modeltrack_cli.errors import CommandFailed
from modeltrack_cli.privacy.canaries import MARK, Canaries, Place
from modeltrack_cli.privacy.search import REQUEST_ID
from modeltrack_cli.privacy.sending import To

FORMAT: Final = 1
BYTES_MAX: Final = 64 * 1024 * 1024


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run's canaries and the ids of its requests."""

    format: int
    marks: tuple[str, str]
    places: list[Place]
    request_ids: dict[To, list[str]]

    def canaries(self) -> Canaries:
        """The run's canaries."""
        return Canaries(self.marks, self.places)


def save(path: Path, canaries: Canaries, request_ids: dict[To, set[bytes]]) -> None:
    """Keep the run, for nobody else to read: whoever knew its canaries could plant some.

    Raises: CommandFailed.
    """
    told = {to: sorted(each.decode() for each in ids) for to, ids in request_ids.items()}
    record = Record(FORMAT, canaries.marks, list(canaries.places.values()), told)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(file, "wb") as opened:
            if stat.S_ISREG(os.fstat(file).st_mode):
                os.fchmod(file, 0o600)  # it may have been there before, for others to read
            opened.write(msgspec.json.encode(record))
    except OSError as error:
        raise CommandFailed(f"{path}: it cannot be written ({type(error).__name__})") from None


def check(path: Path) -> None:
    """Whether a run can be kept there, and nothing of what is. Raises: CommandFailed, where it cannot."""
    is_free = path.is_file() or not path.exists()
    place = path if path.exists() else path.parent
    if not is_free or not place.exists() or not os.access(place, os.W_OK):
        raise CommandFailed(f"{path}: it cannot be written")


def load(path: Path) -> Record:
    """The run that was kept there. Raises: CommandFailed, where there is none."""
    try:
        with path.open("rb") as opened:
            record = msgspec.json.decode(opened.read(BYTES_MAX), type=Record)
    except (OSError, msgspec.DecodeError):
        raise CommandFailed(f"{path}: there is no run in it that was kept with --keep") from None
    ids = (each.encode() for told in record.request_ids.values() for each in told)
    is_sound = all(map(MARK.fullmatch, record.marks)) and all(map(REQUEST_ID.fullmatch, ids))
    if record.format != FORMAT or not is_sound:
        raise CommandFailed(f"{path}: it is of another version of this command")
    return record
