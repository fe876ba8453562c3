"""What compose.yaml promises: nothing more than is needed, and nobody let in from elsewhere by oversight.

Its variables are filled in here by the rules of the Compose specification, as far as the file uses them:
https://raw.githubusercontent.com/compose-spec/compose-spec/main/12-interpolation.md (looked at 2026-11-21).
"""

import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from api_service.settings import ApiSettings
from proxy_service.settings import ProxySettings
from tests.images.dockerfile import stages_of
from tests.images.replay import ROOT

SERVICES = ("proxy", "api")
OPEN = {"PROXY_DOMAIN": "proxy.example.com", "API_DOMAIN": "api.example.com"}
_INNERMOST = re.compile(r"\$\{(\w+)(?::([-+])([^${}]*))?\}")

Service = dict[str, Any]


def filled_in(text: str, given: Mapping[str, str]) -> str:
    """The text with `${A}`, `${A:-else}` and `${A:+then}` filled in, from the inside out."""

    def one(found: re.Match[str]) -> str:
        value = given.get(found[1], "")
        return (
            found[3] if found[2] and (found[2] == "-") == (not value) else (value if found[2] != "+" else "")
        )

    while _INNERMOST.search(text):
        text = _INNERMOST.sub(one, text)
    return text


def all_filled_in(node: Any, given: Mapping[str, str]) -> Any:
    """The same with every text in it filled in: after it was read, so that what is put in stays text."""
    if isinstance(node, dict):
        return {name: all_filled_in(each, given) for name, each in node.items()}
    if isinstance(node, list):
        return [all_filled_in(each, given) for each in node]
    return filled_in(node, given) if isinstance(node, str) else node


def services(**given: str) -> dict[str, Service]:
    """The services as they come out with these variables."""
    read: dict[str, Service] = all_filled_in(yaml.safe_load((ROOT / "compose.yaml").read_text()), given)[
        "services"
    ]
    return read


@pytest.mark.parametrize("name", [*SERVICES, "tls"])
def test_a_container_can_do_nothing_that_it_needs_not(name: str) -> None:
    service = services()[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "tls" else [])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert not {"privileged", "network_mode", "pid", "ipc", "devices", "user"} & service.keys()


def test_what_is_kept_is_in_one_volume_that_both_share() -> None:
    assert [services()[name]["volumes"] for name in SERVICES] == [["data:/data"]] * 2
    for name in SERVICES:
        (settings,) = stages_of((ROOT / f"{name}_service/Dockerfile").read_text())[-1].all("ENV")
        assert "DATA_DIR=/data" in settings.words


@pytest.mark.parametrize("name", SERVICES)
def test_services_are_built_here_and_never_fetched(name: str) -> None:
    assert (services()[name]["image"], services()[name]["pull_policy"]) == (f"modeltrack-{name}", "never")


def test_only_this_machine_reaches_what_wants_no_key() -> None:
    found = services()

    assert found["proxy"]["ports"] == ["127.0.0.1:8080:8080"]
    assert found["api"]["ports"] == ["127.0.0.1:3001:3001"]
    assert found["tls"]["profiles"] == ["tls"]


def told(service: str, **given: str) -> dict[str, Any]:
    """What the service's settings are read from, as field names; an empty one counts as not given."""
    named: dict[str, str] = services(**given)[service]["environment"]
    return {name.lower(): value for name, value in named.items() if value}


def test_on_this_machine_nobody_needs_a_key_and_the_api_knows_its_own_names_alone() -> None:
    proxy = ProxySettings(**told("proxy"))
    api = ApiSettings(**told("api"), api_host="0.0.0.0")

    assert (proxy.is_key_required, proxy.hops, proxy.listen_port) == (False, 0, 8080)
    assert api.host_names == frozenset(("127.0.0.1", "localhost", "::1"))
    assert (api.base_url, api.proxy_probed_url, api.hops) == ("http://127.0.0.1:3001", "", 0)


@pytest.mark.parametrize(
    ("given", "wants_key"),
    [
        ({"PUBLISHED_ON": "0.0.0.0"}, True),
        ({"PUBLISHED_ON": "192.168.1.7"}, True),
        ({"PUBLISHED_ON": "[::]"}, True),
        ({"PUBLISHED_ON": "127.0.0.1"}, False),
        ({"PUBLISHED_ON": "[::1]"}, False),
        ({"PUBLISHED_ON": "192.168.1.7", "KEY_REQUIRED": "false"}, False),
    ],
)
def test_published_to_others_the_proxy_wants_a_key_unless_told_not_to(
    given: dict[str, str], *, wants_key: bool
) -> None:
    assert ProxySettings(**told("proxy", **given)).is_key_required is wants_key


def test_with_domains_the_proxy_wants_a_key_and_both_trust_caddys_word_for_the_address() -> None:
    proxy = ProxySettings(**told("proxy", **OPEN))
    api = ApiSettings(**told("api", **OPEN), api_host="0.0.0.0")

    assert (proxy.is_key_required, proxy.hops) == (True, 1)
    assert (api.base_url, api.hops, api.is_https) == ("https://api.example.com", 1, True)
    assert api.proxy_probed_url == "https://proxy.example.com"


def test_another_port_of_the_machine_is_the_one_that_the_api_tells() -> None:
    assert services(API_PORT="9000")["api"]["ports"] == ["127.0.0.1:9000:3001"]
    assert told("api", API_PORT="9000")["public_url"] == "http://127.0.0.1:9000"


def test_caddy_refuses_programs_without_tls_and_leads_pages_on() -> None:
    text = (ROOT / "infra/compose/Caddyfile").read_text()
    plain = {
        name: block for name, block in re.findall(r"^http://\{\$(\w+)\} \{\n(.*?)^\}", text, re.M | re.S)
    }

    assert plain["PROXY_DOMAIN"].split() == ["import", "refused", "*"]
    assert "@programs path /v1/* /metrics" in plain["API_DOMAIN"]
    assert "import refused @programs" in plain["API_DOMAIN"]
    assert "redir https://{host}{uri} permanent" in plain["API_DOMAIN"]  # 301, after which no POST follows
    assert re.search(r"respond \{args\[0\]\} `.*rotate the keys.*` 403", text)


def test_caddy_relays_to_both_and_says_nothing_of_a_call() -> None:
    text = (ROOT / "infra/compose/Caddyfile").read_text()

    assert "import relay proxy:8080" in text
    assert "import relay api:3001" in text
    assert "exclude http.log.error http.handlers.reverse_proxy" in text
    assert "compression off" in text
    assert not re.search(r"flush_interval\s+-1", text)  # with that, a caller who hangs up is not noticed
