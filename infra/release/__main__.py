"""One step of a release: `python3 -m infra.release <step> --project=… --region=…`. See the package."""

import argparse
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from infra.release import pins, smoke
from infra.release.audit import OSV_URL, AuditFailed, audit
from infra.release.error_rates import MONITORING_URL, Answers, RatesUnknown, answers_by_revision
from infra.release.folder import FolderIncomplete, images_pushed, read_plan, write_plan
from infra.release.gcloud import Gcloud, GcloudFailed
from infra.release.rollout import BAKE_SECONDS, ReleaseFailed, Rollout
from infra.release.scan import Vulnerable, judge, scan
from infra.release.services import ALL, API, IMAGES, PROXY, Service
from infra.release.traffic import NotSteady, Traffic
from metering.clock import SystemClock

NONE: Final = "none"
_FAILURES: Final = (
    AuditFailed,
    FolderIncomplete,
    GcloudFailed,
    NotSteady,
    pins.NotPinned,
    RatesUnknown,
    ReleaseFailed,
    smoke.SmokeFailed,
    Vulnerable,
)


def main(arguments: Sequence[str], pause_factor: float = 1.0) -> int:
    """Run one step; the exit status. `pause_factor` shortens every wait, for tests."""
    asked = _parser().parse_args(arguments)
    try:
        _STEPS[asked.step](asked, pause_factor)
    except _FAILURES as failed:
        sys.stderr.write(f"{asked.step}: {failed}\n")
        return 1
    return 0


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _gcloud(asked: argparse.Namespace) -> Gcloud:
    return Gcloud(asked.project, asked.region)


def _rollout(asked: argparse.Namespace, pause_factor: float) -> Rollout:
    gcloud = _gcloud(asked)

    def rates(service: Service, since: datetime, until: datetime) -> Mapping[str, Answers]:
        return answers_by_revision(gcloud, service, since, until, asked.monitoring_url)

    return Rollout(
        traffic=Traffic(gcloud),
        rates=rates,
        clock=SystemClock(),
        pause=lambda seconds: time.sleep(seconds * pause_factor),
        say=_say,
        bake_seconds=asked.bake_seconds,
    )


def _check_pins(_asked: argparse.Namespace, _pause_factor: float) -> None:
    pins.check(Path.cwd())


def _write_pins(_asked: argparse.Namespace, _pause_factor: float) -> None:
    pins.write(Path.cwd())


def _audit(asked: argparse.Namespace, _pause_factor: float) -> None:
    _say(audit(Path.cwd(), SystemClock().now().date(), asked.osv_url))


def _scan(asked: argparse.Namespace, _pause_factor: float) -> None:
    gcloud = _gcloud(asked)
    refused = []
    for image in IMAGES:
        name = f"{asked.repository}/{image}:{asked.release}"
        try:
            _say(judge(name, scan(gcloud, name)))
        except Vulnerable as vulnerable:  # both are told of before it ends
            refused.append(str(vulnerable))
    if refused:
        raise Vulnerable("; ".join(refused))


def _deploy(asked: argparse.Namespace, pause_factor: float) -> None:
    images = images_pushed()
    write_plan(_rollout(asked, pause_factor).deploy(ALL, images))


def _smoke(asked: argparse.Namespace, pause_factor: float) -> None:
    if (asked.proxy_address or asked.api_address) and not asked.commit:
        raise smoke.SmokeFailed("at other addresses a commit has to tell what is new: give _REVISION")
    plan = read_plan()
    planned = {each.service: each.url for each in plan}
    at = smoke.Addresses(
        proxy=(asked.proxy_address or planned[PROXY]).rstrip("/"),
        api=(asked.api_address or planned[API]).rstrip("/"),
        commit=asked.commit,
    )
    try:
        smoke.smoke(at, _canary(asked), _say, lambda seconds: time.sleep(seconds * pause_factor))
    except BaseException:
        _rollout(asked, pause_factor).withdraw(plan)
        raise


def _canary(asked: argparse.Namespace) -> smoke.Canary | None:
    if asked.canary_secret == NONE:
        return None
    key = _secret(asked, asked.canary_secret)
    if asked.canary_provider_secret == NONE:
        return smoke.Canary(key)
    return smoke.Canary(key, _secret(asked, asked.canary_provider_secret))


def _secret(asked: argparse.Namespace, name: str) -> str:
    return _gcloud(asked).run("secrets", "versions", "access", "latest", f"--secret={name}").strip()


def _shift(asked: argparse.Namespace, pause_factor: float) -> None:
    plan = read_plan()
    _rollout(asked, pause_factor).shift(plan)
    _say("to go back to what served before:")
    for each in plan:
        _say(
            f"  gcloud run services update-traffic {each.service.name} --project={asked.project} "
            f"--region={asked.region} --to-revisions={each.before}=100"
        )


_STEPS: Final = {
    "pins": _check_pins,
    "write-pins": _write_pins,
    "audit": _audit,
    "scan": _scan,
    "deploy": _deploy,
    "smoke": _smoke,
    "shift": _shift,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m infra.release", description=__doc__)
    parser.add_argument("step", choices=_STEPS)
    parser.add_argument("--project", default="")
    parser.add_argument("--region", default="")
    parser.add_argument("--repository", default="", help="where images are kept, without the image's name")
    parser.add_argument("--release", default="", help="the tag under which both were built")
    parser.add_argument("--canary-secret", default=NONE, help="whose value is a key for a call")
    parser.add_argument("--canary-provider-secret", default=NONE, help="whose value is a provider's key")
    parser.add_argument("--proxy-address", default="", help="where to try the proxy, instead of its tag")
    parser.add_argument("--api-address", default="", help="where to try the API, instead of its tag")
    parser.add_argument("--commit", default="", help="what both services must say that they are built from")
    parser.add_argument("--bake-seconds", type=float, default=BAKE_SECONDS)
    parser.add_argument("--monitoring-url", default=MONITORING_URL)
    parser.add_argument("--osv-url", default=OSV_URL, help="who knows of weaknesses of packages")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)  # a build that is cancelled puts back what it has moved
    sys.exit(main(sys.argv[1:]))
