"""What the Dockerfiles come to, without an engine: all that is needed and no more, and it serves.

Each runs as `tests.images.cell` says: with the image's files alone, as its user, everything read-only.
"""

import os
import secrets
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
import requests

from tests.images.cell import can_confine
from tests.images.conftest import SERVICES
from tests.images.container import Container
from tests.images.replay import Image
from tests.system.processes import Process, eventually

Start = Callable[..., Container]
Images = dict[str, Image]

SIGN_UP = {"email": "ada@example.com", "password": "correct horse", "account_name": "Ada & Co"}
ASKED = {"model": "claude-sonnet-4-6", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}
FUNCTION = ("python", "-m", "functions_framework", "--source", "api_service/functions/main.py", "--target")
KEPT_ON_A_VOLUME = ("cost_events", "modeltrack.db", "secret")
# Of the packages that we install, what Python runs at every start.
STARTERS = {"functions_framework": "a namespace package that lies in google/"}
NOT_COMPILED = """
import sys, os, {module}
loaded = [each for each in sys.modules.values() if getattr(each, "__cached__", None)]
print(*(each.__file__ for each in loaded if not os.path.exists(each.__cached__)))
"""


def output_of(image: Image, *command: str) -> subprocess.CompletedProcess[str]:
    """What the command says inside of the image."""
    return subprocess.run(image.command(*command), capture_output=True, text=True, timeout=60, check=False)


def called(proxy: Container) -> requests.Response:
    """The answer to a call through the proxy."""
    headers = {"x-api-key": "any", "anthropic-version": "2023-06-01"}
    return requests.post(f"{proxy.url}/v1/messages", json=ASKED, headers=headers, timeout=30)


@pytest.mark.battery("F7")
def test_both_services_serve_from_their_images_on_one_volume_and_write_nowhere_else(
    images: Images, data: Path, provider: Process, start: Start, record_property: Callable[[str, str], None]
) -> None:
    before = {name: image.files() for name, image in images.items()}
    proxy = start(
        images["proxy"], port_name="PROXY_PORT", writable={"/data": data},
        settings={"ANTHROPIC_BASE_URL": provider.url},
    )  # fmt: skip
    api = start(images["api"], writable={"/data": data})

    answer = called(proxy)
    person = requests.Session()
    assert person.post(f"{api.url}/v1/signup", json=SIGN_UP, timeout=20).status_code == 201
    events = eventually(
        lambda: person.get(f"{api.url}/v1/events", timeout=20).json()["data"], what="the event"
    )

    assert answer.status_code == 200, answer.text
    assert [each["request_id"] for each in events] == [answer.headers["X-ModelTrack-Request-ID"]]
    assert (proxy.health(), api.health()) == (0, 0)
    assert (proxy.stop(), api.stop()) == (0, 0), proxy.log.read_text() + api.log.read_text()
    assert {name: image.files() for name, image in images.items()} == before
    assert all(path.name.startswith(KEPT_ON_A_VOLUME) for path in data.iterdir())
    figures = ", ".join(f"{name} {image.megabytes:.0f} MB" for name, image in images.items())
    record_property("figure", f"images beside their base: {figures}; run {images['api'].cell.confinement}")


def test_the_dashboard_comes_whole_with_templates_scripts_and_style(
    images: Images, data: Path, start: Start
) -> None:
    api = start(images["api"], writable={"/data": data})

    page = requests.get(f"{api.url}/login", timeout=20)
    named = [part.split('"')[0] for part in page.text.split('"/static/')[1:]]

    assert page.status_code == 200
    assert named
    assert all(requests.get(f"{api.url}/static/{name}", timeout=20).ok for name in named)


