"""What was deployed gets the traffic step by step; and whatever goes wrong, what served before serves on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from infra.release.error_rates import METRIC_DELAY_SECONDS, Answers
from infra.release.folder import Planned
from infra.release.gcloud import GcloudFailed
from infra.release.rollout import (
    PERCENTS,
    RESTORES_MAX,
    NotPutBack,
    ReleaseFailed,
    Rollout,
    TrafficChanged,
)
from infra.release.services import API, FUNCTIONS, PROXY, Service
from infra.release.traffic import NotSteady, Traffic
from tests.doubles.clock import ManualClock
from tests.release.cloud import IMAGES, OLD_IMAGE, PROJECT, REGION, Cloud, InProcess, cloud_of

SERVICES = (FUNCTIONS[0], API, PROXY)
COMMANDS = 40  # of a release of those three; `test_no_command_may_fail` holds it
WELL = Answers(1000, 3)


@dataclass
class Stage:
    """A release on a cloud, with a clock that moves while it waits."""

    cloud: Cloud = field(default_factory=lambda: cloud_of(SERVICES))
    answers: dict[str, Answers] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    asked: list[tuple[str, float]] = field(default_factory=list)
    clock: ManualClock = field(default_factory=lambda: ManualClock(datetime(2026, 11, 21, 12, tzinfo=UTC)))

    def rollout(self) -> Rollout:
        return Rollout(
            Traffic(InProcess(PROJECT, REGION, self.cloud)),
            self.rates,
            self.clock,
            self.pause,
            self.said.append,
        )

    def pause(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def rates(self, service: Service, since: datetime, until: datetime) -> Mapping[str, Answers]:
        self.asked.append((service.name, (until - since).total_seconds()))
        return {name: self.answers.get(name, WELL) for name in self.cloud.services[service.name].revisions}

    def release(self) -> None:
        rollout = self.rollout()
        rollout.shift(rollout.deploy(SERVICES, IMAGES))


def divisions(cloud: Cloud, service: Service) -> list[str]:
    """What the service's traffic was set to, in order."""
    return [
        words[-1].partition("=")[2] or words[-1]
        for words in cloud.calls
        if words[3:5] == ["update-traffic", service.name]
    ]


def test_traffic_goes_over_in_stages_and_follows_the_latest_revision_in_the_end() -> None:
    stage = Stage()

    stage.release()

    old, new = "modeltrack-proxy-00001", "modeltrack-proxy-00002"
    stages = [f"{new}={percent},{old}={100 - percent}" for percent in PERCENTS[:-1]]
    assert divisions(stage.cloud, PROXY) == [*stages, f"{new}=100", "--to-latest"]
    assert stage.cloud.services[PROXY.name].follows_latest
    assert stage.cloud.services[PROXY.name].revisions[new] == IMAGES["proxy"]


def test_nobody_is_sent_to_what_is_new_before_all_of_it_is_ready() -> None:
    stage = Stage()

    stage.release()

    words = [call[3:5] for call in stage.cloud.calls]
    deployed = max(number for number, word in enumerate(words) if word[0] == "update")
    moved = min(number for number, word in enumerate(words) if word[0] == "update-traffic")
    assert deployed < moved
    assert all("--no-traffic" in call for call in stage.cloud.calls if call[3:4] == ["update"])


def test_readers_go_before_writers() -> None:
    stage = Stage()

    stage.release()

    first = {service: stage.said.index(f"{service.name}: {percent} % to {service.name}-00002")
             for service, percent in ((FUNCTIONS[0], 100), (API, 5), (PROXY, 5))}  # fmt: skip
    assert sorted(first, key=lambda service: first[service]) == list(SERVICES)


def test_functions_are_run_once_before_they_are_judged() -> None:
    stage = Stage()

    stage.release()

    assert [call[1:5] for call in stage.cloud.calls if call[1] == "scheduler"] == [
        ["scheduler", "jobs", "run", "modeltrack-recover"]
    ]


def test_each_stage_is_watched_for_as_long_as_asked_and_read_once_the_figures_are_there() -> None:
    stage = Stage()
    rollout = stage.rollout()
    rollout.bake_seconds = 60
    began = stage.clock.now()

    rollout.shift(rollout.deploy(SERVICES, IMAGES))

    assert {seconds for name, seconds in stage.asked if name == PROXY.name} == {900, 60}
    stages = 1 + len(PERCENTS)
    assert stage.clock.now() - began == timedelta(seconds=stages * (60 + METRIC_DELAY_SECONDS))


@pytest.mark.parametrize("how", ["before", "after"])
@pytest.mark.parametrize("number", range(1, COMMANDS + 1))
def test_no_command_may_fail(number: int, how: str) -> None:
    """Whichever fails, and whether it has done its work or not: the release ends, what served serves."""
    stage = Stage()
    served = stage.cloud.who_serves()
    stage.cloud.fails = lambda this, _words: how if this == number else ""

    with pytest.raises(GcloudFailed):
        stage.release()

    assert stage.cloud.who_serves() == served


