"""What no deployment of ours may be like, said of what an apply makes.

Checkov knows the rules that hold for everybody (test_checkov.py); these are ours. Each reads a whole
deployment and yields a line for each thing that breaks it.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from tests.infra.plans import Plan, Resource

Policy = Callable[[Plan], Iterator[str]]

SERVICES = ("modeltrack-proxy", "modeltrack-api")
RUN, INVOKER = "google_cloud_run_v2_service", "google_cloud_run_v2_service_iam_member"
EVERYBODY = {"allUsers", "allAuthenticatedUsers"}
# What each account may do in the whole project; everything else is granted on the one thing it is for.
PROJECT_ROLES = {
    "modeltrack-api": {"roles/datastore.user", "roles/monitoring.metricWriter"},
    "modeltrack-deploy": {
        "roles/cloudbuild.builds.editor",  # of a workflow: it starts a build
        "roles/cloudscheduler.jobRunner",  # a smoke test runs a job once
        "roles/logging.logWriter",  # Cloud Build's own log
        "roles/monitoring.viewer",  # whether the new revision fails more
        "roles/ondemandscanning.admin",  # the role that Artifact Analysis names for scanning an image
        "roles/run.developer",
        "roles/serviceusage.serviceUsageConsumer",  # of a workflow: it asks as the project
    },
    "modeltrack-functions": {"roles/datastore.user"},
    "modeltrack-proxy": {"roles/datastore.user", "roles/monitoring.metricWriter"},
    "modeltrack-scheduler": set[str](),
}
# These give everything, or give what gives everything.
BROAD = re.compile(
    r"roles/(owner|editor|viewer|iam\.(securityAdmin|serviceAccount(Admin|KeyAdmin|TokenCreator)))$|\.admin$|Admin$"
)
MEANT_BROAD = {"roles/ondemandscanning.admin"}
# They take away what others were granted, or make a key that can be lost.
FORBIDDEN_TYPES = re.compile(
    r"_iam_(policy|binding)$|_service_account_key$|_bucket_(acl|access_control)$|_object_acl$"
)
SECRET_SETTING = re.compile(r"(^|_)(SECRET|PASSWORD|TOKEN|KEY|CREDENTIALS)$")
BY_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
APIS = {
    "google_artifact_registry_": "artifactregistry",
    "google_billing_": "billingbudgets",
    "google_cloud_run_": "run",
    "google_cloud_scheduler_": "cloudscheduler",
    "google_compute_": "compute",
    "google_firebaserules_": "firebaserules",
    "google_firestore_": "firestore",
    "google_iam_workload_": "sts",
    "google_kms_": "cloudkms",
    "google_logging_": "logging",
    "google_monitoring_": "monitoring",
    "google_pubsub_": "pubsub",
    "google_secret_manager_": "secretmanager",
    "google_service_account": "iam",
    "google_storage_": "storage",
}
JOURNAL_DAYS = 7


def nobody_unknown_is_let_in(made: Plan) -> Iterator[str]:
    """Proxy and API ask for keys themselves; nothing else is anybody's."""
    for each in granted(made):
        is_public = (
            each.type == INVOKER
            and each.values["name"] in SERVICES
            and each.values["role"] == "roles/run.invoker"
        )
        if each.values["member"] in EVERYBODY and not is_public:
            yield f"{each.address}: {each.values['member']} has {each.values['role']}"


def no_role_is_broad(made: Plan) -> Iterator[str]:
    """No role gives more than its bearer is for."""
    for each in granted(made):
        role = each.values["role"]
        if BROAD.search(role) and role not in MEANT_BROAD:
            yield f"{each.address}: {role} is broad"


def each_account_has_its_roles_in_the_project(made: Plan) -> Iterator[str]:
    """A role in the project is one of PROJECT_ROLES, and that of the database reaches one database."""
    for each in made.of_type("google_project_iam_member"):
        account, role = account_of(each.values["member"]), each.values["role"]
        if role not in PROJECT_ROLES.get(account, ()):
            yield f"{each.address}: {account} is not to have {role}"
        if role == "roles/datastore.user" and "/databases/" not in str(each.values["condition"]):
            yield f"{each.address}: reaches every database"


