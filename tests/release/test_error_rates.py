"""Answers are counted by revision; and what counts as worse than before."""

from datetime import UTC, datetime

import pytest

from infra.release.error_rates import Answers, RatesUnknown, answers_by_revision, is_worse
from infra.release.services import FUNCTIONS, PROXY
from tests.release.cloud import PROJECT, REGION, InProcess, cloud_of
from tests.release.sites import Answer, Asked, series, serving

SINCE = datetime(2026, 11, 21, 12, tzinfo=UTC)
UNTIL = datetime(2026, 11, 21, 12, 2, tzinfo=UTC)
GCLOUD = InProcess(PROJECT, REGION, cloud_of([PROXY]))


@pytest.mark.parametrize(
    ("new", "before", "worse"),
    [
        (Answers(0, 0), Answers(0, 0), False),
        (Answers(4, 4), Answers(100, 0), False),  # a handful is needed
        (Answers(5, 5), Answers(100, 0), True),
        (Answers(500, 5), Answers(500, 0), False),  # exactly the floor
        (Answers(499, 5), Answers(500, 0), True),
        (Answers(100, 20), Answers(100, 10), False),  # exactly twice as bad
        (Answers(100, 21), Answers(100, 10), True),
        (Answers(100, 100), Answers(100, 100), False),
    ],
)
def test_worse_is_a_handful_above_the_floor_and_more_than_twice_as_bad(
    new: Answers, before: Answers, worse: bool
) -> None:
    assert is_worse(PROXY, new, before) is worse


def test_a_function_has_no_providers_errors_to_pass_on() -> None:
    assert is_worse(FUNCTIONS[0], Answers(2, 1), Answers(30, 0))
    assert not is_worse(FUNCTIONS[0], Answers(2, 0), Answers(30, 0))


def test_answers_are_added_up_by_revision_over_all_pages() -> None:
    asked: list[Asked] = []

    def monitoring(request: Asked) -> Answer:
        asked.append(request)
        if "pageToken" in request.query:
            return Answer(200, {"timeSeries": [series("new", "5xx", 1, 2), series("old", "4xx", 5)]})
        return Answer(200, {"timeSeries": [series("new", "2xx", 40, 2)], "nextPageToken": "2"})

    with serving(monitoring) as url:
        found = answers_by_revision(GCLOUD, PROXY, SINCE, UNTIL, url)

    assert found == {"new": Answers(45, 3), "old": Answers(5, 0)}
    assert asked[0].path == f"/v3/projects/{PROJECT}/timeSeries"
    assert asked[0].headers["authorization"] == "Bearer ya29.a-token"
    assert asked[0].query["interval.startTime"] == ["2026-11-21T12:00:00+00:00"]
    for said in (f'service_name="{PROXY.name}"', "run.googleapis.com/request_count", f'location="{REGION}"'):
        assert said in asked[0].query["filter"][0]


def test_nothing_counted_is_no_answers() -> None:
    with serving(lambda _: Answer(200, {})) as url:
        assert answers_by_revision(GCLOUD, PROXY, SINCE, UNTIL, url) == {}


@pytest.mark.parametrize(
    "answer",
    [
        Answer(403, {"error": {"status": "PERMISSION_DENIED"}}),
        Answer(500, {}),
        Answer(200, {"timeSeries": [{"metric": {}}]}),
        Answer(200, {"nextPageToken": "again"}),
        Answer(200, ["a list"]),
    ],
)
def test_what_cannot_be_counted_is_not_taken_for_well(answer: Answer) -> None:
    with serving(lambda _: answer) as url, pytest.raises(RatesUnknown):
        answers_by_revision(GCLOUD, PROXY, SINCE, UNTIL, url)