def test_that_is_every_command_there_is() -> None:
    stage = Stage()

    stage.release()

    assert len(stage.cloud.calls) == COMMANDS


@pytest.mark.parametrize("service", [API, PROXY, FUNCTIONS[0]])
def test_a_revision_that_answers_worse_gets_no_more_traffic(service: Service) -> None:
    stage = Stage()
    stage.answers[f"{service.name}-00002"] = Answers(1000, 50)
    served = stage.cloud.who_serves()

    with pytest.raises(ReleaseFailed, match=f"{service.name}-00002 answers worse"):
        stage.release()

    assert stage.cloud.who_serves() == served
    assert not [shares for shares in divisions(stage.cloud, service) if "=25" in shares]


def test_nobody_reaches_a_revision_that_was_given_up() -> None:
    stage = Stage()
    stage.answers[f"{PROXY.name}-00002"] = Answers(1000, 500)

    with pytest.raises(ReleaseFailed):
        stage.release()

    assert [stage.cloud.services[each.name].tags for each in (API, PROXY)] == [{}, {}]


def test_where_a_revision_cannot_be_withdrawn_the_command_is_said_and_traffic_is_back() -> None:
    stage = Stage()
    served = stage.cloud.who_serves()
    stage.answers[f"{PROXY.name}-00002"] = Answers(1000, 500)
    stage.cloud.fails = lambda _number, words: "before" if words[-1] == "--remove-tags=candidate" else ""

    with pytest.raises(ReleaseFailed, match="answers worse"):
        stage.release()

    assert stage.cloud.who_serves() == served
    assert [line for line in stage.said if f"update-traffic {PROXY.name} --remove-tags=candidate" in line]


def test_what_a_later_release_tries_is_left_to_it() -> None:
    stage = Stage()
    first, second = stage.rollout(), stage.rollout()
    plan = first.deploy(SERVICES, IMAGES)
    second.deploy(SERVICES, IMAGES)

    first.withdraw(plan)

    assert stage.cloud.services[PROXY.name].tags == {"candidate": "modeltrack-proxy-00003"}


def test_a_revision_that_lets_every_call_hang_gets_no_more_traffic() -> None:
    stage = Stage()
    stage.answers[f"{PROXY.name}-00002"] = Answers()
    served = stage.cloud.who_serves()

    with pytest.raises(ReleaseFailed, match=f"{PROXY.name}-00002 answers nothing"):
        stage.release()

    assert stage.cloud.who_serves() == served


def test_silence_where_nobody_calls_is_no_fault() -> None:
    stage = Stage()
    stage.answers = {f"{PROXY.name}-00001": Answers(40, 0), f"{PROXY.name}-00002": Answers()}

    stage.release()

    assert stage.cloud.services[PROXY.name].split == {f"{PROXY.name}-00002": 100}


def test_errors_that_were_there_before_are_not_the_new_revisions_fault() -> None:
    stage = Stage()
    stage.answers = {f"{PROXY.name}-00001": Answers(1000, 50), f"{PROXY.name}-00002": Answers(1000, 60)}

    stage.release()

    assert stage.cloud.services[PROXY.name].split == {f"{PROXY.name}-00002": 100}


def test_a_failure_of_the_count_itself_goes_back_too() -> None:
    stage = Stage()
    served = stage.cloud.who_serves()
    rollout = stage.rollout()
    plan = rollout.deploy(SERVICES, IMAGES)

    def silent(*_asked: object) -> Mapping[str, Answers]:
        if len(stage.cloud.calls) > 20:
            raise ReleaseFailed("no figures")
        return {}

    rollout.rates = silent
    with pytest.raises(ReleaseFailed, match="no figures"):
        rollout.shift(plan)
    assert stage.cloud.who_serves() == served


def test_a_build_that_is_cancelled_goes_back() -> None:
    stage = Stage()
    served = stage.cloud.who_serves()

    def end(words: list[str]) -> None:
        if words[-1].endswith("=25,modeltrack-proxy-00001=75"):
            raise SystemExit(143)

    stage.cloud.after = end
    with pytest.raises(SystemExit):
        stage.release()
    assert stage.cloud.who_serves() == served


def test_what_cannot_be_put_back_is_told_with_the_command_that_does_it() -> None:
    stage = Stage()
    stage.answers[f"{PROXY.name}-00002"] = Answers(1000, 500)
    back = f"--to-revisions={PROXY.name}-00001=100"
    stage.cloud.fails = lambda _number, words: "before" if words[-1] == back else ""

    with pytest.raises(NotPutBack, match=f"update-traffic {PROXY.name} {back}"):
        stage.release()

    assert sum(words[-1] == back for words in stage.cloud.calls) == RESTORES_MAX
    assert stage.cloud.services[API.name].split == {f"{API.name}-00001": 100}


