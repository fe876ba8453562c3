"""The Firestore emulator: found where it runs already, else started for as long as it is needed.

Looked for in this order: FIRESTORE_EMULATOR_HOST; the Google Cloud SDK's emulator and Java; the one that
firebase-tools has downloaded, and Java; firebase-tools through npx. What is missing is said in one line.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROJECT = "demo-modeltrack"
STARTS_MAX = 3
READY_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 10.0
QUESTION_SECONDS_MAX = 20.0
JAVA_MAJOR_MIN = 11

_MAIN_CLASS = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
_SDK_JAR = Path("platform/cloud-firestore-emulator/cloud-firestore-emulator.jar")
_DEBIAN_SDK = Path("/usr/lib/google-cloud-sdk")
_HOME_SDK = Path("google-cloud-sdk")
_FIREBASE_JARS = Path(".cache/firebase/emulators")
_REMEDIES = (
    "no Firestore emulator: set FIRESTORE_EMULATOR_HOST to a running one, or install Java 11 or newer and "
    "'gcloud components install cloud-firestore-emulator' (Debian: google-cloud-cli-firestore-emulator), "
    "or install firebase-tools"
)
# Starts what is given and ends it when our end of the pipe closes, however we end.
_KEEPER = (
    'exec 3<&0; "$@" </dev/null 3<&- & child=$!; '
    "(read -r _ <&3; kill $child 2>/dev/null) & exec 3<&-; wait $child"
)


class EmulatorMissing(Exception):
    """There is no emulator here, or it does not start. The text says what to install."""


@contextmanager
def running_emulator(rules: Path | None = None) -> Iterator[str]:
    """The address (`host:port`) of an emulator that answers. One that runs already is never stopped.

    Raises: EmulatorMissing, in one line.
    """
    given = os.environ.get("FIRESTORE_EMULATOR_HOST")
    if given:
        if not is_ready(given):
            raise EmulatorMissing(f"FIRESTORE_EMULATOR_HOST is set to {given}, but nothing answers there")
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="firestore-emulator-") as folder:
        process, address = _started(Path(folder), rules)
        try:
            yield address
        finally:
            _stop(process)


def is_ready(address: str) -> bool:
    """Whether an emulator answers there."""
    try:
        with urllib.request.urlopen(f"http://{address}/", timeout=QUESTION_SECONDS_MAX) as answer:
            return bool(answer.read(16).startswith(b"Ok"))
    except (OSError, ValueError):
        return False


def command(port: int, rules: Path | None, folder: Path) -> list[str]:
    """What starts an emulator on this machine. `folder` is free for its configuration.

    Raises: EmulatorMissing.
    """
    flags = ["--host=127.0.0.1", f"--port={port}", *([f"--rules={rules}"] if rules else [])]
    java = _java()
    if java:
        jar = next((root / _SDK_JAR for root in _sdk_roots() if (root / _SDK_JAR).is_file()), None)
        if jar:
            return [java, "-Xmx1g", "-Duser.language=en", "-cp", str(jar), _MAIN_CLASS, "start", *flags]
        downloaded = sorted((Path.home() / _FIREBASE_JARS).glob("cloud-firestore-emulator-v*.jar"))
        if downloaded:
            return [java, "-Xmx1g", "-Duser.language=en", "-jar", str(downloaded[-1]), *flags]
    npx = shutil.which("npx")
    if npx and _answer([npx, "--no-install", "firebase", "--version"]):
        configuration = _firebase_configuration(folder, port, rules)
        return [
            *(npx, "--no-install", "firebase", "emulators:start", "--only", "firestore"),
            *("--project", PROJECT, "--config", str(configuration)),
        ]
    raise EmulatorMissing(_REMEDIES)


def _sdk_roots() -> Iterator[Path]:
    if os.environ.get("CLOUDSDK_ROOT"):
        yield Path(os.environ["CLOUDSDK_ROOT"])
    yield from (_DEBIAN_SDK, Path.home() / _HOME_SDK)
    gcloud = shutil.which("gcloud")
    if gcloud:
        # Asked last, since it takes a second.
        told = _answer([gcloud, "info", "--format=value(installation.sdk_root)"]).strip()
        if told:
            yield Path(told)


def _java() -> str:
    """The path of a Java that is new enough, else ""."""
    java = shutil.which("java")
    found = re.search(r'version "(\d+)', _answer([java, "-version"])) if java else None
    return java if java and found and int(found[1]) >= JAVA_MAJOR_MIN else ""


def _answer(question: list[str]) -> str:
    """All that a program prints; "" when it fails."""
    try:
        done = subprocess.run(
            question,
            capture_output=True,
            text=True,
            timeout=QUESTION_SECONDS_MAX,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout + done.stderr


def _firebase_configuration(folder: Path, port: int, rules: Path | None) -> Path:
    if rules:
        shutil.copy(rules, folder / "firestore.rules")
    path = folder / "firebase.json"
    path.write_text(
        json.dumps(
            {
                "firestore": {"rules": "firestore.rules"} if rules else {},
                "emulators": {
                    "firestore": {"host": "127.0.0.1", "port": port},
                    "ui": {"enabled": False},
                    "hub": {"host": "127.0.0.1", "port": _free_port()},
                    "logging": {"host": "127.0.0.1", "port": _free_port()},
                },
            }
        )
    )
    return path


def _started(folder: Path, rules: Path | None) -> tuple[subprocess.Popen[bytes], str]:
    # A free port may be taken by another before Java takes it, so a start may have to be tried again.
    for _ in range(STARTS_MAX):
        port = _free_port()
        address = f"127.0.0.1:{port}"
        log = folder / "emulator.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["/bin/sh", "-c", _KEEPER, "sh", *command(port, rules, folder)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        if _becomes_ready(process, address):
            return process, address
        _stop(process)
    said = log.read_text(errors="replace").strip().splitlines() or ["nothing"]
    raise EmulatorMissing(f"the Firestore emulator does not start; it says: {said[-1]}")


def _becomes_ready(process: subprocess.Popen[bytes], address: str) -> bool:
    deadline = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return False
        if is_ready(address):
            return True
        time.sleep(0.1)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_SECONDS_MAX)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
