"""The audit fails for what is known to be weak, and wherever it is not known that somebody really looked."""

import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from infra.release.audit import (
    KNOWN_TO_BE_WEAK,
    LET_BE,
    LET_BE_DAYS_MAX,
    NOT_AUDITED,
    PROGRAM,
    AuditFailed,
    audit,
    batches,
    exceptions,
    packages,
)
from tests.doubles.osv import Osv, running_osv, weakness
from tests.release.checkout import ROOT, build

MISSING = ROOT / ".make/audit/missing"
TODAY = date(2026, 11, 21)
LOCK = """\
flask==3.1.0 \\
    --hash=sha256:{digits} \\
    --hash=sha256:{digits}
    # via -r run.in
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:{digits}
"""
ENTRY = '[[weakness]]\nname = "{name}"\npackage = "{package}"\nwhy = "{why}"\nuntil = {until}\n'
WHY = "nothing of ours ever calls it"

needs_pip_audit = pytest.mark.skipif(
    not (ROOT / ".make/audit/installed").exists(),
    reason=MISSING.read_text().strip() if MISSING.exists() else "no pip-audit: run `make audit`",
)

Audit = Callable[[], str]


@pytest.fixture
def osv() -> Iterator[Osv]:
    with running_osv() as running:
        running.known[KNOWN_TO_BE_WEAK] = [weakness("requests", "PYSEC-2018-28", "2.20.0")]
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/run.txt").write_text(LOCK.format(digits="a" * 64))
    (tmp_path / "requirements/images.txt").write_text("python docker.io/library/python@sha256:0\n")
    (tmp_path / LET_BE).write_text("")
    return tmp_path


@pytest.fixture
def look(folder: Path, osv: Osv) -> Audit:
    return lambda: audit(folder, TODAY, osv.url, ROOT / PROGRAM)


def let_be(folder: Path, *, package: str = "flask", why: str = WHY, until: date = TODAY) -> None:
    (folder / LET_BE).write_text(
        ENTRY.format(name="CVE-2026-1", package=package, why=why, until=until.isoformat())
    )


@needs_pip_audit
def test_every_locked_version_is_asked_of_whatever_platform_it_is_for(
    look: Audit, osv: Osv, folder: Path
) -> None:
    (folder / "requirements/other.txt").write_text(f"flask==3.0.3 \\\n    --hash=sha256:{'b' * 64}\n")

    assert look() == "3 locked packages looked at, nothing known of any"
    assert sorted(osv.asked) == [
        ("colorama", "0.4.6"), ("flask", "3.0.3"), ("flask", "3.1.0"), KNOWN_TO_BE_WEAK,
    ]  # fmt: skip


@needs_pip_audit
def test_what_is_known_to_be_weak_fails_it_by_all_its_names(look: Audit, osv: Osv) -> None:
    osv.known["flask", "3.1.0"] = [weakness("flask", "PYSEC-2026-7", "3.1.1", "CVE-2026-1")]

    with pytest.raises(AuditFailed, match=r"CVE-2026-1/PYSEC-2026-7 in flask 3\.1\.0 \(mended in 3\.1\.1\)"):
        look()


@needs_pip_audit
def test_a_service_that_knows_nothing_at_all_is_blind(look: Audit, osv: Osv) -> None:
    osv.says = b"{}"

    with pytest.raises(AuditFailed, match="is blind"):
        look()


@needs_pip_audit
@pytest.mark.parametrize(
    ("status", "says"),
    [(503, b"{}"), (200, b""), (200, b"<html>sign in to this network</html>")],
    ids=["unavailable", "silent", "another page"],
)
def test_a_service_that_gives_no_answer_fails_it(look: Audit, osv: Osv, status: int, says: bytes) -> None:
    osv.status, osv.says = status, says

    with pytest.raises(AuditFailed, match="could not look"):
        look()


@needs_pip_audit
def test_a_service_that_falls_silent_midway_fails_it(look: Audit, osv: Osv) -> None:
    osv.fails_for = "flask"

    with pytest.raises(AuditFailed, match="could not look"):
        look()


