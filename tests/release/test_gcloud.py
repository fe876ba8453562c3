"""Whatever gcloud does, it ends in an answer or in one kind of failure, which a release goes back for."""

from pathlib import Path

import pytest

from infra.release.gcloud import Gcloud, GcloudFailed


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that programs are looked for in first."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path


def gcloud_that(does: str, programs: Path) -> Gcloud:
    program = programs / "gcloud"
    program.write_text(f"#!/bin/sh\n{does}\n")
    program.chmod(0o755)
    return Gcloud("a-project", "europe-west1")


@pytest.mark.parametrize(
    "does",
    [
        "printf '\\377\\376'",
        "echo '<html>'",
        "printf '[%.0s' $(seq 100000)",
        "exec sleep 60",
        "printf '\\377' >&2; exit 1",
        "kill -9 $$",
    ],
)
def test_garbage_silence_and_a_bad_end_are_one_kind_of_failure(does: str, programs: Path) -> None:
    with pytest.raises(GcloudFailed):
        gcloud_that(does, programs).ask("run", "services", "list", seconds=0.5)


def test_a_gcloud_that_is_not_there_is_one_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(GcloudFailed, match="cannot be run"):
        Gcloud("a-project", "europe-west1").run("version")
