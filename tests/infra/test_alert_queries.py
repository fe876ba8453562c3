"""Alerts fire when they should and only then, as Prometheus' own promtool reckons their queries."""

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.infra.plans import Plan

pytestmark = pytest.mark.xdist_group("infra")

SECONDS_MAX = 60
MADE = Path(__file__).parents[2] / ".make" / "infra" / "promtool"  # by .ci/infra
NO_PROMTOOL = (
    "promtool is missing: install Prometheus (Debian: apt-get install prometheus); until then nobody reckons "
    "when the queries of infra/alert_policies.tf are true"
)

RUN = 'monitored_resource="cloud_run_revision",service_name='
PROXY, API, RECOVER = (f'{RUN}"modeltrack-{name}"' for name in ("proxy", "api", "recover"))
REQUESTS = "run_googleapis_com:request_count"
FIRESTORE = (
    'firestore_googleapis_com:api_request_count{monitored_resource="firestore.googleapis.com/Database"'
)
QUEUE = 'monitored_resource="pubsub_subscription",subscription_id="modeltrack-journal'
UNACKED = f'pubsub_googleapis_com:subscription_oldest_unacked_message_age{{{QUEUE}"}}'
ASIDE = f'pubsub_googleapis_com:subscription_num_undelivered_messages{{{QUEUE}-aside"}}'
OVERHEAD = "modeltrack_overhead_seconds_bucket"
CALLS = "modeltrack_calls_total"

# A value a minute, as promtool writes them: 0+600x60 is 600 more each minute, for an hour.
FINE_PROXY = {f'{REQUESTS}{{{PROXY},response_code_class="2xx"}}': "0+600x60"}
FINE_API = {f'{REQUESTS}{{{API},response_code_class="2xx"}}': "0+60x60"}
FAILING_PROXY = FINE_PROXY | {f'{REQUESTS}{{{PROXY},response_code_class="5xx"}}': "0+100x60"}


class Case(NamedTuple):
    alert: str
    fires: bool
    series: Mapping[str, str]


def providers_failures(a_minute: int) -> dict[str, str]:
    """Answers of 5xx that a provider gave."""
    return {f'{CALLS}{{provider="anthropic",state="completed",status="5xx"}}': f"0+{a_minute}x60"}


def added(to_2_ms: int, to_50_ms: int, all_of_them: int) -> dict[str, str]:
    """How many calls a minute had so little added."""
    buckets = {"0.0025": to_2_ms, "0.05": to_50_ms, "0.1": all_of_them, "+Inf": all_of_them}
    return {f'{OVERHEAD}{{le="{bound}"}}': f"0+{count}x60" for bound, count in buckets.items()}


def firestores(code: str) -> dict[str, str]:
    """A hundred good answers a minute, and five of another kind."""
    return {
        f'{FIRESTORE},response_code="OK"}}': "0+100x60",
        f'{FIRESTORE},response_code="{code}"}}': "0+5x60",
    }


