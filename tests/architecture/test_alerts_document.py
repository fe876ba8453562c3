"""docs/alerts.md says what is so."""

import re
from pathlib import Path
from typing import get_args

from api_service.addresses import HOSTED_PORTS
from api_service.alerts import TOLD_A_LOOK_MAX
from api_service.channels import CHANNELS_MAX, FAILING_MAX, FAILURES_MAX, SIGNING_OVERLAP, NoticeKind
from api_service.functions.deliver import RETRIES
from api_service.outbound import WHOLE_SECONDS

ROOT = Path(__file__).parents[2]
TEXT = " ".join((ROOT / "docs" / "alerts.md").read_text().split())


def test_every_kind_of_notice_is_named() -> None:
    named = set(re.findall(r"`((?:alert|report|channel)\.\w+|test)`", TEXT))

    assert named == set(get_args(NoticeKind))


def test_the_figures_are_those_of_the_code() -> None:
    assert "5 s, 5 min, 30 min, 2 h, 5 h, 10 h and 10 h" in TEXT
    assert [each.total_seconds() for each in RETRIES] == [5, 300, 1800, 7200, 18000, 36000, 36000]
    assert f"port {' or '.join(map(str, sorted(HOSTED_PORTS)))}" in TEXT
    assert f"at most {CHANNELS_MAX} channels" in TEXT
    assert f"within {WHOLE_SECONDS:g} seconds" in TEXT
    assert (FAILURES_MAX, FAILING_MAX.total_seconds() / 3600) == (10, 12)
    assert "ten times in a row and for twelve hours" in TEXT
    assert (TOLD_A_LOOK_MAX, SIGNING_OVERLAP.total_seconds()) == (10, 86400)
    assert "more than ten alerts" in TEXT


def test_the_tests_it_names_are_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", TEXT)

    assert named
    assert all((ROOT / each).exists() for each in named)