@needs_pip_audit
def test_without_a_network_it_fails(folder: Path) -> None:
    with pytest.raises(AuditFailed, match="could not look"):
        audit(folder, TODAY, "http://127.0.0.1:1/v1/query", ROOT / PROGRAM)


@needs_pip_audit
def test_what_is_let_be_for_a_while_is_told_and_what_is_over_is_not(
    look: Audit, osv: Osv, folder: Path
) -> None:
    osv.known["flask", "3.1.0"] = [weakness("flask", "PYSEC-2026-7", "3.1.1", "CVE-2026-1")]
    let_be(folder, package="Flask")
    assert look().endswith("nothing known of any other; CVE-2026-1 in flask let be until 2026-11-21")
    osv.known["colorama", "0.4.6"] = [weakness("colorama", "CVE-2026-1")]

    with pytest.raises(AuditFailed, match="colorama"):  # let be of the one package, and not of another
        look()


@needs_pip_audit
def test_what_is_let_be_and_no_longer_there_fails_it(look: Audit, folder: Path) -> None:
    let_be(folder)

    with pytest.raises(AuditFailed, match="not found any more"):
        look()


@needs_pip_audit
@pytest.mark.parametrize("status", [0, 1])
def test_the_step_of_a_release_ends_as_the_audit_does(osv: Osv, status: int) -> None:
    step = next(step for step in build()["steps"] if step["id"] == "audit")
    url = "http://127.0.0.1:1/" if status else osv.url

    done = subprocess.run(
        [step["entrypoint"], *step["args"], f"--osv-url={url}"],
        cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == status, done.stderr
    assert ("locked packages looked at" in done.stdout) == (status == 0)


def test_without_pip_audit_it_fails(folder: Path) -> None:
    with pytest.raises(AuditFailed, match="not installed"):
        audit(folder, TODAY, "http://127.0.0.1:1/")


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ("", "could not look"),
        ('{"dependencies": []}', "not looked at: requests"),
        ('{"dependencies": [{"name": "requests", "skip_reason": "not found"}]}', "could not look"),
    ],
    ids=["nothing", "no package", "left out"],
)
def test_a_package_that_was_not_looked_at_fails_it(folder: Path, says: str, why: str) -> None:
    program = folder / "pip-audit"
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)

    with pytest.raises(AuditFailed, match=why):
        audit(folder, TODAY, "http://127.0.0.1:1/", program)


@pytest.mark.parametrize("lock", ["", "# nothing\n", "flask>=3\n"])
def test_a_lock_file_that_is_not_understood_fails_it(folder: Path, lock: str) -> None:
    (folder / "requirements/other.txt").write_text(lock)

    with pytest.raises(AuditFailed, match=r"other\.txt locks nothing"):
        packages(folder)


def test_our_own_lock_files_are_understood_to_the_last_package() -> None:
    pins = sum(
        line.count("==") > 0 and not line.startswith((" ", "#"))
        for path in ROOT.glob("requirements/*.txt")
        if path.name not in NOT_AUDITED
        for line in path.read_text().splitlines()
    )
    found = packages(ROOT)

    assert 150 < len(found) <= pins
    assert sorted(each for batch in batches(found) for each in batch) == sorted(found)


@pytest.mark.parametrize(("days", "is_let_be"), [(-1, False), (0, True), (LET_BE_DAYS_MAX, True),
                                                 (LET_BE_DAYS_MAX + 1, False)])  # fmt: skip
def test_an_exception_has_an_end(folder: Path, days: int, is_let_be: bool) -> None:
    let_be(folder, until=TODAY + timedelta(days=days))

    if is_let_be:
        assert exceptions(folder / LET_BE, TODAY)
    else:
        with pytest.raises(AuditFailed, match="let be"):
            exceptions(folder / LET_BE, TODAY)


@pytest.mark.parametrize("why", ["", "not ours"])
def test_an_exception_says_why(folder: Path, why: str) -> None:
    let_be(folder, why=why)

    with pytest.raises(AuditFailed, match="say why"):
        exceptions(folder / LET_BE, TODAY)


def test_our_own_exceptions_say_everything() -> None:
    for each in exceptions(ROOT / LET_BE, TODAY):
        assert each.package in {name for name, _ in packages(ROOT)}
