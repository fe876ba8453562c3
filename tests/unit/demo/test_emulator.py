"""How the Firestore emulator is found: on machines made of a few files, never on this one."""

import json
import stat
from pathlib import Path

import pytest

from demo import emulator
from demo.emulator import EmulatorMissing, command, running_emulator

SDK_JAR = "platform/cloud-firestore-emulator/cloud-firestore-emulator.jar"
FIREBASE_JAR = ".cache/firebase/emulators/cloud-firestore-emulator-v1.22.0.jar"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty machine: `bin` is all that PATH has, `home` is home, and no SDK stands anywhere."""
    for folder in ("bin", "home", "work"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CLOUDSDK_ROOT", raising=False)
    monkeypatch.delenv("FIRESTORE_EMULATOR_HOST", raising=False)
    monkeypatch.setattr(emulator, "_DEBIAN_SDK", tmp_path / "debian")
    return tmp_path


def _program(machine: Path, name: str, script: str) -> None:
    path = machine / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def _java(machine: Path, version: str) -> None:
    _program(machine, "java", f"echo 'openjdk version \"{version}\" 2025-04-15' >&2")


def _file(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def test_on_a_machine_without_anything_one_line_names_the_remedies(machine: Path) -> None:
    with pytest.raises(EmulatorMissing) as missing:
        command(1234, None, machine / "work")

    said = str(missing.value)
    assert "\n" not in said
    for remedy in ("FIRESTORE_EMULATOR_HOST", "Java", "gcloud components install", "firebase-tools"):
        assert remedy in said


@pytest.mark.parametrize("root", ["debian", "home/google-cloud-sdk", "elsewhere", "told"])
def test_the_sdks_emulator_is_started_by_java_without_gcloud(
    machine: Path, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    _java(machine, "17.0.15")
    monkeypatch.setenv("CLOUDSDK_ROOT", str(machine / "elsewhere"))
    _program(machine, "gcloud", f"echo {machine / 'told'}")
    jar = _file(machine / root / SDK_JAR)
    _file(machine / "home" / FIREBASE_JAR)

    started = command(1234, Path("firestore.rules"), machine / "work")

    assert started[0] == str(machine / "bin" / "java")
    assert started[started.index("-cp") + 1] == str(jar)
    assert started[-3:] == ["--host=127.0.0.1", "--port=1234", "--rules=firestore.rules"]


def test_the_emulator_that_firebase_tools_downloaded_comes_next(machine: Path) -> None:
    _java(machine, "21")
    jar = _file(machine / "home" / FIREBASE_JAR)

    started = command(1234, None, machine / "work")

    assert started[-4:] == ["-jar", str(jar), "--host=127.0.0.1", "--port=1234"]


@pytest.mark.parametrize(
    ("version", "is_enough"), [("10.0.2", False), ("1.8.0_402", False), ("11.0.1", True)]
)
def test_java_has_to_be_new_enough(machine: Path, version: str, is_enough: bool) -> None:
    _java(machine, version)
    _file(machine / "debian" / SDK_JAR)
    _program(machine, "npx", "echo 15.0.0")

    started = command(1234, None, machine / "work")

    assert started[0].endswith("java") is is_enough


def test_firebase_tools_start_it_last_on_the_port_they_are_told(machine: Path) -> None:
    _program(machine, "npx", "echo 15.0.0")
    rules = machine / "our.rules"
    rules.write_text("rules_version = '2';")

    started = command(1234, rules, machine / "work")

    configuration = json.loads(Path(started[started.index("--config") + 1]).read_text())
    assert started[1:4] == ["--no-install", "firebase", "emulators:start"]
    assert configuration["emulators"]["firestore"]["port"] == 1234
    assert (machine / "work" / configuration["firestore"]["rules"]).read_text() == rules.read_text()


def test_an_emulator_that_does_not_start_is_reported_with_its_last_words(machine: Path) -> None:
    _program(
        machine, "java", 'case "$1" in -version) echo \'version "17"\' ;; *) echo no memory; exit 1 ;; esac'
    )
    _file(machine / "debian" / SDK_JAR)

    with pytest.raises(EmulatorMissing, match="it says: no memory"), running_emulator():
        pass


def test_an_emulator_that_is_named_but_does_not_answer_is_reported(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", "127.0.0.1:1")

    with pytest.raises(EmulatorMissing, match="nothing answers there"), running_emulator():
        pass
