"""What somebody could guess is compared in constant time, and what somebody sent is run by nobody."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SERVICES = ("metering", "proxy_service", "api_service")
_SECRET = re.compile(r"secret|password|csrf|signature|nonce|seal|(^|_)(token|mac|hash|digest|code_verifier)$")
# Neither side is what somebody sent who does not know it.
NO_GUESS = {
    "api_service/common_passwords.py": "a new password beside itself, repeated",
    "metering/sealing.py": "the version of what was sealed",
    "api_service/people.py": "a stored hash beside the one that was read before",
    "metering/event_pages.py": "a checksum that ties a page to its question, made without a secret",
}
_RUNNING = {"subprocess", "pickle", "marshal", "shelve", "pty", "code", "codeop"}
_RUNNING_CALLS = {"eval", "exec", "compile", "__import__", "system", "popen"}
RUNS = {"api_service/dashboard/vendoring.py": "a command of ours for who builds the pages, in no service"}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for service in SERVICES:
        for path in sorted((ROOT / service).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def plainly_compared(module: ast.Module) -> set[str]:
    """What has a secret's name and is compared by `==` or `!=`."""
    found = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq):
            sides = (node.left, *node.comparators)
            if not any(isinstance(side, ast.Constant) for side in sides):
                found |= {name for side in sides if _SECRET.search(name := _name(side))}
    return found


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Call | ast.Subscript):
        return _name(node.func if isinstance(node, ast.Call) else node.value)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def what_runs(module: ast.Module) -> set[str]:
    """What could run something that somebody sent."""
    found = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names} & _RUNNING
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} & _RUNNING
        elif isinstance(node, ast.Call):
            is_method = isinstance(node.func, ast.Attribute)
            is_of_os = is_method and ast.unparse(node.func).startswith("os.")
            if _name(node.func) in _RUNNING_CALLS and (is_of_os or not is_method):
                found.add(_name(node.func))
    return found


def test_what_could_be_guessed_is_compared_in_constant_time() -> None:
    assert {path for path, module in modules() if plainly_compared(module)} == set(NO_GUESS)


def test_a_plain_comparison_of_a_secret_is_seen() -> None:
    for planted in ("given == self.secret", "a.csrf_token() != sent", "token == parts[1]", "key_hash != x"):
        assert plainly_compared(ast.parse(planted)), planted
    for harmless in ("tokens == 5", "input_tokens != other.input_tokens", 'token == ""', "state == other"):
        assert not plainly_compared(ast.parse(harmless)), harmless


def test_no_service_runs_what_somebody_sent() -> None:
    assert {path for path, module in modules() if what_runs(module)} == set(RUNS)


def test_what_would_run_something_is_seen() -> None:
    for planted in ("import subprocess", "from pickle import loads", "eval(text)", "os.system(text)"):
        assert what_runs(ast.parse(planted)), planted
    assert not what_runs(ast.parse("re.compile(text); self.eval(x)"))