@pytest.mark.battery("F7")
def test_a_proxy_on_firestore_needs_no_folder_at_all(
    images: Images, emulator: str, provider: Process, start: Start
) -> None:
    settings = {
        "STORE_URL": f"firestore://demo-{uuid4().hex[:20]}",
        "FIRESTORE_EMULATOR_HOST": emulator,
        "MODELTRACK_SECRET": secrets.token_hex(32),
        "JOURNAL": "stdout",
        "ANTHROPIC_BASE_URL": provider.url,
    }
    before = images["proxy"].files()
    proxy = start(images["proxy"], port_name="PROXY_PORT", settings=settings)

    answer = called(proxy)

    assert answer.status_code == 200, answer.text
    assert proxy.stop() == 0
    assert proxy.log.read_text().count(answer.headers["X-ModelTrack-Request-ID"]) >= 2  # admitted and settled
    assert images["proxy"].files() == before


def test_a_function_is_the_apis_image_with_another_entry_point(
    images: Images, emulator: str, start: Start
) -> None:
    settings = {"STORE_URL": f"firestore://demo-{uuid4().hex[:20]}", "FIRESTORE_EMULATOR_HOST": emulator}
    before = images["api"].files()
    function = start(images["api"], *FUNCTION, "reap", settings=settings)

    answer = requests.post(function.url, timeout=60)

    assert answer.status_code == 200, answer.text + function.log.read_text()
    assert isinstance(answer.json(), dict)
    assert function.stop() == 0
    assert "ERROR" not in function.log.read_text()
    assert images["api"].files() == before


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_reads_its_own_files_alone(images: Images, service: str) -> None:
    said = output_of(images[service], "python", "-c", f"import sys, {service}_service.main; print(sys.path)")

    assert said.returncode == 0, said.stderr
    assert "/venv/lib/" in said.stdout
    assert str(Path(__file__).parents[2]) not in said.stdout.replace(str(images[service].cell.tree), "")


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    "absent", ["pip", "setuptools", "pytest", "tests", "demo", "modeltrack_cli", "genai_prices"]
)
def test_an_image_cannot_load_what_it_is_not_to_have(images: Images, service: str, absent: str) -> None:
    said = output_of(images[service], "python", "-c", f"import {absent}")

    assert f"No module named '{absent}'" in said.stderr


@pytest.mark.skipif(not can_confine(), reason="needs root on Linux, and mounts")
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_runs_as_nobody_with_no_way_to_more_and_nowhere_to_write(
    images: Images, service: str
) -> None:
    asked = "id -u; grep -E 'Cap(Eff|Bnd)|NoNewPrivs' /proc/self/status; touch /app/x /venv/x /data/x /tmp/x"
    said = output_of(images[service], "sh", "-c", asked)

    assert said.stdout.split() == [
        *("10001", "CapEff:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1"),
    ]
    assert said.stderr.count("Read-only file system") == 4


@pytest.mark.parametrize("service", SERVICES)
def test_files_are_everybodys_to_read_and_the_services_to_write_in_data_alone(
    images: Images, service: str
) -> None:
    tree = images[service].cell.tree
    for name in images[service].files():
        status = (tree / name).lstat()
        assert stat.S_ISLNK(status.st_mode) or status.st_mode & 0o444 == 0o444, name
        assert stat.S_ISLNK(status.st_mode) or not status.st_mode & 0o6022, name
        assert status.st_uid == os.geteuid(), name
    assert not list((tree / "data").iterdir())
    assert not can_confine() or (tree / "data").stat().st_uid == 10001


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_runs_at_every_start_of_python_that_is_not_listed_here(images: Images, service: str) -> None:
    found = {Path(name).name.split("-")[0] for name in images[service].files() if name.endswith(".pth")}

    assert found <= STARTERS.keys()
    assert not [
        name
        for name in images[service].files()
        if Path(name).name in {"sitecustomize.py", "usercustomize.py"}
    ]


@pytest.mark.parametrize("service", SERVICES)
def test_all_that_is_loaded_at_a_start_was_compiled_before(images: Images, service: str) -> None:
    asked = NOT_COMPILED.format(module=f"{service}_service.main")
    said = output_of(images[service], "python", "-c", asked)

    assert said.returncode == 0, said.stderr
    assert not [path for path in said.stdout.split() if path.startswith(("/venv", "/app"))]
