"""Alerts and the dashboard ask for figures that there are, of services that there are."""

import json
import re
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

import pytest

from api_service.functions.jobs import JOBS
from metering.events import State
from tests.infra.environments import OWN
from tests.infra.log_filter import matches
from tests.infra.plans import Plan, Terraform

pytestmark = pytest.mark.xdist_group("infra")

ROOT = Path(__file__).parents[2]
# What Prometheus' own form adds to a histogram's name.
PARTS_OF_HISTOGRAM = ("_bucket", "_sum", "_count")
OF_A_BUCKET = "le"
CALLED = re.compile(r"\b(modeltrack_\w+)(?:\{([^}]*)\})?")
SERVICE = re.compile(r'service_name="([^"]+)"')


def told_by_the_services() -> dict[str, set[str]]:
    """The labels of each metric that docs/metrics.md has, which a test holds against the services."""
    rows = re.findall(
        r"^\| `(modeltrack_\w+)`[^|]*\| (\w+) \| ([^|]+) \|",
        (ROOT / "docs" / "metrics.md").read_text(),
        re.MULTILINE,
    )
    told: dict[str, set[str]] = {}
    for name, kind, labels in rows:
        parts = PARTS_OF_HISTOGRAM if kind == "histogram" else ("",)
        also = {OF_A_BUCKET} if kind == "histogram" else set()
        for part in parts:
            told.setdefault(name + part, set()).update(re.findall(r"`(\w+)`", labels), also)
    return told


def charts() -> list[dict[str, Any]]:
    dashboard = json.loads((ROOT / "infra" / "dashboard.json").read_text())
    tiles: list[dict[str, Any]] = dashboard["mosaicLayout"]["tiles"]
    return tiles


def queries_of_charts() -> Iterator[str]:
    for tile in charts():
        for asked in tile["widget"].get("xyChart", {}).get("dataSets", ()):
            yield asked["timeSeriesQuery"]["prometheusQuery"]


def queries_of_alerts(plan: Plan) -> Iterator[str]:
    for policy in plan.of_type("google_monitoring_alert_policy"):
        for condition in policy.values["conditions"]:
            for asked in condition["condition_prometheus_query_language"] or ():
                yield asked["query"]


@pytest.fixture
def everything(plan_of: Callable[[str], Plan]) -> Plan:
    """All that can be made."""
    return plan_of("everything")


@pytest.fixture
def queries(everything: Plan) -> list[str]:
    """Whatever is asked of Cloud Monitoring in PromQL."""
    return [*queries_of_alerts(everything), *queries_of_charts()]


def test_only_figures_are_asked_for_that_a_service_tells(queries: list[str]) -> None:
    told = told_by_the_services()
    asked = {(name, matchers) for query in queries for name, matchers in CALLED.findall(query)}
    assert len({name for name, _ in asked}) >= 15

    for name, matchers in asked:
        assert name in told, f"no service tells {name}"
        assert set(re.findall(r"(\w+)=", matchers)) <= told[name], f"{name} has no such label: {matchers}"


def test_states_are_those_that_events_have(queries: list[str]) -> None:
    states = {state for query in queries for state in re.findall(r'state="(\w+)"', query)}

    assert states
    assert states <= set(get_args(State))


def test_what_is_grouped_by_is_a_label_of_what_is_asked(queries: list[str]) -> None:
    told = told_by_the_services()
    for query in queries:
        for labels, inner in re.findall(r"by \(([\w, ]+)\) \((.+)", query):
            names = [name for name, _ in CALLED.findall(inner)][:1]
            for name in names:
                assert set(labels.split(", ")) <= told[name], query


def test_services_that_are_asked_about_are_made(everything: Plan, queries: list[str]) -> None:
    made = {each.values["name"] for each in everything.of_type("google_cloud_run_v2_service")}
    asked = {name for query in queries for name in SERVICE.findall(query)}

    assert asked
    assert asked <= made


def test_every_job_is_missed_when_it_does_not_run(everything: Plan) -> None:
    missed = {
        service
        for query in queries_of_alerts(everything)
        if query.startswith("absent_over_time(")
        for service in SERVICE.findall(query)
    }

    assert missed == {f"modeltrack-{job.name}" for job in JOBS}


