"""Importing a module does nothing: no socket, no file of ours, no setting read, no thread."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("metering", "proxy_service", "api_service", "demo")

# Each module in a process of its own; what they all stand on is loaded once, before those part.
_PROBE = """
import importlib, os, socket, sys, threading, traceback
import flask_openapi3, msgspec, requests

class Blocked(socket.socket):
    def __new__(cls, *args, **kwargs):
        raise AssertionError("a socket was opened at import")

socket.socket = Blocked
for module in sys.argv[1:]:
    child = os.fork()
    if not child:
        try:
            importlib.import_module(module)
            assert threading.active_count() == 1, "a thread was started at import"
        except BaseException:
            print(module, file=sys.stderr)
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(1)
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
    modules = [module for module in _modules() if module.split(".")[0] == package]

    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PROBE, *modules],
        cwd=ROOT, env={"PATH": ""}, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip

    assert modules
    assert run.returncode == 0, run.stderr[-800:]
