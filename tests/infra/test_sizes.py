"""Instances are as large as what services may hold at once, and take as much at once as they serve."""

from collections.abc import Callable
from typing import Any

import pytest

from api_service.passwords import CONCURRENT_MAX, MEMORY_KIB
from metering.day_memory import DAY_MEMORY_BYTES_MAX
from proxy_service.app import Limits
from proxy_service.bodies import BODIES_BYTES_MAX
from proxy_service.delivery import HELD_BYTES_MAX
from proxy_service.journal import WAITING_BYTES_MAX
from proxy_service.settings import ProxySettings
from tests.infra.lint import INFRA
from tests.infra.plans import Plan

MEBIBYTE = 1024 * 1024
# Resident on 2026-11-21: the idle proxy 53 MiB, the API 76 MiB; Firestore's client, imported alone, 60 MiB.
PROXY_IDLE_BYTES = 113 * MEBIBYTE
API_IDLE_BYTES = 136 * MEBIBYTE
THREAD_BYTES = 8 * MEBIBYTE

PlanOf = Callable[[str], Plan]


def template(plan: Plan, name: str) -> dict[str, Any]:
    """The one of the service of that name."""
    (service,) = [
        each
        for each in plan.of_type("google_cloud_run_v2_service")
        if each.values["name"] == f"modeltrack-{name}"
    ]
    found: dict[str, Any] = service.values["template"][0]
    return found


def memory_of(found: dict[str, Any]) -> int:
    text: str = found["containers"][0]["resources"][0]["limits"]["memory"]
    return int(text.removesuffix("Mi")) * MEBIBYTE


def settings_of(found: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in found["containers"][0]["env"]}


@pytest.mark.parametrize("deployment", ["staging", "production", "private"])
def test_a_proxy_has_memory_for_all_that_it_may_hold_at_once(deployment: str, plan_of: PlanOf) -> None:
    proxy = template(plan_of(deployment), "proxy")
    calls = proxy["max_instance_request_concurrency"]
    cache_bytes = ProxySettings.declared()["cache_max_bytes"].default

    held = BODIES_BYTES_MAX + calls * HELD_BYTES_MAX + WAITING_BYTES_MAX + cache_bytes
    assert PROXY_IDLE_BYTES + held <= memory_of(proxy)


def test_a_proxy_accepts_as_many_connections_as_it_is_sent_calls(plan_of: PlanOf) -> None:
    proxy = template(plan_of("production"), "proxy")

    assert proxy["max_instance_request_concurrency"] <= Limits().connections_max


def test_an_api_has_memory_for_its_threads_passwords_and_days(plan_of: PlanOf) -> None:
    api = template(plan_of("production"), "api")
    threads = int(settings_of(api)["API_THREADS"])

    held = threads * THREAD_BYTES + CONCURRENT_MAX * MEMORY_KIB * 1024 + DAY_MEMORY_BYTES_MAX
    assert API_IDLE_BYTES + held <= memory_of(api)


def test_an_api_is_sent_as_many_requests_as_it_has_threads(plan_of: PlanOf) -> None:
    api = template(plan_of("production"), "api")

    assert int(settings_of(api)["API_THREADS"]) == api["max_instance_request_concurrency"]


def test_sizes_are_reckoned_from_the_bounds_that_the_code_has() -> None:
    text = (INFRA / "modules" / "sizes" / "main.tf").read_text()

    bodies, lines, repeats, answer = (
        each // MEBIBYTE
        for each in (
            BODIES_BYTES_MAX,
            WAITING_BYTES_MAX,
            ProxySettings.declared()["cache_max_bytes"].default,
            HELD_BYTES_MAX,
        )
    )
    assert f"= 113 + {bodies} + {lines} + {repeats} + {answer} * var.proxy_calls" in text
    days = DAY_MEMORY_BYTES_MAX // MEBIBYTE
    assert f"= 136 + {CONCURRENT_MAX} * {MEMORY_KIB // 1024} + {days} + 8 * var.api_threads" in text


def test_a_call_may_take_the_hour_that_recovery_counts_on(plan_of: PlanOf) -> None:
    assert template(plan_of("production"), "proxy")["timeout"] == "3600s"
