"""Each image's packages are those that its service imports, as the whole project has them locked."""

import re
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions

import grimp
import pytest

from tests.images.conftest import SERVICES
from tests.images.replay import ROOT

STARTED = {
    "proxy": ("proxy_service.__main__",),
    "api": ("api_service.__main__", "api_service.functions.main"),
}
OURS = ("metering", "proxy_service", "api_service")
# Wanted without being imported by name.
NOT_IMPORTED = {
    "tzdata": "the time zones of zoneinfo, which the base image has not",
    "functions-framework": "the command that functions are started by",
}
_LOCKED = re.compile(r"^([a-z0-9-]+)==(\S+).*?\n((?:    --hash=\S+(?: \\)?\n)+)", re.MULTILINE)


def names_in(name: str) -> list[str]:
    """The packages that requirements/<name>.in asks for."""
    lines = (ROOT / f"requirements/{name}.in").read_text().splitlines()
    return [normalised(line) for line in lines if line and not line.startswith(("#", "-"))]


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(name: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Package → version and hashes, as requirements/<name>.txt has them."""
    text = (ROOT / f"requirements/{name}.txt").read_text()
    found = {each[1]: (each[2], frozenset(each[3].split())) for each in _LOCKED.finditer(text)}
    assert len(found) == text.count("==") - len(re.findall(r";.*==", text))
    return found


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*OURS, include_external_packages=True, exclude_type_checking_imports=True)


@cache
def imported(service: str) -> frozenset[str]:
    """The foreign packages that some module imports which the service loads, at once or when it needs it."""
    seen: set[str] = set()
    waiting = list(STARTED[service])
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        parents = [module.rpartition(".")[0]] if "." in module else []
        waiting += parents if module.startswith(OURS) else []
        waiting += (
            [] if graph().is_module_squashed(module) else graph().find_modules_directly_imported_by(module)
        )
    roots = {module.partition(".")[0] for module in seen}
    return frozenset(roots - set(OURS) - sys.stdlib_module_names)


@cache
def distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def providers(package: str) -> set[str]:
    """The distributions that this package may come from."""
    return {normalised(each) for each in distributions()[package]}


@pytest.mark.parametrize("service", SERVICES)
def test_what_a_service_imports_is_in_its_image(service: str) -> None:
    assert not [package for package in imported(service) if not providers(package) & locked(service).keys()]


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_asked_for_is_imported_or_says_why_not(service: str) -> None:
    used = set().union(*map(providers, imported(service)))

    assert not [name for name in names_in(service) if name not in used | NOT_IMPORTED.keys()]


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_has_the_versions_and_hashes_that_all_is_tested_with(service: str) -> None:
    everything = locked("run")

    assert not [name for name, found in locked(service).items() if everything[name] != found]


def test_what_everything_is_run_with_is_what_the_images_have() -> None:
    assert {*names_in("proxy"), *names_in("api")} == set(names_in("run"))
    assert locked("proxy").keys() | locked("api").keys() == locked("run").keys()


def test_the_proxy_holds_nothing_of_the_apis_server() -> None:
    assert not {"flask", "gunicorn", "functions-framework", "argon2-cffi"} & locked("proxy").keys()
