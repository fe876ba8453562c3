"""Importing a module does nothing: no socket, no file of ours, no setting read, no thread."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("metering", "proxy_service", "api_service", "demo")

_PROBE = """
import importlib, pathlib, socket, sys, threading

class Blocked(socket.socket):
    def __new__(cls, *args, **kwargs):
        raise AssertionError("a socket was opened at import")

socket.socket = Blocked
importlib.import_module(sys.argv[1])
assert threading.active_count() == 1, "a thread was started at import"
"""


def _modules() -> list[str]:
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if parts[-1] != "__main__" and "price_compiler" not in parts:
                found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_any_module_of_a_package_is_inert(package: str) -> None:
    for module in _modules():
        if module.split(".")[0] != package:
            continue
        run = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _PROBE, module],
            cwd=ROOT, env={"PATH": ""}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert run.returncode == 0, f"{module}: {run.stderr[-800:]}"
