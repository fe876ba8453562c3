"""What the documents name exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "infra/README.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
    *sorted(f"docs/operations/{path.name}" for path in (ROOT / "docs" / "operations").glob("*.md")),
]
# What whoever deploys makes.
MADE_BY_OPERATORS = {"infra/terraform.tfvars", "requirements/images.txt"}
FOLDERS = (
    "metering",
    "proxy_service",
    "api_service",
    "modeltrack_cli",
    "demo",
    "tests",
    "bench",
    "infra",
    "docs",
    "requirements",
)

_QUOTED = re.compile(r"`([\w./-]+)`")
_LINKED = re.compile(r"\]\(([^)#:]+)\)")
_COMMANDS = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def _named_paths(text: str) -> set[str]:
    quoted = {each for each in _QUOTED.findall(text) if each.split("/")[0] in FOLDERS and "/" in each}
    return quoted | set(_LINKED.findall(_COMMANDS.sub("", text)))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_that_a_document_names_is_there(document: str) -> None:
    path = ROOT / document
    base = path.parent

    missing = {
        name
        for name in _named_paths(path.read_text())
        if name not in MADE_BY_OPERATORS
        and not (ROOT / name).exists()
        and not (base / name).exists()
        and not list(ROOT.glob(f"{name}*"))
    }

    assert not missing


def test_every_guard_that_the_architecture_names_is_a_test() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", (ROOT / "ARCHITECTURE.md").read_text())

    missing = [
        f"{path}::{name}"
        for path, name in named
        if not re.search(rf"^(?:async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE)
    ]

    assert named
    assert not missing


def test_every_make_command_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"`?make ([a-z][a-z-]*)", (ROOT / "README.md").read_text()))
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert named <= targets
