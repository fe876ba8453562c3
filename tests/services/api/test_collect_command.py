"""`modeltrack collect`: OpenCost over real HTTP, AWS through boto3's own stubs, the API on the other side."""

import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from flask import Flask
from werkzeug.serving import make_server

from api_service.resources.infrastructure import InfrastructureView
from metering.setting_kinds import Secret
from modeltrack_cli.collect import aws_client, collect
from modeltrack_cli.errors import CommandFailed
from modeltrack_cli.settings import CommandSettings
from tests.doubles.clock import ManualClock
from tests.doubles.opencost import OpenCost, running_opencost
from tests.services.api.conftest import Person

Collect = Callable[..., list[str]]
EC2 = "Amazon Elastic Compute Cloud - Compute"


@pytest.fixture
def opencost() -> Iterator[OpenCost]:
    with running_opencost() as running:
        yield running


@pytest.fixture
def collected(
    app: Flask, ada: Person, bearer: Callable[..., dict[str, str]], clock: ManualClock, opencost: OpenCost
) -> Iterator[Collect]:
    """Runs the command; what it said."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    key = bearer(ada.account_id, "ingest")["Authorization"].removeprefix("Bearer ")

    def run(*stubbers: Stubber, days: int = 1, **settings: Any) -> list[str]:
        said: list[str] = []
        given: dict[str, Any] = {
            "modeltrack_url": f"http://127.0.0.1:{server.server_port}",
            "modeltrack_key": Secret(key),
            "opencost_endpoint": opencost.url,
        }
        clients = {each.client.meta.service_model.service_name: each for each in stubbers}
        for each in stubbers:
            each.activate()
        collect(
            CommandSettings(**given | settings),
            days,
            clock.now(),
            said.append,
            lambda service, _: clients[service].client,
        )
        for each in stubbers:
            each.assert_no_pending_responses()
        return said

    yield run
    server.shutdown()
    thread.join()
    server.server_close()


def stub(service: Any) -> Stubber:
    client = boto3.client(service, "us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    return Stubber(client)


def shown(person: Person) -> Any:
    return InfrastructureView.model_validate_json(person.get("/v1/infrastructure").text)


def costs(lines: Any, name: str) -> dict[str, int]:
    return {str(getattr(each, name)): each.cost_nanodollars for each in lines if each.cost_nanodollars}


def group(service: str, tag: str, amount: str) -> dict[str, Any]:
    return {"Keys": [service, f"team${tag}"], "Metrics": {"UnblendedCost": {"Amount": amount, "Unit": "USD"}}}


def page(*results: tuple[str, str, list[dict[str, Any]]], token: str = "") -> dict[str, Any]:
    periods = [
        {"TimePeriod": {"Start": start, "End": end}, "Groups": groups, "Estimated": True}
        for start, end, groups in results
    ]
    return {"ResultsByTime": periods} | ({"NextPageToken": token} if token else {})


def asked(services: list[str], granularity: str = "DAILY", **more: str) -> dict[str, Any]:
    ends = {"Start": "2026-11-20", "End": "2026-11-22"}
    hours = {name: f"{day}T00:00:00Z" for name, day in ends.items()}
    return {
        "TimePeriod": ends if granularity == "DAILY" else hours,
        "Granularity": granularity,
        "Metrics": ["UnblendedCost"],
        "GroupBy": [{"Type": "DIMENSION", "Key": "SERVICE"}, {"Type": "TAG", "Key": "team"}],
        "Filter": {"Dimensions": {"Key": "SERVICE", "Values": services}},
    } | more


def test_each_hour_of_opencost_counts_once_however_often_it_is_collected(
    collected: Collect, ada: Person, opencost: OpenCost
) -> None:
    ada.write("PUT", "/v1/infrastructure/namespace-map", {"ml": "search"})
    opencost.namespaces = {
        "one/ml": ("1.5", 2),
        "two/ml": ("0.000000001", 1),
        "one/elsewhere": ("0.25", 1),
        "one/__idle__": ("0.125", 0),
        "one/web": ("0", 0),
    }

    assert collected(enable_opencost=True) == ["opencost: 132 rows posted"]
    assert collected(enable_opencost=True) == ["opencost: 132 rows posted"]

    hours = 24 + 9  # of yesterday, and those of today that are over
    report = shown(ada)
    assert costs(report.by_team, "team") == {"search": hours * 1_500_000_001, "": hours * 375_000_000}
    assert costs(report.by_service, "service") == {"kubernetes": hours * 1_875_000_001}
    assert opencost.windows[:2] == [
        "2026-11-20T00:00:00Z,2026-11-21T00:00:00Z",
        "2026-11-21T00:00:00Z,2026-11-21T09:00:00Z",
    ]


@pytest.mark.parametrize("raw", ["{}", '{"data": [1]}', '{"data": [{"a": {"window": {}}}]}', "<html>"])
def test_an_answer_of_opencost_that_cannot_be_read_is_not_posted(
    collected: Collect, ada: Person, opencost: OpenCost, raw: str
) -> None:
    opencost.raw = raw.encode()

    with pytest.raises(CommandFailed, match="OpenCost"):
        collected(enable_opencost=True)

    assert shown(ada).cost_nanodollars == 0


def test_aws_is_asked_once_by_service_and_team_and_each_amount_counts_once(
    collected: Collect, ada: Person
) -> None:
    services = ["Amazon SageMaker", EC2]
    groups = [group(EC2, "search", "1.1234567891"), group(EC2, "", "2"), group(services[0], "ops", "-0.5")]
    for _ in range(2):
        explorer = stub("ce")
        first = page(("2026-11-20", "2026-11-21", groups), token="more")
        explorer.add_response("get_cost_and_usage", first, asked(services))
        second = page(("2026-11-21", "2026-11-22", [group(EC2, "search", "3")]))
        explorer.add_response("get_cost_and_usage", second, asked(services, NextPageToken="more"))
        assert collected(explorer, enable_aws_costs=True) == ["aws: 12 rows posted"]

    report = shown(ada)
    assert costs(report.by_team, "team") == {"search": 4_123_456_789, "": 2 * 10**9, "ops": -500_000_000}
    assert costs(report.daily_trend, "day") == {"2026-11-20": 2_623_456_789, "2026-11-21": 3 * 10**9}


def test_what_aws_gives_to_a_team_later_is_not_left_with_nobody(collected: Collect, ada: Person) -> None:
    for team in ("", "search"):
        explorer = stub("ce")
        answer = page(("2026-11-20", "2026-11-21", [group(EC2, team, "5")]))
        explorer.add_response("get_cost_and_usage", answer, asked(["Amazon SageMaker", EC2]))
        collected(explorer, enable_aws_costs=True)

    assert costs(shown(ada).by_team, "team") == {"search": 5 * 10**9}


def test_hours_of_aws_are_added_up_to_the_same_rows_as_its_days(collected: Collect, ada: Person) -> None:
    daily, hourly = stub("ce"), stub("ce")
    services = ["Amazon Bedrock"]
    daily.add_response(
        "get_cost_and_usage",
        page(("2026-11-20", "2026-11-21", [group("B", "", "9")])),
        asked(services),
    )
    hours = page(
        *(
            (f"2026-11-20T{hour:02d}:00:00Z", f"2026-11-20T{hour + 1:02d}:00:00Z", [group("B", "", "0.1")])
            for hour in range(3)
        )
    )
    hourly.add_response("get_cost_and_usage", hours, asked(services, "HOURLY"))
    given = {"enable_aws_costs": True, "aws_cost_services": "Bedrock"}

    collected(daily, **given)
    collected(hourly, **given, cost_explorer_granularity="HOURLY")

    assert shown(ada).cost_nanodollars == 300_000_000


def test_with_opencost_what_it_divides_up_is_not_asked_of_aws(collected: Collect) -> None:
    explorer = stub("ce")
    explorer.add_response("get_cost_and_usage", page(), asked(["Amazon SageMaker"]))

    assert collected(explorer, enable_aws_costs=True, enable_opencost=True)[0] == "aws: 0 rows posted"


def test_the_use_of_gpus_is_collected_by_hour_and_costs_nothing(collected: Collect, ada: Person) -> None:
    watch = stub("cloudwatch")
    dimensions = [{"Name": "InstanceId", "Value": "i-1"}, {"Name": "index", "Value": "0"}]
    metric = {"Namespace": "CWAgent", "MetricName": "nvidia_smi_utilization_gpu", "Dimensions": dimensions}
    watch.add_response("list_metrics", {"Metrics": [metric]}, {"MetricName": "nvidia_smi_utilization_gpu"})
    for name in ("DCGM_FI_DEV_GPU_UTIL", "GPUUtilization"):
        watch.add_response("list_metrics", {"Metrics": []}, {"MetricName": name})
    hours = [datetime(2026, 11, 20, hour, tzinfo=UTC) for hour in range(3)]
    results = [{"Id": "gpu0", "Timestamps": hours, "Values": [70.0, 80.5, 250.0]}]
    watch.add_response("get_metric_data", {"MetricDataResults": results})

    assert collected(watch, enable_gpu_metrics=True) == ["gpu metrics: 2 rows posted"]

    (use,) = shown(ada).gpu_utilization
    assert (use.resource_id, str(use.utilization_percent), use.cost_nanodollars) == ("i-1", "75.25", 0)


def test_a_refusal_of_aws_is_said_by_its_code_alone(collected: Collect) -> None:
    explorer = stub("ce")
    explorer.add_client_error("get_cost_and_usage", "AccessDeniedException", "canary")

    with pytest.raises(CommandFailed) as failed:
        collected(explorer, enable_aws_costs=True)

    assert str(failed.value) == "AWS: AccessDeniedException"


def test_without_boto3_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)

    with pytest.raises(CommandFailed, match="pip install boto3"):
        aws_client("ce", "us-east-1")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "ENABLE_AWS_COSTS"),
        ({"enable_opencost": True, "modeltrack_key": Secret("")}, "MODELTRACK_KEY"),
    ],
)
def test_what_has_to_be_set_is_named(collected: Collect, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(CommandFailed, match=said):
        collected(**settings)
