"""What makes no sense is refused by an apply, with a word on what to give, before anything is changed."""

from typing import Any

import pytest

from tests.infra.environments import DIGEST, DOMAIN, NETWORK, OWN
from tests.infra.plans import Terraform, TerraformError

IMAGE = f"europe-west1-docker.pkg.dev/modeltrack-example/modeltrack/proxy@{DIGEST}"

# Each is refused by itself, so one apply is told of all of them.
WRONG: dict[str, Any] = {
    "proxy_image": IMAGE.partition("@")[0] + ":latest",
    "api_image": "",
    "mail_from": "ModelTrack <mail@example.com>",
    "database": "a",
    "smtp_security": "none",
    "secret_versions": {"modeltrack-secret": "latest"},
    "environment": "prod",
    "domain": "https://example.com",
    "network": NETWORK["network"],
    "kms_key": "projects/p/locations/l/keyRings/r/cryptoKeys/k/1",
    "github_repository": "example/modeltrack",
    "proxy_concurrency": 1001,
    "api_concurrency": 257,
    "proxy_instances_min": 3,
    "proxy_instances_max": 2,
}
SAID = {
    "an image by tag": "Give the image by digest (…/modeltrack/proxy@",
    "no image, once there are services": "Give the image by digest (…/modeltrack/api@",
    "a name beside the address": "Give the address alone",
    "a database's name that the services refuse": "Give (default)",
    "mail that travels readable": "Give starttls or tls",
    "the latest version of a secret": "Give numbers of versions",
    "an environment that nobody knows": "Give staging or production",
    "a domain with a scheme": "Give a domain such as",
    "a network without a part of it": "Give network and subnetwork",
    "a version of a key": "without a version",
    "a repository by its name alone": "Give the number of github_repository",
    "more calls than Cloud Run sends": "Give 1 to 1000",
    "more threads than an API starts": "Give 2 to 256",
    "fewer instances than are kept": "no fewer than are kept",
}


def refusal(terraform: Terraform, **given: object) -> str:
    """What Terraform says to it, in one line."""
    with pytest.raises(TerraformError) as refused:
        terraform.plan("staging.tfvars", **(OWN | given))
    return " ".join(str(refused.value).split())


@pytest.fixture(scope="module")
def told(terraform: Terraform) -> str:
    return refusal(terraform, **WRONG)


@pytest.mark.parametrize("says", SAID.values(), ids=list(SAID))
def test_an_apply_refuses(says: str, told: str) -> None:
    assert says in told


def test_each_wrong_value_is_refused_once(told: str) -> None:
    assert told.count("Invalid value for variable") == len(SAID)


INNER: dict[str, dict[str, Any]] = {"alone": {}, "with a domain": NETWORK | DOMAIN}


@pytest.mark.parametrize("given", INNER.values(), ids=list(INNER))
def test_an_inner_deployment_has_a_network_and_no_domain(given: dict[str, Any], terraform: Terraform) -> None:
    assert "internal needs `network` and `subnetwork`, and no `domain`" in refusal(
        terraform, exposure="internal", **given
    )