def nothing_is_taken_from_others(made: Plan) -> Iterator[str]:
    """Grants are added one by one, and no account has a key to lose."""
    for each in made.resources:
        if FORBIDDEN_TYPES.search(each.type):
            yield f"{each.address}: {each.type} is not to be used"


def every_secret_is_a_reference(made: Plan) -> Iterator[str]:
    """No secret's value is in a setting or in Terraform's state, and somebody chose its version."""
    for service, setting in settings(made):
        reference = one(one(setting["value_source"]).get("secret_key_ref"))
        if SECRET_SETTING.search(setting["name"]) and not reference:
            yield f"{service.address}: {setting['name']} is written out"
        if reference and not str(reference["version"]).isdigit():
            yield f"{service.address}: {setting['name']} is of version {reference['version']}"
    for each in made.of_type("google_secret_manager_secret_version"):
        if (
            each.name != "metrics"
        ):  # what a collector asks: no secret, only a file that Cloud Run takes from there
            yield f"{each.address}: its value is in Terraform's state"


def who_is_given_a_secret_may_read_it(made: Plan) -> Iterator[str]:
    """Each account reads what its service is given, and nothing else."""
    readers = {
        (secret_of(each.values["secret_id"]), account_of(each.values["member"]))
        for each in made.of_type("google_secret_manager_secret_iam_member")
    }
    given = {
        (secret, account_of(service.values["template"][0]["service_account"]))
        for service, secret in secrets_given(made)
    }
    for secret, account in sorted(given - readers):
        yield f"{account} is given {secret} and may not read it"
    for secret, account in sorted(readers - given):
        if account != "modeltrack-deploy":
            yield f"{account} may read {secret} and is not given it"


def every_service_is_somebody(made: Plan) -> Iterator[str]:
    """Services run as accounts of their own, none as Google's default, which may do nearly everything."""
    ours = {each.values["account_id"] for each in made.of_type("google_service_account")}
    expected = {name: name for name in SERVICES}
    for each in made.of_type(RUN):
        account = account_of(each.values["template"][0]["service_account"] or "")
        if account not in ours or account != expected.get(each.values["name"], "modeltrack-functions"):
            yield f"{each.address}: runs as {account or 'the default account'}"


def our_images_are_named_by_digest(made: Plan) -> Iterator[str]:
    """What was tested and scanned is what runs."""
    for service, container in containers(made):
        if "/modeltrack/" in container["image"] and not BY_DIGEST.search(container["image"]):
            yield f"{service.address}: {container['image']} is no digest"


def segments_are_stored_after_the_answer(made: Plan) -> Iterator[str]:
    """Both services keep their processors between requests, and let a long answer end."""
    for each in made.of_type(RUN):
        if each.values["name"] not in SERVICES:
            continue
        template = each.values["template"][0]
        if template["timeout"] != "3600s":
            yield f"{each.address}: ends a call after {template['timeout']}"
        for container in template["containers"]:
            if container["resources"][0]["cpu_idle"] is not False:
                yield f"{each.address}: {container['name']} has no processor between requests"


def what_holds_data_is_protected(made: Plan) -> Iterator[str]:
    """In production nothing that holds data, or that people reach, ends by a mistake."""
    if environment(made) != "production":
        return
    for each in made.of_type(RUN):
        if not each.values["deletion_protection"]:
            yield f"{each.address}: may be destroyed"
    for each in made.of_type("google_firestore_database"):
        kept = {"delete_protection_state": "DELETE_PROTECTION_ENABLED", "deletion_policy": "ABANDON"}
        for name, value in kept.items():
            if each.values[name] != value:
                yield f"{each.address}: {name} is {each.values[name]}"
    for each in made.of_type("google_storage_bucket"):
        if each.values["force_destroy"] and each.name != "builds":  # sources on their way to Cloud Build
            yield f"{each.address}: may be destroyed with what it holds"