def test_garbage_about_one_service_keeps_no_other_from_being_put_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage()
    stage.answers[f"{PROXY.name}-00002"] = Answers(1000, 500)
    asked = InProcess.run

    def garbled(gcloud: InProcess, *words: str, seconds: float = 0) -> str:
        is_back = any(line.startswith("going back") for line in stage.said)
        if is_back and words[2:4] == ("describe", PROXY.name):
            return '{"status": {"traffic": ["?"]}}'
        return asked(gcloud, *words, seconds=seconds)

    monkeypatch.setattr(InProcess, "run", garbled)
    with pytest.raises(NotPutBack, match=f"update-traffic {PROXY.name} "):
        stage.release()

    assert stage.cloud.services[API.name].split == {f"{API.name}-00001": 100}


def test_putting_back_is_tried_again() -> None:
    stage = Stage()
    stage.answers[f"{PROXY.name}-00002"] = Answers(1000, 500)
    served = stage.cloud.who_serves()
    failures = iter(["before", "after", "before"])
    back = f"--to-revisions={PROXY.name}-00001=100"
    stage.cloud.fails = lambda _number, words: next(failures, "") if words[-1] == back else ""

    with pytest.raises(ReleaseFailed, match="answers worse"):
        stage.release()

    assert stage.cloud.who_serves() == served


def test_what_somebody_else_sets_meanwhile_is_left_alone_and_ends_the_release() -> None:
    stage = Stage()

    def meddle(words: list[str]) -> None:
        if words[-1].endswith("=5,modeltrack-proxy-00001=95"):
            stage.cloud.services[PROXY.name].split = {
                "modeltrack-proxy-00001": 60,
                "modeltrack-proxy-00002": 40,
            }

    stage.cloud.after = meddle
    with pytest.raises(TrafficChanged):
        stage.release()
    assert stage.cloud.services[PROXY.name].split == {
        "modeltrack-proxy-00001": 60,
        "modeltrack-proxy-00002": 40,
    }
    assert stage.cloud.services[API.name].split == {"modeltrack-api-00001": 100}


def test_a_revision_that_appears_meanwhile_is_not_followed() -> None:
    stage = Stage()

    def meddle(words: list[str]) -> None:
        if words[-1] == "--to-revisions=modeltrack-proxy-00002=100":
            stage.cloud.services[PROXY.name].revisions["modeltrack-proxy-00003"] = OLD_IMAGE

    stage.cloud.after = meddle
    with pytest.raises(TrafficChanged):
        stage.release()
    assert stage.cloud.services[PROXY.name].split == {"modeltrack-proxy-00001": 100}


def test_nobody_is_sent_to_a_revision_after_a_later_release_took_its_tag() -> None:
    stage = Stage()
    served = stage.cloud.who_serves()
    first, second = stage.rollout(), stage.rollout()
    plan = first.deploy(SERVICES, IMAGES)
    second.deploy(SERVICES, IMAGES)  # what is tried under the tag is its revision from here on

    with pytest.raises(TrafficChanged, match="something newer"):
        first.shift(plan)

    assert stage.cloud.who_serves() == served
    assert not divisions(stage.cloud, FUNCTIONS[0])


def test_traffic_that_is_divided_already_is_told_before_anything_is_deployed() -> None:
    stage = Stage()
    proxy = stage.cloud.services[PROXY.name]
    proxy.revisions["modeltrack-proxy-00002"] = OLD_IMAGE
    proxy.split = {"modeltrack-proxy-00001": 75, "modeltrack-proxy-00002": 25}

    with pytest.raises(NotSteady, match="00001 75 %, modeltrack-proxy-00002 25 %"):
        stage.rollout().deploy(SERVICES, IMAGES)

    assert not [call for call in stage.cloud.calls if call[3] != "describe"]


def test_a_revision_that_is_not_ready_ends_the_release() -> None:
    stage = Stage()
    stage.cloud.services[API.name].is_ready = False

    with pytest.raises(ReleaseFailed, match=r"modeltrack-api: its new revision is not ready"):
        stage.rollout().deploy(SERVICES, IMAGES)


def test_the_image_is_that_of_our_own_container_among_several() -> None:
    stage = Stage()
    stage.cloud.services[PROXY.name].sidecars = {"collector": "a-scraper"}

    stage.release()

    deployed = next(words for words in stage.cloud.calls if words[3:5] == ["update", PROXY.name])
    assert deployed[-2:] == ["--container=service", f"--image={IMAGES['proxy']}"]
    assert "--no-traffic" in deployed[:-2]  # what follows --container is the container's


def test_a_service_whose_revision_is_the_old_one_is_not_moved_and_follows_the_latest_again() -> None:
    stage = Stage()
    stage.cloud.services[PROXY.name].follows_latest = False  # as a deployment without news leaves it
    rollout = stage.rollout()

    rollout.shift([Planned(PROXY, "modeltrack-proxy-00001", "modeltrack-proxy-00001", "https://x.example")])

    assert divisions(stage.cloud, PROXY) == ["--to-latest"]
    assert stage.cloud.services[PROXY.name].follows_latest
