"""Known weaknesses of every locked package; and that somebody who knows was really asked.

pip-audit asks OSV (https://osv.dev) of each version. Who knows nothing answers like who finds nothing: so a
version that is known to be weak is asked of first, and a service that tells nothing of it is blind. Whatever
keeps it from looking at every package fails the audit. What is let be for a while stands in
`requirements/let-be.toml`, with why and until when, 90 days ahead at most.
"""

import json
import re
import subprocess
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

OSV_URL: Final = "https://api.osv.dev/v1/query"
PROGRAM: Final = Path(".make/audit/env/bin/pip-audit")
LOCKS: Final = "requirements/*.txt"
# Images, and packages of which a list is read and nothing ever run (.ci/compile_passwords.py).
NOT_AUDITED: Final = frozenset({"images.txt", "common-passwords.txt"})
LET_BE: Final = Path("requirements/let-be.toml")
LET_BE_DAYS_MAX: Final = 90
WORDS_OF_A_REASON: Final = 5
ASK_SECONDS_MAX: Final = 600
ANSWER_SECONDS_MAX: Final = 15
# CVE-2018-18074, in every list of weaknesses for years.
KNOWN_TO_BE_WEAK: Final = ("requests", "2.19.1")
_PINNED: Final = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)

Package = tuple[str, str]  # its name as packages are compared, and its version


class AuditFailed(Exception):
    """Something known to be weak is locked, or it is not known whether something is."""


@dataclass(frozen=True)
class Weakness:
    """A known weakness of a locked version, by each of its names."""

    package: str
    version: str
    names: frozenset[str]
    mended_in: tuple[str, ...]

    def __str__(self) -> str:
        mended = f"mended in {', '.join(self.mended_in)}" if self.mended_in else "not mended yet"
        return f"{'/'.join(sorted(self.names))} in {self.package} {self.version} ({mended})"


@dataclass(frozen=True)
class LetBe:
    """A weakness of a package that is known and let be until that day."""

    name: str
    package: str
    until: date

    def covers(self, weakness: Weakness) -> bool:
        """Whether it is this one."""
        return self.name in weakness.names and self.package == weakness.package


def audit(folder: Path, today: date, osv_url: str = OSV_URL, program: Path = PROGRAM) -> str:
    """What was looked at, in a line. Raises: AuditFailed, with everything that is wrong."""
    let_be = exceptions(folder / LET_BE, today)
    locked = packages(folder)
    if not locked:
        raise AuditFailed(f"no package is locked in {LOCKS}")
    if not _ask(folder / program, [KNOWN_TO_BE_WEAK], osv_url):
        named = " ".join(KNOWN_TO_BE_WEAK)
        raise AuditFailed(f"{osv_url} is blind: it tells of no weakness of {named}, which has some")
    found = [each for batch in batches(locked) for each in _ask(folder / program, batch, osv_url)]
    bad = [each for each in found if not any(one.covers(each) for one in let_be)]
    idle = [each for each in let_be if not any(each.covers(one) for one in found)]
    if bad or idle:
        told = [str(each) for each in bad]
        told += [
            f"{each.name} in {each.package} is let be in {LET_BE} and not found any more" for each in idle
        ]
        raise AuditFailed("; ".join(sorted(told)))
    held = "".join(f"; {each.name} in {each.package} let be until {each.until}" for each in let_be)
    return f"{len(locked)} locked packages looked at, nothing known of any{' other' if let_be else ''}{held}"


def packages(folder: Path) -> frozenset[Package]:
    """Every version that some lock file names, for whatever platform. Raises: AuditFailed."""
    found: set[Package] = set()
    for path in sorted(folder.glob(LOCKS)):
        if path.name in NOT_AUDITED:
            continue
        pinned = _PINNED.findall(path.read_text())
        if not pinned:
            raise AuditFailed(f"{path.relative_to(folder)} locks nothing that is understood")
        found.update((_normalised(name), version) for name, version in pinned)
    return frozenset(found)


def batches(locked: Iterable[Package]) -> list[list[Package]]:
    """The packages in lists in which each stands in one version, as pip-audit wants it."""
    made: list[dict[str, str]] = []
    for name, version in sorted(locked):
        batch = next((each for each in made if name not in each), None)
        if batch is None:
            batch = {}
            made.append(batch)
        batch[name] = version
    return [list(each.items()) for each in made]


def exceptions(path: Path, today: date) -> list[LetBe]:
    """What is let be. Raises: AuditFailed, where one says too little, or is over, or lasts too long."""
    entries: list[dict[str, Any]] = tomllib.loads(path.read_text()).get("weakness", [])
    return [_exception(entry, path.name, today) for entry in entries]


def _exception(entry: Mapping[str, Any], file: str, today: date) -> LetBe:
    name, until = entry.get("name"), entry.get("until")
    if not name or not entry.get("package") or type(until) is not date:
        raise AuditFailed(f"{file}: give name, package, why and until (a day) of {name or 'each'}")
    if len(str(entry.get("why", "")).split()) < WORDS_OF_A_REASON:
        raise AuditFailed(f"{file}: say why {name} is let be")
    if until < today:
        raise AuditFailed(f"{file}: {name} was let be until {until}: mend it, or say anew why not")
    if until > today + timedelta(days=LET_BE_DAYS_MAX):
        raise AuditFailed(f"{file}: {name} is let be for longer than {LET_BE_DAYS_MAX} days")
    return LetBe(name, _normalised(entry["package"]), until)


def _ask(program: Path, batch: Sequence[Package], osv_url: str) -> list[Weakness]:
    """What is known of these. Raises: AuditFailed, unless each was looked at."""
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "asked.txt"
        asked.write_text("".join(f"{name}=={version}\n" for name, version in batch))
        options = [f"--requirement={asked}", "--no-deps", "--disable-pip", "--strict", "--format=json"]
        options += ["--vulnerability-service=osv", f"--osv-url={osv_url}", "--progress-spinner=off"]
        options += [f"--timeout={ANSWER_SECONDS_MAX}", f"--cache-dir={folder}/cache"]
        try:
            done = subprocess.run(  # nosec B603 # noqa: S603 - a program of ours, and names out of lock files
                [program, *options], capture_output=True, text=True, timeout=ASK_SECONDS_MAX, check=False
            )
        except FileNotFoundError:
            raise AuditFailed("pip-audit is not installed: `make audit` installs it") from None
        except subprocess.TimeoutExpired:
            raise AuditFailed(f"no answer of {osv_url} within {ASK_SECONDS_MAX} s") from None
    return _told(done, batch, osv_url)


def _told(done: subprocess.CompletedProcess[str], batch: Sequence[Package], osv_url: str) -> list[Weakness]:
    try:
        told: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
        seen = {(_normalised(each["name"]), each["version"]): each["vulns"] for each in told}
    except (ValueError, KeyError, TypeError):
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise AuditFailed(f"could not look at {osv_url}: {lines[-1][:200]}") from None
    if missing := set(batch) - seen.keys():
        raise AuditFailed(f"not looked at: {', '.join(sorted(name for name, _ in missing))}")
    return [
        Weakness(name, version, frozenset({each["id"], *each["aliases"]}), tuple(each["fix_versions"]))
        for (name, version), weaknesses in seen.items()
        for each in weaknesses
    ]


def _normalised(name: str) -> str:
    """https://packaging.python.org/en/latest/specifications/name-normalization/, read 2026-11-21."""
    return re.sub(r"[-_.]+", "-", name).lower()
