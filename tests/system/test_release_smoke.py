"""What a release tries of new revisions holds of services that run, and finds what does not fit together."""

import secrets
import time
from collections.abc import Iterator

import pytest

from infra.release.smoke import Addresses, Canary, SmokeFailed, smoke
from tests.system.deployment import Deployment, Tenant
from tests.system.processes import Process

COMMIT = "c0ffee" * 6 + "c0de"
PAUSE_SECONDS = 0.2
TRIES = 50


@pytest.fixture
def tenant(sqlite_deployment: Deployment) -> Tenant:
    return sqlite_deployment.tenant()


def tried(proxy: Process, deployment: Deployment, tenant: Tenant, tries: int = TRIES) -> list[str]:
    said: list[str] = []
    canary = Canary(tenant.key, tenant.provider_key)
    at = Addresses(proxy.url, deployment.api.url)
    smoke(at, canary, said.append, lambda _seconds: time.sleep(PAUSE_SECONDS), tries)
    return said


def proxy_of(deployment: Deployment, **settings: str) -> Iterator[Process]:
    proxy = deployment.start_proxy(settings, data="release")
    yield proxy
    proxy.stop()


@pytest.fixture
def proxy(sqlite_deployment: Deployment) -> Iterator[Process]:
    """A proxy that lets in nobody without a key, as hosted ones do."""
    yield from proxy_of(sqlite_deployment, KEY_REQUIRED="true", MODELTRACK_REVISION=COMMIT)


def test_a_call_through_the_proxy_is_found_in_the_api(
    sqlite_deployment: Deployment, tenant: Tenant, proxy: Process
) -> None:
    said = tried(proxy, sqlite_deployment, tenant)

    assert said[-2].endswith("200 of the provider")
    assert said[-1].endswith("came out of the API")


def test_a_revision_of_another_commit_is_not_taken_for_the_new_one(
    sqlite_deployment: Deployment, proxy: Process
) -> None:
    def try_commit(commit: str) -> None:
        at = Addresses(proxy.url, sqlite_deployment.api.url, commit)
        smoke(at, None, lambda _: None, lambda _: None, tries=1)

    with pytest.raises(
        SmokeFailed, match=f"proxy /health: it must be of {'0' * 40}, and says version .*{COMMIT}"
    ):
        try_commit("0" * 40)
    with pytest.raises(SmokeFailed, match="API /health"):
        try_commit(COMMIT)


def test_a_proxy_that_relays_for_anybody_is_found(sqlite_deployment: Deployment, tenant: Tenant) -> None:
    with pytest.raises(SmokeFailed, match="must be the proxy that refuses"):
        tried(sqlite_deployment.proxy, sqlite_deployment, tenant, tries=1)


def test_a_proxy_with_another_secret_is_found(sqlite_deployment: Deployment, tenant: Tenant) -> None:
    settings = {"KEY_REQUIRED": "true", "MODELTRACK_SECRET": secrets.token_hex(32)}
    for other in proxy_of(sqlite_deployment, **settings):
        with pytest.raises(SmokeFailed, match="must be answered; it was answered 401"):
            tried(other, sqlite_deployment, tenant, tries=1)
