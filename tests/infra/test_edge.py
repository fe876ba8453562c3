"""What stands between the internet and the services under a domain; and who deploys from elsewhere."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.infra.environments import DOMAIN, OWN
from tests.infra.plans import Plan, Terraform

pytestmark = pytest.mark.xdist_group("infra")

HOSTS = {"proxy.modeltrack.example.com", "api.modeltrack.example.com"}


@pytest.fixture
def edge(plan_of: Callable[[str], Plan]) -> Plan:
    """Production, under a domain."""
    return plan_of("production")


def one(plan: Plan, type: str, name: str) -> dict[str, Any]:
    (found,) = [each.values for each in plan.of_type(type) if each.name == name]
    return found


@pytest.mark.parametrize("deployment", ["staging", "private", "foundation"])
def test_without_a_domain_or_a_service_nothing_stands_in_front(
    plan_of: Callable[[str], Plan], deployment: str
) -> None:
    assert not [each for each in plan_of(deployment).resources if each.type.startswith("google_compute_")]


def test_both_hosts_are_served_under_one_certificate(edge: Plan) -> None:
    certificate = one(edge, "google_compute_managed_ssl_certificate", "edge")
    ruled = {
        host for rule in one(edge, "google_compute_url_map", "edge")["host_rule"] for host in rule["hosts"]
    }

    assert set(certificate["managed"][0]["domains"]) == ruled == HOSTS


def test_both_generations_of_addresses_take_https_and_http(edge: Plan) -> None:
    rules = edge.of_type("google_compute_global_forwarding_rule")

    assert len(edge.of_type("google_compute_global_address")) == 2
    assert sorted((each.name, each.values["port_range"]) for each in rules) == [
        ("http", "80"),
        ("http", "80"),
        ("https", "443"),
        ("https", "443"),
    ]


def test_nothing_older_than_tls_1_2_is_spoken_and_no_first_flight_is_taken_twice(edge: Plan) -> None:
    policy = one(edge, "google_compute_ssl_policy", "edge")

    assert (policy["min_tls_version"], policy["profile"]) == ("TLS_1_2", "RESTRICTED")
    assert one(edge, "google_compute_target_https_proxy", "edge")["tls_early_data"] == "DISABLED"


@pytest.fixture
def plain(edge: Plan) -> dict[str, Any]:
    """What port 80 answers."""
    return one(edge, "google_compute_url_map", "http")


def refuses(action: dict[str, Any]) -> bool:
    (policy,) = action["fault_injection_policy"]
    (abort,) = policy["abort"]
    return (abort["http_status"], abort["percentage"]) == (403, 100)


def test_plain_http_leads_pages_to_https_and_no_post_follows(plain: dict[str, Any]) -> None:
    (api,) = [matcher for matcher in plain["path_matcher"] if matcher["name"] == "api"]

    for redirect in (*plain["default_url_redirect"], *api["default_url_redirect"]):
        assert redirect["https_redirect"] is True
        assert redirect["redirect_response_code"] == "MOVED_PERMANENTLY_DEFAULT"


def test_a_program_that_calls_by_plain_http_is_refused_and_not_led_on(plain: dict[str, Any]) -> None:
    matchers = {matcher["name"]: matcher for matcher in plain["path_matcher"]}
    (programs,) = matchers["api"]["path_rule"]

    assert {host for rule in plain["host_rule"] for host in rule["hosts"]} == HOSTS
    assert not matchers["proxy"]["default_url_redirect"]
    assert not matchers["proxy"]["path_rule"]
    assert refuses(*matchers["proxy"]["default_route_action"])
    assert {"/v1/*", "/metrics", "/candidate/*"} <= set(programs["paths"])
    assert refuses(*programs["route_action"])


def test_the_published_health_address_is_answered_by_each_service(edge: Plan) -> None:
    matchers = one(edge, "google_compute_url_map", "edge")["path_matcher"]

    assert {matcher["name"] for matcher in matchers} == {"proxy", "api"}
    for matcher in matchers:
        (health,) = [rule for rule in matcher["path_rule"] if rule["paths"] == ["/healthz"]]
        assert health["route_action"][0]["url_rewrite"][0]["path_prefix_rewrite"] == "/health"


def test_answers_pass_as_they_are_and_for_as_long_as_the_service_lets_them(edge: Plan) -> None:
    for each in edge.of_type("google_compute_backend_service"):
        assert each.values["compression_mode"] == "DISABLED"
        assert each.values["enable_cdn"] is False
        assert each.values.get("timeout_sec") is None, "serverless backends refuse one"


def test_addresses_are_limited_and_no_body_is_looked_into(edge: Plan) -> None:
    policies = edge.of_type("google_compute_security_policy")

    assert len(policies) == 2
    for policy in policies:
        throttle, others = sorted(policy.values["rule"], key=lambda rule: int(rule["priority"]))
        assert (throttle["action"], throttle["preview"]) == ("throttle", False)
        assert throttle["rate_limit_options"][0]["exceed_action"] == "deny(429)"
        assert (others["action"], others["priority"]) == ("allow", 2_147_483_647)
        assert not [rule for rule in policy.values["rule"] if rule["match"][0]["expr"]]
        (options,) = policy.values["advanced_options_config"]
        assert (options["json_parsing"], options["log_level"]) == ("DISABLED", "NORMAL")


def claims_of(plan: Plan) -> dict[str, str]:
    """What a workflow has to claim, with the whole condition understood."""
    provider = one(plan, "google_iam_workload_identity_pool_provider", "github")
    assert provider["oidc"][0]["issuer_uri"] == "https://token.actions.githubusercontent.com"
    conditions = provider["attribute_condition"].split(" && ")
    found = [re.fullmatch(r'assertion\.(\w+) (?:== "([^"]+)"|in \[([^]]+)\])', each) for each in conditions]
    assert all(found), conditions
    return {each[1]: each[2] or each[3] for each in found if each}


def test_one_branch_of_one_repository_deploys_and_nobody_else(plan_of: Callable[[str], Plan]) -> None:
    claims = claims_of(plan_of("everything"))

    assert claims.pop("event_name")
    assert claims == {
        "repository": "example/modeltrack",
        "repository_id": "12345",
        "ref": "refs/heads/main",
    }


def test_no_event_of_a_stranger_starts_what_may_deploy(plan_of: Callable[[str], Plan]) -> None:
    """These run under the name of the main branch, too, and a fork or a comment starts them."""
    events = json.loads(f"[{claims_of(plan_of('everything'))['event_name']}]")

    assert set(events) == {"push", "schedule", "workflow_dispatch"}


def test_limits_may_only_be_tried(terraform: Terraform) -> None:
    plan = terraform.plan("production.tfvars", **OWN, **DOMAIN, armor_preview=True)

    for policy in plan.of_type("google_compute_security_policy"):
        assert [rule["preview"] for rule in policy.values["rule"] if rule["action"] == "throttle"] == [True]


def test_no_repository_deploys_unless_one_is_named(plan_of: Callable[[str], Plan]) -> None:
    assert not plan_of("production").of_type(
        "google_iam_workload_identity_pool", "google_iam_workload_identity_pool_provider"
    )


def test_the_bill_is_watched_up_to_what_was_meant_and_by_forecast(plan_of: Callable[[str], Plan]) -> None:
    budget = one(plan_of("everything"), "google_billing_budget", "month")
    told = [(rule["threshold_percent"], rule["spend_basis"]) for rule in budget["threshold_rules"]]

    assert budget["amount"][0]["specified_amount"][0]["units"] == "100"
    assert (1, "FORECASTED_SPEND") in told
    assert [share for share, basis in told if basis == "CURRENT_SPEND"] == [0.5, 0.9, 1]
    assert not plan_of("production").of_type("google_billing_budget")