CASES = (
    Case("proxy_failures", False, FINE_PROXY),
    Case("proxy_failures", True, FAILING_PROXY),
    Case("proxy_failures", True, FAILING_PROXY | providers_failures(20)),
    Case("proxy_failures", False, FAILING_PROXY | providers_failures(100)),
    Case("api_failures", False, FINE_API | {f'{REQUESTS}{{{API},response_code_class="5xx"}}': "0+0.5x60"}),
    Case("api_failures", True, FINE_API | {f'{REQUESTS}{{{API},response_code_class="5xx"}}': "0+6x60"}),
    Case("added_latency", False, added(900, 995, 1_000)),
    Case("added_latency", True, added(900, 980, 1_000)),
    Case("provider_failures", False, {f'{CALLS}{{provider="openai",state="completed"}}': "0+70x60"}),
    Case(
        "provider_failures",
        True,
        {
            f'{CALLS}{{provider="anthropic",state="completed"}}': "0+9000x60",
            f'{CALLS}{{provider="openai",state="completed"}}': "0+70x60",
            f'{CALLS}{{provider="openai",state="upstream_error"}}': "0+30x60",
        },
    ),
    Case("instances_at_bound", False, {f"run_googleapis_com:container_instance_count{{{PROXY}}}": "17x60"}),
    Case(
        "instances_at_bound",
        True,
        {
            f'run_googleapis_com:container_instance_count{{{PROXY},state="active"}}': "15x60",
            f'run_googleapis_com:container_instance_count{{{PROXY},state="idle"}}': "3x60",
        },
    ),
    Case("journal_lines_lost", False, {"modeltrack_journal_lines_lost_total": "5x60"}),
    Case("journal_lines_lost", True, {"modeltrack_journal_lines_lost_total": "0x55 1x5"}),
    Case("journal_late", False, {"modeltrack_journal_late_total": "0+1x60", CALLS: "0+200x60"}),
    Case("journal_late", True, {"modeltrack_journal_late_total": "0+2x60", CALLS: "0+100x60"}),
    Case("journal_unread", False, {UNACKED: "4200x60"}),
    Case("journal_unread", True, {UNACKED: "10801x60"}),
    Case("journal_set_aside", False, {ASIDE: "0x60"}),
    Case("journal_set_aside", True, {ASIDE: "1x60"}),
    Case("store_errors", False, firestores("ALREADY_EXISTS")),
    Case("store_errors", True, firestores("UNAVAILABLE")),
    Case("events_wait", False, {"modeltrack_oldest_segment_wait_seconds": "60x60"}),
    Case(
        "events_wait",
        True,
        {
            'modeltrack_oldest_segment_wait_seconds{instance="a"}': "0x60",
            'modeltrack_oldest_segment_wait_seconds{instance="b"}': "61x60",
        },
    ),
    Case("changes_unread", False, {"modeltrack_changes_unread_total": "0+30x60"}),
    Case("changes_unread", True, {"modeltrack_changes_unread_total": "0+120x60"}),
    Case("job_recover", False, {f'{REQUESTS}{{{RECOVER},response_code_class="2xx"}}': "1x60"}),
    Case("job_recover", True, {f'{REQUESTS}{{{RECOVER},response_code_class="2xx"}}': "1x20 _x40"}),
    Case("job_recover", True, {f'{REQUESTS}{{{RECOVER},response_code_class="4xx"}}': "1x60"}),
)


def as_promtool_has_it(case: Case) -> dict[str, Any]:
    firing = f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"}}) > bool 0 or vector(0)'
    expected = {
        "expr": firing,
        "eval_time": "1h",
        "exp_samples": [{"labels": "{}", "value": int(case.fires)}],
    }
    series = [{"series": name, "values": values} for name, values in case.series.items()]
    return {"interval": "1m", "input_series": series, "promql_expr_test": [expected]}


def rules_of(plan: Plan) -> list[dict[str, str]]:
    """Each policy as a rule of Prometheus', under its key."""
    found = []
    for policy in plan.of_type("google_monitoring_alert_policy"):
        key = policy.address.partition('["')[2].removesuffix('"]')
        for condition in policy.values["conditions"]:
            for asked in condition["condition_prometheus_query_language"] or ():
                found.append({"alert": key, "expr": asked["query"], "for": asked["duration"]})
    return found


def test_each_alert_fires_when_it_should_and_only_then(
    plan_of: Callable[[str], Plan], tmp_path: Path
) -> None:
    promtool = shutil.which("promtool") or shutil.which("promtool", path=MADE)
    if promtool is None:
        pytest.skip(NO_PROMTOOL)
    rules = rules_of(plan_of("production"))
    assert {case.alert for case in CASES} <= {rule["alert"] for rule in rules}
    # Both are YAML, of which JSON is a part.
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "alerts", "rules": rules}]}))
    tests = {"rule_files": ["rules.yml"], "evaluation_interval": "1m"}
    (tmp_path / "cases.yml").write_text(json.dumps(tests | {"tests": list(map(as_promtool_has_it, CASES))}))

    ran = subprocess.run(
        [promtool, "test", "rules", "cases.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
