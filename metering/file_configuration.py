"""Budgets, routing rules and namespaces from files, on a machine of one's own: the published formats.

| file | what it holds |
|---|---|
| `budgets.json` | `{"budgets": [{team, app ("" is the whole team), monthly_limit in USD, action}]}` |
| `routing.json` | `{"rules": [{name, description, trigger, threshold, from_models, to_model, …}]}` |
| `namespace_map.json` | `{namespace: team}` of a cluster |

They govern the machine's own account (`LOCAL_ACCOUNT_ID`), beside what its API was told. A file that is not
there says nothing; one that cannot be read, or makes no sense as a whole, leaves what was last good in force,
and `FileState` says why, never with a value of it. What was last good is kept beside, so that it is in force
after a restart, too.

A budget's id follows from its team and app, so a changed limit keeps what was counted.
"""

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

from metering.accounts import LOCAL_ACCOUNT_ID, Policy
from metering.budgets import Budget
from metering.clock import Clock
from metering.routing import RoutingRule

FILE_BYTES_MAX: Final = 1024 * 1024

FileName = Literal["budgets.json", "routing.json", "namespace_map.json"]
State = Literal["absent", "in_force", "refused"]


class ConfigurationFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Where the files are, and the folder in which what was last good in them is kept."""

    budgets: Path
    routing: Path
    namespace_map: Path
    kept: Path


class FileState(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one file. `entries` are in force; `changed_at` is when they last became so.

    `refused`: what stands in the file now is not in force, and `complaints` says why, a line each.
    """

    file: FileName
    state: State = "absent"
    entries: int = 0
    changed_at: datetime | None = None
    complaints: tuple[str, ...] = ()


class FileConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """What the files say. `opt_out_header` "" leaves the published name."""

    budgets: tuple[Budget, ...] = ()
    routing_rules: tuple[RoutingRule, ...] = ()
    opt_out_header: str = ""
    namespace_teams: Mapping[str, str] = {}
    states: tuple[FileState, ...] = ()

    def merged(self, policy: Policy) -> Policy:
        """The policy as it governs calls: of the machine's own account with what the files say in front."""
        if policy.account_id != LOCAL_ACCOUNT_ID:
            return policy
        return msgspec.structs.replace(
            policy,
            budgets=(*self.budgets, *policy.budgets),
            routing_rules=(*self.routing_rules, *policy.routing_rules),
            opt_out_header=self.opt_out_header,
        )


NO_FILES: Final = FileConfiguration()


def configuration_files(data_dir: Path, routing_file: Path | None) -> ConfigurationFiles:
    """The files of a machine that keeps its data there; `routing_file` where its rules are elsewhere."""
    return ConfigurationFiles(
        budgets=data_dir / "budgets.json",
        routing=routing_file or data_dir / "routing.json",
        namespace_map=data_dir / "namespace_map.json",
        kept=data_dir,
    )


_Content = tuple[FileConfiguration, int]  # and how many entries


class WatchedFiles:
    """The files, looked at whenever somebody asks. For one thread.

    Files are small and are read whole each time: neither their times nor their sizes tell every change.
    """

    def __init__(self, files: ConfigurationFiles, clock: Clock) -> None:
        self._clock = clock
        self._watched: dict[FileName, _Watched] = {
            "budgets.json": _Watched(files.budgets, files.kept, _budgets),
            "routing.json": _Watched(files.routing, files.kept, _routing),
            "namespace_map.json": _Watched(files.namespace_map, files.kept, _namespaces),
        }
        self.configuration = NO_FILES

    def look(self) -> FileConfiguration:
        """What the files say now; the same object as before where nothing has changed."""
        now = self._clock.now()
        changes = [each.look(now) for each in self._watched.values()]
        if any(changes):
            self.configuration = FileConfiguration(
                budgets=self._watched["budgets.json"].content.budgets,
                routing_rules=self._watched["routing.json"].content.routing_rules,
                opt_out_header=self._watched["routing.json"].content.opt_out_header,
                namespace_teams=self._watched["namespace_map.json"].content.namespace_teams,
                states=tuple(each.state_of(name) for name, each in self._watched.items()),
            )
        return self.configuration