def test_a_job_is_missed_after_some_runs_and_not_after_one(everything: Plan) -> None:
    schedules = {
        each.values["name"]: each.values["schedule"]
        for each in everything.of_type("google_cloud_scheduler_job")
    }
    every = {"* * * * *": 1, "*/5 * * * *": 5, "20 * * * *": 60, "15 6 * * *": 24 * 60}
    longest_runs = {
        each.values["name"]: int(each.values["template"][0]["timeout"].removesuffix("s")) / 60
        for each in everything.of_type("google_cloud_run_v2_service")
    }
    for query in queries_of_alerts(everything):
        if missed := re.fullmatch(r'absent_over_time\(.*service_name="([^"]+)".*\[(\d+)m\]\)', query):
            service, minutes = missed[1], int(missed[2])
            assert minutes >= every[schedules[service]] + 2 * longest_runs[service], service


def test_everything_that_alerts_says_what_it_means_and_tells_everybody(everything: Plan) -> None:
    policies = everything.of_type("google_monitoring_alert_policy")
    titles = [policy.values["display_name"] for policy in policies]

    assert len(policies) >= 40
    assert len(titles) == len(set(titles))
    for policy in policies:
        assert policy.values["documentation"][0]["content"], policy.address
        assert policy.values["severity"] in {"CRITICAL", "ERROR", "WARNING"}


def line_of(service: str, level: str, event: str) -> dict[str, Any]:
    """A line of a service's log, as Cloud Logging keeps it."""
    resource = {"type": "cloud_run_revision", "labels": {"service_name": service}}
    return {"resource": resource, "jsonPayload": {"level": level, "event": event}}


@pytest.mark.parametrize(
    ("level", "event", "alarms"),
    [
        ("error", "day unsound", ["modeltrack/day_unsound"]),
        ("error", "job done", ["modeltrack/figures_alarming"]),
        ("info", "job done", []),
        ("error", "segment refused", ["modeltrack/events_at_risk"]),
        ("error", "journal not written", ["modeltrack/events_at_risk"]),
        ("warn", "store gives no answer; calls go on", ["modeltrack/store_silent"]),
        ("info", "store answers again", []),
        ("info", "call", []),
    ],
)
def test_a_line_is_counted_by_its_alarm_and_by_no_other(
    everything: Plan, level: str, event: str, alarms: list[str]
) -> None:
    line = line_of("modeltrack-proxy", level, event)
    metrics = everything.of_type("google_logging_metric")

    assert [each.values["name"] for each in metrics if matches(each.values["filter"], line)] == alarms


def test_no_alarm_counts_what_another_service_of_the_project_writes(everything: Plan) -> None:
    line = line_of("shop", "error", "job failed")

    assert not [
        each for each in everything.of_type("google_logging_metric") if matches(each.values["filter"], line)
    ]


def test_nothing_alerts_before_there_are_services(plan_of: Callable[[str], Plan]) -> None:
    assert not plan_of("foundation").of_type("google_monitoring_alert_policy")


def test_charts_lie_side_by_side() -> None:
    places = [
        {
            (column, row)
            for column in range(tile["xPos"], tile["xPos"] + tile["width"])
            for row in range(tile["yPos"], tile["yPos"] + tile["height"])
        }
        for tile in charts()
    ]

    assert all(column < 48 for place in places for column, _ in place)
    assert not any(one & other for one, other in combinations(places, 2))


@pytest.mark.parametrize("service", ["proxy", "api"])
def test_the_collector_asks_where_the_service_tells(everything: Plan, service: str) -> None:
    made = {each.address: each for each in everything.resources}
    ours, collector = made[f"module.{service}[0].google_cloud_run_v2_service.this"].values["template"][0][
        "containers"
    ]
    settings = {each["name"]: each.get("value") for each in ours["env"]}
    asked = made["google_secret_manager_secret_version.metrics[0]"].values["secret_data"]

    assert f"- port: {settings['METRICS_PORT']}\n      path: /metrics\n" in asked
    assert [each["mount_path"] for each in collector["volume_mounts"]] == ["/etc/rungmp"]


def test_without_a_collector_no_service_opens_a_port_for_it(terraform: Terraform) -> None:
    made = terraform.plan("staging.tfvars", **OWN, metrics_sidecar_image="").of_type(
        "google_cloud_run_v2_service"
    )

    assert made
    assert not [each for each in made if "METRICS_PORT" in str(each.values)]
