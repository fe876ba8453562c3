"""No deployment breaks a policy, and each policy finds what breaks it."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.infra.configuration import read_module
from tests.infra.environments import APPLIED
from tests.infra.lint import INFRA
from tests.infra.plans import Plan, Resource
from tests.infra.policy import (
    POLICIES,
    Policy,
    buckets_are_closed,
    each_account_has_its_roles_in_the_project,
    each_job_is_run_by_the_scheduler_alone,
    every_alert_says_what_to_do,
    every_secret_is_a_reference,
    every_service_is_somebody,
    everything_at_rest_takes_the_operators_key,
    everything_that_can_be_is_labelled,
    no_message_is_lost_on_its_way,
    no_role_is_broad,
    nobody_comes_in_past_the_load_balancer,
    nobody_unknown_is_let_in,
    nothing_is_taken_from_others,
    nothing_travels_readable,
    our_images_are_named_by_digest,
    segments_are_stored_after_the_answer,
    the_journal_ends_after_a_week,
    the_load_balancer_is_guarded,
    there_is_a_way_back,
    what_holds_data_is_protected,
    what_is_used_is_switched_on,
    who_is_given_a_secret_may_read_it,
    workflows_come_from_one_repository,
)

pytestmark = pytest.mark.xdist_group("infra")

PROXY = "module.proxy[0].google_cloud_run_v2_service.this"
ALERT = 'module.function["alert"].google_cloud_run_v2_service'
JOURNAL = "google_pubsub_topic.journal"
PROXY_ROLE = 'google_project_iam_member.database["proxy"]'
DATABASE = "google_firestore_database.events"
SCHEDULE = 'google_cloud_scheduler_job.job["reap"]'
ALARM = 'google_monitoring_alert_policy.alarm["job_failed"]'
BUCKET = "google_storage_bucket.builds"
BACKEND = 'google_compute_backend_service.service["proxy"]'
SINK_WRITES = "google_pubsub_topic_iam_member.journal_sink"
API_INVOKER = "module.api[0].google_cloud_run_v2_service_iam_member.invoker"
READS_SECRET = 'google_secret_manager_secret_iam_member.reader["secret-proxy"]'
BY_TAG = "europe-west1-docker.pkg.dev/a/modeltrack/proxy:1"


def changed(made: Plan, address: str, *path: str | int, to: Any) -> Plan:
    """The same with another value there; `to` may make it of the one that is there."""
    resources = {each.address: each for each in copy.deepcopy(made.resources)}
    inner: Any = resources[address].values
    for each in path[:-1]:
        inner = inner[each]
    inner[path[-1]] = to(inner[path[-1]]) if callable(to) else to
    return Plan(tuple(resources.values()))


def with_another(made: Plan, type: str, **values: Any) -> Plan:
    return Plan((*made.resources, Resource(f"{type}.planted", type, values)))


def without(made: Plan, address: str) -> Plan:
    assert address in {each.address for each in made.resources}
    return Plan(tuple(each for each in made.resources if each.address != address))


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.__name__)
@pytest.mark.parametrize("name", APPLIED)
def test_no_deployment_breaks_a_policy(applied: Callable[[str], Plan], name: str, policy: Policy) -> None:
    assert list(policy(applied(name))) == []


PLANTED: list[tuple[Policy, Callable[[Plan], Plan], str]] = [
    (
        nobody_unknown_is_let_in,
        lambda made: changed(made, f"{ALERT}_iam_member.invoker", "member", to="allUsers"),
        "allUsers has roles/run.invoker",
    ),
    (
        nobody_unknown_is_let_in,
        lambda made: with_another(
            made,
            "google_storage_bucket_iam_member",
            member="allAuthenticatedUsers",
            role="roles/storage.objectViewer",
        ),
        "allAuthenticatedUsers has roles/storage.objectViewer",
    ),
    (
        nobody_unknown_is_let_in,
        lambda made: changed(
            made,
            API_INVOKER,
            "role",
            to="roles/run.developer",
        ),
        "allUsers has roles/run.developer",
    ),
    (
        no_role_is_broad,
        lambda made: changed(made, PROXY_ROLE, "role", to="roles/editor"),
        "roles/editor is broad",
    ),
    (
        no_role_is_broad,
        lambda made: changed(made, SINK_WRITES, "role", to="roles/pubsub.admin"),
        "roles/pubsub.admin is broad",
    ),
    (
        each_account_has_its_roles_in_the_project,
        lambda made: changed(made, PROXY_ROLE, "role", to="roles/run.developer"),
        "modeltrack-proxy is not to have roles/run.developer",
    ),
    (
        each_account_has_its_roles_in_the_project,
        lambda made: changed(made, PROXY_ROLE, "condition", to=[]),
        "reaches every database",
    ),
    (
        nothing_is_taken_from_others,
        lambda made: with_another(made, "google_project_iam_binding"),
        "google_project_iam_binding is not to be used",
    ),
    (
        nothing_is_taken_from_others,
        lambda made: with_another(made, "google_service_account_key"),
        "google_service_account_key is not to be used",
    ),
    (
        every_secret_is_a_reference,
        lambda made: changed(
            made,
            PROXY,
            *("template", 0, "containers", 0, "env"),
            to=lambda env: [*env, {"name": "SMTP_PASSWORD", "value": "secret", "value_source": []}],
        ),
        "SMTP_PASSWORD is written out",
    ),
    (
        every_secret_is_a_reference,
        lambda made: with_another(made, "google_secret_manager_secret_version"),
        "its value is in Terraform's state",
    ),
    (
        who_is_given_a_secret_may_read_it,
        lambda made: without(made, READS_SECRET),
        "modeltrack-proxy is given modeltrack-secret and may not read it",
    ),
    (
        who_is_given_a_secret_may_read_it,
        lambda made: changed(
            made,
            READS_SECRET,
            *("secret_id",),
            to="modeltrack-smtp-password",
        ),
        "modeltrack-proxy may read modeltrack-smtp-password and is not given it",
    ),
    (
        every_service_is_somebody,
        lambda made: changed(made, PROXY, "template", 0, "service_account", to=None),
        "runs as the default account",
    ),
    (
        every_service_is_somebody,
        lambda made: changed(made, PROXY, "template", 0, "service_account", to="modeltrack-api@example"),
        "runs as modeltrack-api",
    ),
    (
        our_images_are_named_by_digest,
        lambda made: changed(
            made,
            PROXY,
            "template",
            0,
            "containers",
            0,
            "image",
            to=BY_TAG,
        ),
        "is no digest",
    ),
    (
        segments_are_stored_after_the_answer,
        lambda made: changed(made, PROXY, "template", 0, "timeout", to="300s"),
        "ends a call after 300s",
    ),
    (
        segments_are_stored_after_the_answer,
        lambda made: changed(
            made, PROXY, "template", 0, "containers", 0, "resources", 0, "cpu_idle", to=True
        ),
        "has no processor between requests",
    ),
    (
        what_holds_data_is_protected,
        lambda made: changed(made, PROXY, "deletion_protection", to=False),
        "may be destroyed",
    ),
    (
        what_holds_data_is_protected,
        lambda made: changed(made, DATABASE, "deletion_policy", to="DELETE"),
        "deletion_policy is DELETE",
    ),
    (
        what_holds_data_is_protected,
        lambda made: with_another(made, "google_storage_bucket", force_destroy=True),
        "may be destroyed with what it holds",
    ),
    (
        there_is_a_way_back,
        lambda made: without(made, "google_firestore_backup_schedule.weekly"),
        "has no backup by weekly_recurrence",
    ),
    (
        there_is_a_way_back,
        lambda made: changed(
            made,
            DATABASE,
            *("point_in_time_recovery_enablement",),
            to="POINT_IN_TIME_RECOVERY_DISABLED",
        ),
        "has no way back to a minute",
    ),
    *(
        (everything_at_rest_takes_the_operators_key, planted, "takes no key of the operator's")
        for planted in (
            lambda made: changed(made, JOURNAL, "kms_key_name", to=None),
            lambda made: changed(made, PROXY, "template", 0, "encryption_key", to=None),
            lambda made: changed(made, DATABASE, "cmek_config", to=[]),
            lambda made: changed(made, BUCKET, "encryption", to=[]),
        )
    ),
    (
        buckets_are_closed,
        lambda made: changed(made, BUCKET, "public_access_prevention", to="inherited"),
        "could be opened",
    ),
    (
        nobody_comes_in_past_the_load_balancer,
        lambda made: changed(made, PROXY, "ingress", to="INGRESS_TRAFFIC_ALL"),
        "INGRESS_TRAFFIC_ALL instead of INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER",
    ),
    (
        nobody_comes_in_past_the_load_balancer,
        lambda made: changed(made, f"{ALERT}.this", "ingress", to="INGRESS_TRAFFIC_ALL"),
        "INGRESS_TRAFFIC_ALL instead of INGRESS_TRAFFIC_INTERNAL_ONLY",
    ),
    (
        nothing_travels_readable,
        lambda made: changed(made, "google_compute_ssl_policy.edge[0]", "min_tls_version", to="TLS_1_1"),
        "speaks TLS older than 1.2",
    ),
    (
        nothing_travels_readable,
        lambda made: changed(made, "google_compute_target_https_proxy.edge[0]", "ssl_policy", to=None),
        "speaks TLS older than 1.2",
    ),
    (
        nothing_travels_readable,
        lambda made: changed(made, "google_compute_url_map.http[0]", "default_url_redirect", to=[]),
        "serves without TLS",
    ),
    (
        nothing_travels_readable,
        lambda made: changed(
            made,
            "google_compute_url_map.http[0]",
            "path_matcher",
            to=[{"name": "proxy", "default_service": "proxy", "path_rule": [], "route_rules": []}],
        ),
        "serves without TLS",
    ),
    (
        the_load_balancer_is_guarded,
        lambda made: changed(made, BACKEND, "security_policy", to=None),
        "nothing guards it",
    ),
    (
        each_job_is_run_by_the_scheduler_alone,
        lambda made: without(made, SCHEDULE),
        "nothing runs it",
    ),
    (
        each_job_is_run_by_the_scheduler_alone,
        lambda made: changed(made, SCHEDULE, "attempt_deadline", to="60s"),
        "waits 60s",
    ),
    (
        each_job_is_run_by_the_scheduler_alone,
        lambda made: changed(made, SCHEDULE, "http_target", 0, "oidc_token", to=[]),
        "asks ",
    ),
    (
        each_job_is_run_by_the_scheduler_alone,
        lambda made: changed(
            made, f"{ALERT}_iam_member.invoker", "member", to="serviceAccount:modeltrack-api@example"
        ),
        "serviceAccount:modeltrack-api@example may run it",
    ),
    (
        no_message_is_lost_on_its_way,
        lambda made: without(made, "google_pubsub_subscription.journal_aside"),
        "nobody keeps what it takes",
    ),
    (
        no_message_is_lost_on_its_way,
        lambda made: changed(made, "google_pubsub_subscription.journal", "expiration_policy", to=[]),
        "ends by itself",
    ),
    (
        no_message_is_lost_on_its_way,
        lambda made: without(made, SINK_WRITES),
        "may not write into google_pubsub_topic/modeltrack-journal#id",
    ),
    (
        the_journal_ends_after_a_week,
        lambda made: changed(made, "google_logging_project_bucket_config.journal", "retention_days", to=30),
        "is kept 30 days",
    ),
    (
        every_alert_says_what_to_do,
        lambda made: changed(made, ALARM, "notification_channels", to=[]),
        "tells nobody",
    ),
    (
        every_alert_says_what_to_do,
        lambda made: changed(made, ALARM, "documentation", to=[]),
        "says nothing",
    ),
    (
        everything_that_can_be_is_labelled,
        lambda made: changed(made, ALARM, "user_labels", to={}),
        "has no labels",
    ),
    (
        what_is_used_is_switched_on,
        lambda made: without(made, 'google_project_service.api["pubsub.googleapis.com"]'),
        "pubsub.googleapis.com is off",
    ),
    (
        what_is_used_is_switched_on,
        lambda made: with_another(made, "google_redis_instance"),
        "nobody has said which API it needs",
    ),
    (
        workflows_come_from_one_repository,
        lambda made: changed(
            made,
            "google_iam_workload_identity_pool_provider.github[0]",
            *("attribute_condition",),
            to='assertion.ref == "refs/heads/main"',
        ),
        "takes any repository",
    ),
]


@pytest.mark.parametrize(("policy", "plant", "found"), PLANTED)
def test_each_policy_finds_what_breaks_it(
    applied: Callable[[str], Plan], policy: Policy, plant: Callable[[Plan], Plan], found: str
) -> None:
    assert any(found in each for each in policy(plant(applied("everything"))))


def test_a_policy_that_finds_nothing_planted_is_none() -> None:
    assert {policy for policy, _, _ in PLANTED} == set(POLICIES)


def test_a_service_inside_a_network_is_reached_from_there_alone(applied: Callable[[str], Plan]) -> None:
    opened = changed(applied("private"), PROXY, "ingress", to="INGRESS_TRAFFIC_ALL")

    assert list(nobody_comes_in_past_the_load_balancer(opened)) == [
        f"{PROXY}: INGRESS_TRAFFIC_ALL instead of INGRESS_TRAFFIC_INTERNAL_ONLY"
    ]


def test_whatever_takes_labels_gets_them_from_the_provider() -> None:
    (provider,) = read_module(INFRA).of_kind("provider")

    assert provider.arguments["default_labels"]


def test_by_default_nothing_waits_for_calls_in_any_deployment(applied: Callable[[str], Plan]) -> None:
    for name in APPLIED:
        for each in applied(name).of_type("google_cloud_run_v2_service"):
            assert not each.values["template"][0]["scaling"][0]["min_instance_count"]
            assert not [kept for kept in each.values["scaling"] if kept["min_instance_count"]]