def there_is_a_way_back(made: Plan) -> Iterator[str]:
    """Of every database there are the last seven days and backups by day and week."""
    schedules = made.of_type("google_firestore_backup_schedule")
    for each in made.of_type("google_firestore_database"):
        if each.values["point_in_time_recovery_enablement"] != "POINT_IN_TIME_RECOVERY_ENABLED":
            yield f"{each.address}: has no way back to a minute"
        for recurrence in ("daily_recurrence", "weekly_recurrence"):
            if not any(schedule.values[recurrence] for schedule in schedules):
                yield f"{each.address}: has no backup by {recurrence}"


def everything_at_rest_takes_the_operators_key(made: Plan) -> Iterator[str]:
    """With a key of the operator's own, whatever holds data, images or secrets is encrypted under it."""
    if not made.of_type("google_kms_crypto_key_iam_member"):
        return
    for each in made.resources:
        if each.type in KEY_OF and not KEY_OF[each.type](each.values):
            yield f"{each.address}: takes no key of the operator's"


def buckets_are_closed(made: Plan) -> Iterator[str]:
    """No object of a bucket has rights of its own, and none can be made public."""
    for each in made.of_type("google_storage_bucket"):
        if (
            not each.values["uniform_bucket_level_access"]
            or each.values["public_access_prevention"] != "enforced"
        ):
            yield f"{each.address}: could be opened"


def nobody_comes_in_past_the_load_balancer(made: Plan) -> Iterator[str]:
    """With a load balancer services are reached by it alone, in a network from there; jobs never."""
    has_balancer = bool(made.of_type("google_compute_backend_service"))
    is_inside = (
        any(each.values["template"][0]["vpc_access"] for each in made.of_type(RUN)) and not has_balancer
    )
    wanted = "INTERNAL_LOAD_BALANCER" if has_balancer else "INTERNAL_ONLY" if is_inside else "ALL"
    for each in made.of_type(RUN):
        ingress = f"INGRESS_TRAFFIC_{wanted if each.values['name'] in SERVICES else 'INTERNAL_ONLY'}"
        if each.values["ingress"] != ingress:
            yield f"{each.address}: {each.values['ingress']} instead of {ingress}"


def nothing_travels_readable(made: Plan) -> Iterator[str]:
    """The load balancer speaks TLS 1.2 and newer; without TLS it leads there or refuses, and serves none."""
    policies = {each.values["id"]: each for each in made.of_type("google_compute_ssl_policy")}
    maps = {each.values["id"]: each for each in made.of_type("google_compute_url_map")}
    for each in made.of_type("google_compute_target_https_proxy"):
        policy = policies.get(each.values["ssl_policy"])
        if policy is None or policy.values["min_tls_version"] not in ("TLS_1_2", "TLS_1_3"):
            yield f"{each.address}: speaks TLS older than 1.2"
    for each in made.of_type("google_compute_target_http_proxy"):
        if not all(map(serves_nobody, _places_of(maps[each.values["url_map"]].values))):
            yield f"{each.address}: serves without TLS"


