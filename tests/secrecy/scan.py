"""Looks for secrets in all files that git has or would take: `python -m tests.secrecy.scan`, by `make check`.

detect-secrets looks, with `key_detector` besides its own detectors, and asks nobody whether what it finds is
valid. What looks like a secret and is none stands in `none.toml`, with the reason. A file that was looked at
is not looked at again until it, or anything that finds, changes.
"""

import hashlib
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import chdir
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.core.scan import scan_file
from detect_secrets.settings import transient_settings

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
LIST: Final = HERE / "none.toml"
SEEN: Final = Path(".make/secrecy.json")
SEEN_BYTES_MAX: Final = 4 * 2**20
# Addresses of machines, of which docs and tests are full, are no secret.
_LEFT_OUT: Final = {"IPPublicDetector", "KeyDetector"}
_FILTERS: Final = (
    "is_indirect_reference",
    "is_likely_id_string",
    "is_not_alphanumeric_string",
    "is_potential_uuid",
    "is_prefixed_with_dollar_sign",
    "is_sequential_string",
    "is_templated_secret",
)


@dataclass(frozen=True)
class Found:
    """What looks like a secret: where, of what kind, and itself, which is told to nobody."""

    path: str
    line: int
    kind: str
    word: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.kind}"


@dataclass(frozen=True)
class Exceptions:
    """What `none.toml` says: words that are no secrets, files and lines that hold none."""

    words: frozenset[str]
    files: tuple[str, ...]
    lines: tuple[str, ...]

    def covers(self, path: str) -> bool:
        """Whether the file is not looked into."""
        return any(fnmatchcase(path, pattern) for pattern in self.files)


def exceptions(path: Path = LIST) -> Exceptions:
    """The list, read. Raises: ValueError, where something in it gives no reason."""
    read = tomllib.loads(path.read_text())
    entries = [entry for kind in ("words", "files", "lines") for entry in read.get(kind, [])]
    silent = [entry for entry in entries if not entry.get("why", "").strip()]
    if silent or read.keys() - {"words", "files", "lines"}:
        raise ValueError(f"{path.name}: say why of each: {silent}")
    return Exceptions(
        words=frozenset(word for entry in read.get("words", []) for word in entry["are"]),
        files=tuple(pattern for entry in read.get("files", []) for pattern in entry["are"]),
        lines=tuple(pattern for entry in read.get("lines", []) for pattern in entry["are"]),
    )


def files_of(root: Path) -> list[str]:
    """What git has and what it would take. Raises: CalledProcessError, where it cannot say."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=root, capture_output=True, text=True, check=True).stdout
    return sorted({name for name in listed.split("\0") if name and (root / name).is_file()})


def look(paths: Sequence[str], lines: Sequence[str]) -> list[Found]:
    """What looks like a secret in these files, but for lines of those forms."""
    with transient_settings(_settings(lines)):
        return sorted(
            {
                Found(path, found.line_number, found.type, found.secret_value or "")
                for path in paths
                for found in scan_file(path)
            },
            key=str,
        )


def _settings(lines: Sequence[str]) -> dict[str, Any]:
    detectors: Collection[type] = get_mapping_from_secret_type_to_class().values()
    known = {detector.__name__ for detector in detectors} - _LEFT_OUT
    get_mapping_from_secret_type_to_class.cache_clear()  # it remembers its own alone, and not to ask for ours
    ours = {"name": "KeyDetector", "path": f"file://{HERE / 'key_detector.py'}"}
    heuristics = [{"path": f"detect_secrets.filters.heuristic.{name}"} for name in _FILTERS]
    of_lines = {"path": "detect_secrets.filters.regex.should_exclude_line", "pattern": list(lines)}
    return {
        "plugins_used": [*({"name": name} for name in sorted(known)), ours],
        "filters_used": [*heuristics, of_lines],
    }


def main(root: Path = ROOT, listed: Path = LIST) -> int:
    """Look everywhere; 1 where something is found, or where an exception excepts nothing any more."""
    with chdir(root):
        excepted = exceptions(listed)
        paths = [path for path in files_of(root) if not excepted.covers(path)]
        bad, words = _judged(paths, excepted)
    idle = set() if bad else excepted.words - words
    for found in bad:
        sys.stderr.write(f"{found}: looks like a secret (if it is none, tests/secrecy/none.toml says why)\n")
    for word in sorted(idle):
        sys.stderr.write(f"tests/secrecy/none.toml: nothing is found any more that is {word!r}\n")
    return 1 if bad or idle else 0


def _judged(paths: Sequence[str], excepted: Exceptions) -> tuple[list[Found], set[str]]:
    """What looks like a secret and is on no list; the words that are found and on the list."""
    digests = {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths}
    known = _seen(excepted)
    new = [path for path in paths if known.get(path, {}).get("digest") != digests[path]]
    found = list(_look_at_once(new, excepted.lines))
    bad = [each for each in found if each.word not in excepted.words]
    _keep(known, digests, found, {each.path for each in bad}, excepted)
    return bad, {word for path in paths for word in known.get(path, {}).get("words", ())}


def _look_at_once(paths: Sequence[str], lines: Sequence[str]) -> Iterator[Found]:
    count = os.cpu_count() or 1
    if len(paths) < 8 * count:
        yield from look(paths, lines)
        return
    with ProcessPoolExecutor(count) as pool:
        for found in pool.map(look, [paths[each::count] for each in range(count)], [lines] * count):
            yield from found


def _stamp(excepted: Exceptions) -> str:
    """What changes with anything that finds; words that are allowed do not change what is found."""
    own = "".join((HERE / name).read_text() for name in ("scan.py", "key_detector.py"))
    return hashlib.sha256(f"{own}{version('detect-secrets')}{excepted.lines}".encode()).hexdigest()


def _seen(excepted: Exceptions) -> dict[str, dict[str, Any]]:
    """What is known of files that were looked at: their digest, and the allowed words in them."""
    try:
        if SEEN.stat().st_size > SEEN_BYTES_MAX:
            return {}
        read = json.loads(SEEN.read_text())
    except (OSError, ValueError):
        return {}
    if read.get("stamp") != _stamp(excepted):
        return {}
    files: dict[str, dict[str, Any]] = read["files"]
    return {path: each for path, each in files.items() if excepted.words.issuperset(each["words"])}


def _keep(
    known: dict[str, dict[str, Any]],
    digests: Mapping[str, str],
    found: Iterable[Found],
    bad: set[str],
    excepted: Exceptions,
) -> None:
    """Remember files in which nothing was found but what is allowed: nothing else is written down."""
    words: dict[str, set[str]] = {}
    for each in found:
        words.setdefault(each.path, set()).add(each.word)
    for path, digest in digests.items():
        if path in bad:
            known.pop(path, None)
        elif known.get(path, {}).get("digest") != digest:
            known[path] = {"digest": digest, "words": sorted(words.get(path, set()))}
    kept = {path: known[path] for path in digests if path in known}
    SEEN.parent.mkdir(exist_ok=True)
    SEEN.write_text(json.dumps({"stamp": _stamp(excepted), "files": kept}))


if __name__ == "__main__":
    sys.exit(main())
