"""A release finds what it tries, also where the services take requests by the load balancer alone."""

from collections.abc import Callable

from infra.release.traffic import OWN_CONTAINER, TAG
from tests.infra.lint import INFRA
from tests.infra.plans import Plan


def test_what_is_tried_is_what_releases_tag(plan_of: Callable[[str], Plan]) -> None:
    groups = plan_of("production").of_type("google_compute_region_network_endpoint_group")

    tagged = {
        each.values["cloud_run"][0]["service"]
        for each in groups
        if each.values["cloud_run"][0].get("tag") == TAG
    }
    assert tagged == {"modeltrack-proxy", "modeltrack-api"}


def test_each_host_has_it_under_a_path_of_its_own_beside_everything_else(
    plan_of: Callable[[str], Plan],
) -> None:
    maps = plan_of("production").of_type("google_compute_url_map")

    (matchers,) = [each.values["path_matcher"] for each in maps if each.name == "edge"]
    for matcher in matchers:
        rules = {rule["paths"][0]: rule["route_action"][0]["url_rewrite"][0] for rule in matcher["path_rule"]}
        assert rules["/candidate/*"]["path_prefix_rewrite"] == "/"
    assert {matcher["name"] for matcher in matchers} == {"proxy", "api"}


def test_what_is_tried_is_limited_and_protected_as_what_serves(plan_of: Callable[[str], Plan]) -> None:
    backends = plan_of("production").of_type("google_compute_backend_service")

    assert len(backends) == 4
    for each in backends:
        assert each.values["enable_cdn"] is False
        assert each.values["load_balancing_scheme"] == "EXTERNAL_MANAGED"
    text = (INFRA / "candidates.tf").read_text()
    assert "security_policy       = google_compute_security_policy.edge[each.key].id" in text


def test_releases_know_our_container_by_its_name() -> None:
    assert f'container = "{OWN_CONTAINER}"' in (INFRA / "modules" / "service" / "main.tf").read_text()
