"""Which revision of a Cloud Run service gets how much of its traffic: asked, and changed.

The answers are Services of Cloud Run's Admin API v1, as `gcloud run services describe --format=json` prints
them (https://cloud.google.com/run/docs/reference/rest/v1/namespaces.services, 2026-11-21).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from infra.release.gcloud import Gcloud, GcloudFailed
from infra.release.services import Service

TAG: Final = "candidate"  # the newest release is to be found under it, from its deployment on
OWN_CONTAINER: Final = "service"  # as infra/modules/service calls it; others may run beside it
Split = Mapping[str, int]  # revision → percent of the traffic; those without any are left out


class NotSteady(Exception):
    """A service's traffic is divided: an earlier release did not come to its end, or one is under way."""


@dataclass(frozen=True)
class Standing:
    """How a service stands. `containers` are images by name; `tried` and `tried_at` what the tag leads to."""

    split: Split
    latest: str
    is_latest_ready: bool
    containers: Mapping[str, str]
    tried: str
    tried_at: str


class Traffic:
    """The traffic of the services of one project and region."""

    def __init__(self, gcloud: Gcloud) -> None:
        self._gcloud = gcloud
        self._region = f"--region={gcloud.region}"

    def standing(self, service: Service) -> Standing:
        """How the service stands now. Raises: GcloudFailed."""
        shown = self._gcloud.ask("run", "services", "describe", service.name, self._region)
        try:
            return _standing(shown)
        except (AttributeError, KeyError, TypeError):
            raise GcloudFailed(f"{service.name}: the answer is none of a service that has served") from None

    def revision_that_serves(self, service: Service) -> str:
        """The one revision that has all the traffic. Raises: NotSteady, GcloudFailed."""
        split = self.standing(service).split
        if list(split.values()) != [100]:
            shares = ", ".join(f"{revision} {percent} %" for revision, percent in split.items()) or "nobody"
            raise NotSteady(
                f"{service.name}: its traffic goes to {shares}; give it all to the one that is to stay: "
                f"gcloud run services update-traffic {service.name} {self._region} "
                "--to-revisions=<revision>=100"
            )
        return next(iter(split))

    def deploy(self, service: Service, image: str, standing: Standing) -> None:
        """Make a revision of that image, without any traffic, and wait until it is ready.

        Everything but the image stays as Terraform set it. Raises: GcloudFailed.
        """
        self._gcloud.run(
            *("run", "services", "update", service.name, self._region, "--no-traffic", f"--tag={TAG}"),
            *_container(service, standing),  # from here on, flags are of that container
            f"--image={image}",
        )

    def divide(self, service: Service, split: Split) -> None:
        """Divide the traffic so. Raises: GcloudFailed; then it may be divided so, or as before."""
        shares = ",".join(f"{revision}={percent}" for revision, percent in split.items())
        self._change(service, f"--to-revisions={shares}")

    def follow_latest(self, service: Service) -> None:
        """Give all traffic to the latest revision, and to each one that Terraform makes from now on."""
        self._change(service, "--to-latest")

    def untag(self, service: Service) -> None:
        """Have nobody reach what the tag led to. Raises: GcloudFailed."""
        self._change(service, f"--remove-tags={TAG}")

    def run_job(self, service: Service) -> None:
        """Have the scheduler call a function now. Raises: GcloudFailed."""
        self._gcloud.run("scheduler", "jobs", "run", service.name, f"--location={self._gcloud.region}")

    def _change(self, service: Service, how: str) -> None:
        self._gcloud.run("run", "services", "update-traffic", service.name, self._region, how)


def _container(service: Service, standing: Standing) -> tuple[str, ...]:
    """Which container the image is of: the only one, else our own among several."""
    if len(standing.containers) == 1:
        return ()
    if OWN_CONTAINER not in standing.containers:
        raise GcloudFailed(f"{service.name}: none of its containers is called {OWN_CONTAINER}")
    return (f"--container={OWN_CONTAINER}",)


def _standing(shown: Any) -> Standing:
    status = shown["status"]
    split: dict[str, int] = {}
    tried = tried_at = ""
    for target in status["traffic"]:
        if target.get("percent"):
            split[target["revisionName"]] = split.get(target["revisionName"], 0) + target["percent"]
        if target.get("tag") == TAG:
            tried, tried_at = target["revisionName"], target["url"]
    latest = status["latestCreatedRevisionName"]
    return Standing(
        split=split,
        latest=latest,
        is_latest_ready=status.get("latestReadyRevisionName") == latest,
        containers={
            each.get("name", ""): each["image"] for each in shown["spec"]["template"]["spec"]["containers"]
        },
        tried=tried,
        tried_at=tried_at,
    )
