"""The Pub/Sub emulator: the one PUBSUB_EMULATOR_HOST names, else that of the Google Cloud SDK, started."""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.doubles.waiting import until

READY_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 10.0
_JARS = "platform/pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar"


class PubSubEmulatorMissing(Exception):
    """There is none here. The text says what to install."""


@contextmanager
def running_pubsub_emulator() -> Iterator[str]:
    """The address (`host:port`) of an emulator that answers. Raises: PubSubEmulatorMissing."""
    given = os.environ.get("PUBSUB_EMULATOR_HOST")
    if given:
        yield given
        return
    java, jar = shutil.which("java"), _jar()
    if java is None or jar is None:
        raise PubSubEmulatorMissing(
            "no Pub/Sub emulator: set PUBSUB_EMULATOR_HOST to a running one, or install Java 11 or newer and "
            "'gcloud components install pubsub-emulator' (Debian: google-cloud-cli-pubsub-emulator)"
        )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    arguments = [java, "-Xmx256m", "-jar", str(jar), "--host=127.0.0.1", f"--port={address.split(':')[1]}"]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_until_ready(process, address)
        yield address
    finally:
        process.kill()
        process.wait(STOP_SECONDS_MAX)


def _jar() -> Path | None:
    roots = (
        os.environ.get("CLOUDSDK_ROOT"),
        "/usr/lib/google-cloud-sdk",
        str(Path.home() / "google-cloud-sdk"),
    )
    found = [jar for root in roots if root for jar in sorted(Path(root).glob(_JARS))]
    return found[-1] if found else None


def _wait_until_ready(process: subprocess.Popen[bytes], address: str) -> None:
    with contextlib.suppress(AssertionError):  # told below
        until(lambda: process.poll() is not None or _answers(address), seconds=READY_SECONDS_MAX)
    if not _answers(address):
        raise PubSubEmulatorMissing("the Pub/Sub emulator does not start")


def _answers(address: str) -> bool:
    try:
        return requests.get(f"http://{address}/", timeout=1).ok
    except requests.RequestException:
        return False