class _Watched:
    """One file: what it held when last looked at, and what was last good in it."""

    def __init__(self, path: Path, kept: Path, read: Callable[[bytes], _Content]) -> None:
        self._path = path
        self._kept = kept / f".{path.name}.last-good"
        self._read = read
        self._seen: object = ""  # nothing that a look gives
        self._state: State = "absent"
        self._entries = 0
        self._changed_at: datetime | None = None
        self._complaints: tuple[str, ...] = ()
        self.content = NO_FILES

    def look(self, now: datetime) -> bool:
        """Whether something is otherwise than at the last look."""
        is_first = self._seen == ""
        data, trouble = _data_at(self._path)
        seen = trouble or (None if data is None else hashlib.blake2b(data).digest())
        if seen == self._seen:
            return False
        self._seen = seen
        content, complaints = (None, (trouble,)) if trouble else self._content(data)
        if content is None:
            self._state, self._complaints = "refused", complaints
            if is_first:
                self._take_kept(now)
            return True
        self._state, self._complaints = ("absent" if data is None else "in_force"), ()
        self.content, self._entries = content
        self._changed_at = None if data is None else now
        self._keep(data)
        return True

    def state_of(self, name: FileName) -> FileState:
        """What became of it."""
        return FileState(
            file=name,
            state=self._state,
            entries=self._entries,
            changed_at=self._changed_at,
            complaints=self._complaints,
        )

    def _content(self, data: bytes | None) -> tuple[_Content | None, tuple[str, ...]]:
        """What the file holds; None where it makes no sense, and why."""
        if data is None:
            return (NO_FILES, 0), ()
        # Loaded where there is a file: most machines have none, and a start would wait for it.
        from metering.file_formats import FileRefused  # noqa: PLC0415 - see above

        try:
            return self._read(data), ()
        except FileRefused as refused:
            return None, refused.complaints

    def _take_kept(self, now: datetime) -> None:
        data, trouble = _data_at(self._kept)
        if data is None or trouble:
            return
        content, _ = self._content(data)
        if content is not None:  # else it is of another version of ours, and nothing is in force
            self.content, self._entries = content
            self._changed_at = now

    def _keep(self, data: bytes | None) -> None:
        # Where it cannot be kept, a restart with a bad file begins without one; nothing else changes.
        with contextlib.suppress(OSError):
            if data is None:
                self._kept.unlink(missing_ok=True)
            elif _data_at(self._kept)[0] != data:
                draft = self._kept.with_name(f"{self._kept.name}.{secrets.token_hex(8)}")
                draft.write_bytes(data)
                draft.replace(self._kept)


def _data_at(path: Path) -> tuple[bytes | None, str]:
    """What the file holds, None where there is none; and what is wrong with reading it, "" if nothing."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None, "the file cannot be read: it is no regular file"
            data = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        # A link to a volume that is not there just now is no file that somebody deleted.
        return None, "the file cannot be read: its link leads nowhere" if path.is_symlink() else ""
    except OSError as error:
        return None, f"the file cannot be read: {error.strerror}"
    if len(data) > FILE_BYTES_MAX:
        return None, f"the file is larger than {FILE_BYTES_MAX} bytes"
    return data, ""


def _open_at_once(path: str, flags: int) -> int:
    """The file's number; a pipe that nobody writes to is not waited for."""
    return os.open(path, flags | os.O_NONBLOCK)


def _budgets(data: bytes) -> _Content:
    from metering.file_formats import read_budgets  # noqa: PLC0415 - see `_Watched`

    budgets = read_budgets(data)
    return FileConfiguration(budgets=budgets), len(budgets)


def _routing(data: bytes) -> _Content:
    from metering.file_formats import read_routing  # noqa: PLC0415 - see `_Watched`

    rules, opt_out_header = read_routing(data)
    return FileConfiguration(routing_rules=rules, opt_out_header=opt_out_header), len(rules)


def _namespaces(data: bytes) -> _Content:
    from metering.file_formats import read_namespaces  # noqa: PLC0415 - see `_Watched`

    teams = read_namespaces(data)
    return FileConfiguration(namespace_teams=teams), len(teams)
