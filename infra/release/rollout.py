"""What touches services that serve: deploy without traffic, shift it step by step, and back if need be.

A release is over when every service follows its latest revision, which is the new one. Until then each
service's traffic is named revision by revision, so that nothing else can slip in; and at any failure all of
it goes back to what served before. A service whose traffic somebody else has meanwhile set is left alone.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from infra.release.error_rates import METRIC_DELAY_SECONDS, Answers, is_silent, is_worse
from infra.release.folder import Planned
from infra.release.gcloud import GcloudFailed
from infra.release.services import Image, Service
from infra.release.traffic import TAG, Split, Traffic
from metering.clock import Clock

PERCENTS: Final = (5, 25, 50, 100)
BAKE_SECONDS: Final = 120.0
BASELINE_SECONDS: Final = 900.0
RESTORES_MAX: Final = 5
RESTORE_PAUSE_SECONDS: Final = 10.0

Rates = Callable[[Service, datetime, datetime], Mapping[str, Answers]]


class ReleaseFailed(Exception):
    """The release is not to go on. What served before serves."""


class TrafficChanged(ReleaseFailed):
    """Somebody else divides a service's traffic."""


class NotPutBack(ReleaseFailed):
    """Some service could not be put back; the message says which, and the command that does it."""


@dataclass
class Rollout:
    """One release. `say` prints for the log of the build; `rates` counts answers by revision."""

    traffic: Traffic
    rates: Rates
    clock: Clock
    pause: Callable[[float], None]
    say: Callable[[str], None]
    bake_seconds: float = BAKE_SECONDS
    set_by_us: dict[Service, list[Split]] = field(default_factory=dict)
    before: dict[Service, Answers] = field(default_factory=dict)  # how those before have done, all along

    def deploy(self, services: Iterable[Service], images: Mapping[Image, str]) -> tuple[Planned, ...]:
        """Make each service's new revision, ready and without traffic. Raises: ReleaseFailed, GcloudFailed.

        All services are looked at before the first is touched.
        """
        before = {service: self.traffic.revision_that_serves(service) for service in services}
        made: list[Planned] = []
        try:
            for service, was in before.items():
                made.append(self._deployed(service, images[service.image], was))
        except BaseException:
            self.withdraw(made)
            raise
        return tuple(made)

    def _deployed(self, service: Service, image: str, before: str) -> Planned:
        self.traffic.deploy(service, image, self.traffic.standing(service))
        now = self.traffic.standing(service)
        if not now.tried or now.tried != now.latest or not now.is_latest_ready:
            raise ReleaseFailed(f"{service.name}: its new revision is not ready")
        if image not in now.containers.values():
            raise ReleaseFailed(f"{service.name}: its new revision is of another image")
        if now.split != {before: 100}:
            raise ReleaseFailed(f"{service.name}: traffic went elsewhere than to {before} while deploying")
        self.say(f"{service.name}: {now.tried} is ready under the tag {TAG}; {before} serves")
        return Planned(service, before, now.tried, now.tried_at)

    def shift(self, plan: Iterable[Planned]) -> None:
        """Move all traffic to what is new, in stages. Raises: ReleaseFailed and what else went wrong.

        Before anything is raised, what served before serves again.
        """
        planned = tuple(plan)
        self._see_that_nothing_newer_was_deployed(planned)
        try:
            self._shift(tuple(each for each in planned if each.is_news))
            self._follow_latest(planned)
        except BaseException as failure:
            self.say(f"going back: {failure or type(failure).__name__}")
            try:
                self._restore(planned)
            finally:
                self.withdraw(planned)
            raise
        self.say("everything serves what is new")

    def withdraw(self, planned: Iterable[Planned]) -> None:
        """Have nobody reach a revision that was found wanting: its tag is an address that everybody may ask.

        What cannot be withdrawn is said, with the command that does it. Functions are nobody's to ask.
        """
        for each in planned:
            if each.service.is_scheduled or not each.is_news:
                continue
            try:
                if self.traffic.standing(each.service).tried == each.candidate:
                    self.traffic.untag(each.service)
                    self.say(f"{each.service.name}: nobody reaches {each.candidate} any more")
            except GcloudFailed as failed:
                self.say(
                    f"{failed}; {each.candidate} is still reached under its tag, run: gcloud run services"
                    f" update-traffic {each.service.name} --remove-tags={TAG}"
                )

    def _see_that_nothing_newer_was_deployed(self, planned: tuple[Planned, ...]) -> None:
        """A release that came after this one has the tag by now, so what was tried may be its revision."""
        for each in planned:
            if self.traffic.standing(each.service).latest != each.candidate:
                raise TrafficChanged(
                    f"{each.service.name}: something newer than {each.candidate} was deployed"
                )

    def _shift(self, moving: tuple[Planned, ...]) -> None:
        functions = tuple(each for each in moving if each.service.is_scheduled)
        services = tuple(each for each in moving if not each.service.is_scheduled)
        now = self.clock.now()
        for each in moving:
            answers = self.rates(each.service, now - timedelta(seconds=BASELINE_SECONDS), now)
            self.before[each.service] = answers.get(each.before, Answers())
        if functions:
            self._move(functions, 100)
            for each in functions:
                self.traffic.run_job(each.service)
            self._bake(functions, 100)
        for percent in PERCENTS if services else ():
            self._move(services, percent)
            self._bake(services, percent)

    def _follow_latest(self, planned: tuple[Planned, ...]) -> None:
        """Have all services follow their latest revision, if that is the one they serve."""
        for each in planned:
            standing = self.traffic.standing(each.service)
            if standing.latest != each.candidate or standing.split != {each.candidate: 100}:
                raise TrafficChanged(f"{each.service.name}: something else was deployed or shifted meanwhile")
        for each in planned:
            self.set_by_us.setdefault(each.service, []).append({each.candidate: 100})
            self.traffic.follow_latest(each.service)

    def _move(self, moving: tuple[Planned, ...], percent: int) -> None:
        for each in moving:
            split = {each.candidate: percent} | ({each.before: 100 - percent} if percent < 100 else {})
            known = self.set_by_us.setdefault(each.service, [{each.before: 100}])
            if self.traffic.standing(each.service).split != known[-1]:
                raise TrafficChanged(f"{each.service.name}: somebody else has divided its traffic")
            known.append(split)
            self.traffic.divide(each.service, split)
            self.say(f"{each.service.name}: {percent} % to {each.candidate}")

    def _bake(self, moving: tuple[Planned, ...], percent: int) -> None:
        """Let them serve a while, then look at how they did."""
        since = self.clock.now()
        self.pause(self.bake_seconds)
        until = self.clock.now()
        self.pause(METRIC_DELAY_SECONDS)
        for each in moving:
            answers = self.rates(each.service, since, until)
            new, before = (answers.get(each.candidate, Answers()), answers.get(each.before, Answers()))
            self.before[each.service] += before
            self.say(f"{each.service.name}: {new}; before: {self.before[each.service]}")
            if is_worse(each.service, new, self.before[each.service]):
                raise ReleaseFailed(f"{each.service.name}: {each.candidate} answers worse than {each.before}")
            if is_silent(new, before, percent):
                raise ReleaseFailed(f"{each.service.name}: {each.candidate} answers nothing")

    def _restore(self, planned: tuple[Planned, ...]) -> None:
        """Give everything that was moved back to what served before. Raises: NotPutBack."""
        undone = [
            each for each in reversed(planned) if each.service in self.set_by_us and not self._back(each)
        ]
        if undone:
            commands = "; ".join(
                f"gcloud run services update-traffic {each.service.name} --to-revisions={each.before}=100"
                for each in undone
            )
            raise NotPutBack(f"could not be put back, run: {commands}")

    def _back(self, moved: Planned) -> bool:
        """Whether a service is back, or is somebody else's by now."""
        for left in range(RESTORES_MAX, 0, -1):
            try:
                self._give_back(moved)
            except GcloudFailed as failed:
                self.say(str(failed))
                if left > 1:
                    self.pause(RESTORE_PAUSE_SECONDS)
            else:
                return True
        return False

    def _give_back(self, moved: Planned) -> None:
        if self.traffic.standing(moved.service).split not in self.set_by_us[moved.service]:
            self.say(f"{moved.service.name}: somebody else has divided its traffic; it is left alone")
            return
        self.traffic.divide(moved.service, {moved.before: 100})
        self.say(f"{moved.service.name}: all to {moved.before} again")