def _places_of(url_map: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Whatever of the map says what is done with a request."""
    yield url_map
    for matcher in url_map["path_matcher"]:
        yield matcher
        yield from matcher["path_rule"]
        yield from matcher["route_rules"]


def serves_nobody(place: dict[str, Any]) -> bool:
    """Whether each request is led to https there, or refused."""
    redirect = one(place.get("default_url_redirect") or place.get("url_redirect"))
    action = one(place.get("default_route_action") or place.get("route_action"))
    abort = one(one(action.get("fault_injection_policy")).get("abort"))
    refused = abort.get("percentage") == 100 and 400 <= abort.get("http_status", 0) < 500
    return redirect.get("https_redirect") is True or refused


def the_load_balancer_is_guarded(made: Plan) -> Iterator[str]:
    """Cloud Armor stands before each service, and what it decides is logged."""
    policies = {each.values["id"] for each in made.of_type("google_compute_security_policy")}
    for each in made.of_type("google_compute_backend_service"):
        if each.values["security_policy"] not in policies:
            yield f"{each.address}: nothing guards it"
        if one(each.values["log_config"]).get("enable") is not True:
            yield f"{each.address}: logs nothing"


def each_job_is_run_by_the_scheduler_alone(made: Plan) -> Iterator[str]:
    """A job answers to one account, and the schedule waits as long as it may take."""
    jobs = {each.values["uri"]: each for each in made.of_type(RUN) if each.values["name"] not in SERVICES}
    for each in made.of_type("google_cloud_scheduler_job"):
        target = each.values["http_target"][0]
        token, job = one(target["oidc_token"]), jobs.pop(target["uri"], None)
        if job is None or token.get("audience") != job.values["uri"]:
            yield f"{each.address}: asks {target['uri']} for {token.get('audience')}"
        elif job.values["template"][0]["timeout"] != each.values["attempt_deadline"]:
            yield f"{each.address}: waits {each.values['attempt_deadline']}"
        if account_of(token.get("service_account_email", "")) != "modeltrack-scheduler":
            yield f"{each.address}: asks as {token.get('service_account_email')}"
    for job in jobs.values():
        yield f"{job.address}: nothing runs it"
    for each in made.of_type(INVOKER):
        if (
            each.values["name"] not in SERVICES
            and account_of(each.values["member"]) != "modeltrack-scheduler"
        ):
            yield f"{each.address}: {each.values['member']} may run it"


def no_message_is_lost_on_its_way(made: Plan) -> Iterator[str]:
    """Every topic has a subscription that never ends, and sinks may write into what they lead to."""
    subscriptions = made.of_type("google_pubsub_subscription")
    for topic in made.of_type("google_pubsub_topic"):
        mine = [
            each
            for each in subscriptions
            if each.values["topic"] in (topic.values["id"], topic.values["name"])
        ]
        if not mine:
            yield f"{topic.address}: nobody keeps what it takes"
    for each in subscriptions:
        if one(each.values["expiration_policy"]).get("ttl") != "":
            yield f"{each.address}: ends by itself"
    publishers = {
        (each.values["topic"], each.values["member"])
        for each in made.of_type("google_pubsub_topic_iam_member")
    }
    for sink in made.of_type("google_logging_project_sink"):
        _, _, topic = sink.values["destination"].partition("pubsub.googleapis.com/")
        if topic and (topic, sink.values["writer_identity"]) not in publishers:
            yield f"{sink.address}: may not write into {topic}"


def the_journal_ends_after_a_week(made: Plan) -> Iterator[str]:
    """What is erased has ended in the journal's log bucket a week later (docs/retention.md)."""
    buckets = made.of_type("google_logging_project_bucket_config")
    if not buckets:
        yield "the journal has no log bucket of its own"
    for each in buckets:
        if each.values["retention_days"] != JOURNAL_DAYS or each.values["locked"]:
            yield f"{each.address}: is kept {each.values['retention_days']} days"


def every_alert_says_what_to_do(made: Plan) -> Iterator[str]:
    """Whoever is woken reads what it means, and is somebody where there is somebody."""
    has_channels = bool(made.of_type("google_monitoring_notification_channel"))
    for each in made.of_type("google_monitoring_alert_policy"):
        if not one(each.values["documentation"]).get("content"):
            yield f"{each.address}: says nothing"
        if has_channels and not each.values["notification_channels"]:
            yield f"{each.address}: tells nobody"


def everything_that_can_be_is_labelled(made: Plan) -> Iterator[str]:
    """Bills and lists tell what is ours; the provider labels everything else by `default_labels`."""
    for each in made.resources:
        if "user_labels" in each.values and (each.values["user_labels"] or {}).get("app") != "modeltrack":
            yield f"{each.address}: has no labels"


def what_is_used_is_switched_on(made: Plan) -> Iterator[str]:
    """Of everything there is, the API is enabled before."""
    on = {
        each.values["service"].removesuffix(".googleapis.com")
        for each in made.of_type("google_project_service")
    }
    for prefix, api in APIS.items():
        first = next((each for each in made.resources if each.type.startswith(prefix)), None)
        if first and api not in on:
            yield f"{first.address}: {api}.googleapis.com is off"
    for each in made.resources:
        if not each.type.startswith((*APIS, "google_project_iam_", "google_project_service")):
            yield f"{each.address}: nobody has said which API it needs"


def workflows_come_from_one_repository(made: Plan) -> Iterator[str]:
    """Anybody on GitHub has a token of the same issuer: the repository is asked for."""
    for each in made.of_type("google_iam_workload_identity_pool_provider"):
        if not re.search(r'assertion\.repository(_id)? == "', each.values["attribute_condition"] or ""):
            yield f"{each.address}: takes any repository"


POLICIES: tuple[Policy, ...] = (
    nobody_unknown_is_let_in,
    no_role_is_broad,
    each_account_has_its_roles_in_the_project,
    nothing_is_taken_from_others,
    every_secret_is_a_reference,
    who_is_given_a_secret_may_read_it,
    every_service_is_somebody,
    our_images_are_named_by_digest,
    segments_are_stored_after_the_answer,
    what_holds_data_is_protected,
    there_is_a_way_back,
    everything_at_rest_takes_the_operators_key,
    buckets_are_closed,
    nobody_comes_in_past_the_load_balancer,
    nothing_travels_readable,
    the_load_balancer_is_guarded,
    each_job_is_run_by_the_scheduler_alone,
    no_message_is_lost_on_its_way,
    the_journal_ends_after_a_week,
    every_alert_says_what_to_do,
    everything_that_can_be_is_labelled,
    what_is_used_is_switched_on,
    workflows_come_from_one_repository,
)


def one(block: Any) -> dict[str, Any]:
    """What stands in a block that may stand once; nothing where it does not."""
    return block[0] or {} if block else {}


KEY_OF: dict[str, Callable[[dict[str, Any]], Any]] = {
    "google_artifact_registry_repository": lambda its: its["kms_key_name"],
    RUN: lambda its: one(its["template"])["encryption_key"],
    "google_firestore_database": lambda its: one(its["cmek_config"]).get("kms_key_name"),
    "google_logging_project_bucket_config": lambda its: one(its["cmek_settings"]).get("kms_key_name"),
    "google_pubsub_topic": lambda its: its["kms_key_name"],
    "google_secret_manager_secret": lambda its: "kms_key_name" in str(its["replication"]),
    "google_storage_bucket": lambda its: one(its["encryption"]).get("default_kms_key_name"),
}


def granted(made: Plan) -> list[Resource]:
    """Everything that gives somebody a role."""
    return [each for each in made.resources if each.type.endswith("_iam_member")]


def account_of(member: str) -> str:
    """The id of a service account, of its address or of a member."""
    return member.removeprefix("serviceAccount:").partition("@")[0]


def secret_of(secret: str) -> str:
    """The id of a secret, of its full name too."""
    return secret.rpartition("/secrets/")[2]


def containers(made: Plan) -> Iterator[tuple[Resource, dict[str, Any]]]:
    """Every container, with the service it is of."""
    for each in made.of_type(RUN):
        for container in each.values["template"][0]["containers"]:
            yield each, container


def settings(made: Plan) -> Iterator[tuple[Resource, dict[str, Any]]]:
    """Every environment variable, with the service it is of."""
    for service, container in containers(made):
        for setting in container["env"]:
            yield service, setting


def secrets_given(made: Plan) -> Iterator[tuple[Resource, str]]:
    """Every secret that a service is given, as a variable or as a file."""
    for service, setting in settings(made):
        for source in setting["value_source"]:
            yield service, secret_of(source["secret_key_ref"][0]["secret"])
    for each in made.of_type(RUN):
        for volume in each.values["template"][0]["volumes"]:
            for file in volume["secret"]:
                yield each, secret_of(file["secret"])


def environment(made: Plan) -> str:
    """`staging` or `production`, as the labels say."""
    return next(str(each.values["labels"]["environment"]) for each in made.of_type(RUN))
