"""The journal's way through infra/: which log entries are its lines, and how long they wait for recovery."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from metering.journal import Admitted, admitted_line, settled_line
from metering.keys import new_ingress_id
from metering.queued_recovery import HIDDEN_SECONDS
from metering.recovery import LINE_AGE_MAX
from proxy_service.identity import INGRESS_PREFIX
from tests.builders import make_event
from tests.infra.lint import INFRA
from tests.infra.log_filter import matches
from tests.infra.outputs import outputs_of, why_no_terraform

needs_terraform = pytest.mark.skipif(why_no_terraform() is not None, reason=why_no_terraform() or "")

ADMITTED = admitted_line(
    Admitted(
        request_id="req_1",
        timestamp=datetime(2026, 11, 21, tzinfo=UTC),
        account_id="acct_1",
        provider="openai",
    )
)
SETTLED = settled_line(make_event(), "0" * 32 + "-1")

ADDRESS = f"{INGRESS_PREFIX.decode()}0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def filters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    found = outputs_of(
        "names",
        tmp_path_factory.mktemp("terraform"),
        project="example-project",
        project_number="123456789012",
        region="europe-west1",
        domain="",
        environment="production",
    )
    told: dict[str, str] = found["log_filters"]
    return told


def entry(payload: object, *, service: str = "modeltrack-proxy", stream: str = "stdout") -> dict[str, Any]:
    """What Cloud Run makes of a line: an object of an object, text of everything else."""
    return {
        "resource": {"type": "cloud_run_revision", "labels": {"service_name": service}},
        "log_id": f"run.googleapis.com/{stream}",
        ("jsonPayload" if isinstance(payload, dict) else "textPayload"): payload,
    }


@needs_terraform
@pytest.mark.parametrize("line", [ADMITTED, SETTLED], ids=["admitted", "settled"])
def test_every_line_that_a_proxy_writes_comes_to_recovery(line: bytes, filters: dict[str, str]) -> None:
    assert matches(filters["journal"], entry(json.loads(line)))


@needs_terraform
def test_a_line_that_was_cut_comes_too_so_that_recovery_sets_it_aside(filters: dict[str, str]) -> None:
    assert matches(filters["journal"], entry(SETTLED.decode()[:100]))


@needs_terraform
@pytest.mark.parametrize(
    "other",
    [
        entry(json.loads(SETTLED), service="modeltrack-api"),
        entry(json.loads(SETTLED), stream="stderr"),
        entry({"event": "call", "level": "info", "request_id": "req_1"}),
        entry({"line": "other"}),
        entry("the collector has something to say"),
    ],
    ids=["another service's", "a log line's stream", "a log line", "another object", "text"],
)
def test_nothing_else_does(other: dict[str, Any], filters: dict[str, str]) -> None:
    assert not matches(filters["journal"], other)


@needs_terraform
@pytest.mark.parametrize(
    ("url", "referer", "is_kept"),
    [
        (f"https://proxy.example.com{ADDRESS}/v1/messages", "", False),
        (f"https://proxy.example.com/{ADDRESS}/v1/messages?beta=true", "", False),
        (f"https://proxy.example.com/candidate{ADDRESS}", "", False),
        (f"https://proxy.example.com/v1{ADDRESS}/messages", "", False),
        (f"https://api.example.com{ADDRESS}/v1/messages", "", False),
        ("https://proxy.example.com/favicon.ico", f"https://proxy.example.com{ADDRESS}/v1", False),
        ("https://proxy.example.com/v1/messages", "", True),
        ("https://api.example.com/v1/keys?view=/wsx", "https://api.example.com/keys", True),
    ],
)
def test_request_logs_are_kept_but_for_those_that_hold_an_ingress_address(
    url: str, referer: str, is_kept: bool, filters: dict[str, str]
) -> None:
    request = {
        "httpRequest": {"requestUrl": url, "referer": referer},
        "log_id": "run.googleapis.com/requests",
    }

    assert matches(filters["ingress_addresses"], request) is not is_kept


@needs_terraform
def test_every_ids_form_is_known(filters: dict[str, str]) -> None:
    url = f"https://proxy.example.com{INGRESS_PREFIX.decode()}{new_ingress_id()}/v1/messages"

    assert matches(filters["ingress_addresses"], {"httpRequest": {"requestUrl": url}})


@needs_terraform
@pytest.mark.parametrize(
    ("url", "referer"),
    [
        (f"https://api.example.com/v1/session?x={ADDRESS}", ""),
        (f"https://api.example.com/v1/session?x={ADDRESS}.ico", f"https://x.example{ADDRESS}"),
        ("https://api.example.com/v1/session", f"https://proxy.example.com{ADDRESS}"),
        ("https://api.example.com/ws/", ""),
    ],
)
def test_nobody_hides_a_request_by_what_it_adds_to_it(
    url: str, referer: str, filters: dict[str, str]
) -> None:
    request = {"httpRequest": {"requestUrl": url, "referer": referer, "requestMethod": "GET"}}

    assert not matches(filters["ingress_addresses"], request)


def seconds(name: str, text: str) -> int:
    found = re.search(rf"^\s*{name}\s*= \"?(\d+)s?\"?", text, re.MULTILINE)
    assert found, name
    return int(found[1])


def test_lines_wait_longer_than_recovery_takes_them_and_no_longer_than_a_week() -> None:
    journal = (INFRA / "journal.tf").read_text()

    assert LINE_AGE_MAX.total_seconds() < seconds("week", journal) == 7 * 86_400
    assert seconds("retention_days", journal) == 7
    assert journal.count("message_retention_duration") == journal.count("local.week") == 2


def test_a_pulled_line_stays_hidden_as_long_as_recovery_counts_on() -> None:
    assert seconds("ack_deadline_seconds", (INFRA / "journal.tf").read_text()) == HIDDEN_SECONDS


def test_nothing_but_recovery_decides_that_a_line_is_bad() -> None:
    assert "dead_letter_policy" not in (INFRA / "journal.tf").read_text()


@pytest.mark.parametrize("query", ['a="b" NOT c="d"', "a=b", 'a="b") ', "a>3"])
def test_what_a_filter_is_not_understood_to_say_is_no_match(query: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        matches(query, {"a": "b"})
