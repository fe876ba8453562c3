"""docs/security.md names tests and modules that exist, and judges every requirement once."""

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "security.md").read_text()
# The requirements of levels 1 and 2; what is left out in between is of level 3.
# https://github.com/OWASP/ASVS/tree/v5.0.0/5.0, read 2026-11-21.
_LEVEL_2 = """
1.1.1 1.1.2 1.2.1 1.2.2 1.2.3 1.2.4 1.2.5 1.2.6 1.2.7 1.2.8 1.2.9 1.3.1 1.3.2 1.3.3 1.3.4 1.3.5 1.3.6 1.3.7
1.3.8 1.3.9 1.3.10 1.3.11 1.4.1 1.4.2 1.4.3 1.5.1 1.5.2 2.1.1 2.1.2 2.1.3 2.2.1 2.2.2 2.2.3 2.3.1 2.3.2
2.3.3 2.3.4 2.4.1 3.2.1 3.2.2 3.3.1 3.3.2 3.3.3 3.3.4 3.4.1 3.4.2 3.4.3 3.4.4 3.4.5 3.4.6 3.5.1 3.5.2 3.5.3
3.5.4 3.5.5 3.7.1 3.7.2 4.1.1 4.1.2 4.1.3 4.2.1 4.3.1 4.3.2 4.4.1 4.4.2 4.4.3 4.4.4 5.1.1 5.2.1 5.2.2 5.2.3
5.3.1 5.3.2 5.4.1 5.4.2 5.4.3 6.1.1 6.1.2 6.1.3 6.2.1 6.2.2 6.2.3 6.2.4 6.2.5 6.2.6 6.2.7 6.2.8 6.2.9 6.2.10
6.2.11 6.2.12 6.3.1 6.3.2 6.3.3 6.3.4 6.4.1 6.4.2 6.4.3 6.4.4 6.5.1 6.5.2 6.5.3 6.5.4 6.5.5 6.6.1 6.6.2
6.6.3 6.8.1 6.8.2 6.8.3 6.8.4 7.1.1 7.1.2 7.1.3 7.2.1 7.2.2 7.2.3 7.2.4 7.3.1 7.3.2 7.4.1 7.4.2 7.4.3 7.4.4
7.4.5 7.5.1 7.5.2 7.6.1 7.6.2 8.1.1 8.1.2 8.2.1 8.2.2 8.2.3 8.3.1 8.4.1 9.1.1 9.1.2 9.1.3 9.2.1 9.2.2 9.2.3
9.2.4 10.1.1 10.1.2 10.2.1 10.2.2 10.3.1 10.3.2 10.3.3 10.3.4 10.4.1 10.4.2 10.4.3 10.4.4 10.4.5 10.4.6
10.4.7 10.4.8 10.4.9 10.4.10 10.4.11 10.5.1 10.5.2 10.5.3 10.5.4 10.5.5 10.6.1 10.6.2 10.7.1 10.7.2 10.7.3
11.1.1 11.1.2 11.2.1 11.2.2 11.2.3 11.3.1 11.3.2 11.3.3 11.4.1 11.4.2 11.4.3 11.4.4 11.5.1 11.6.1 12.1.1
12.1.2 12.1.3 12.2.1 12.2.2 12.3.1 12.3.2 12.3.3 12.3.4 13.1.1 13.2.1 13.2.2 13.2.3 13.2.4 13.2.5 13.3.1
13.3.2 13.4.1 13.4.2 13.4.3 13.4.4 13.4.5 14.1.1 14.1.2 14.2.1 14.2.2 14.2.3 14.2.4 14.3.1 14.3.2 14.3.3
15.1.1 15.1.2 15.1.3 15.2.1 15.2.2 15.2.3 15.3.1 15.3.2 15.3.3 15.3.4 15.3.5 15.3.6 15.3.7 16.1.1 16.2.1
16.2.2 16.2.3 16.2.4 16.2.5 16.3.1 16.3.2 16.3.3 16.3.4 16.4.1 16.4.2 16.4.3 16.5.1 16.5.2 16.5.3 17.1.1
17.2.1 17.2.2 17.2.3 17.2.4 17.3.1 17.3.2
"""
LEVEL_2 = _LEVEL_2.split()
LEVEL_3 = ["1.2.10", "4.2.2", "11.2.4", "15.4.1", "15.4.2"]
JUDGED = {"met", "**partly**", "**not met**", "–"}

_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
_PATH = re.compile(r"`((?:metering|proxy_service|api_service|modeltrack_cli|infra|tests)/[\w./-]+)`")
_ROW = re.compile(
    r"^\| V([\d.]+)(?: to V([\d.]+))? \| (.+?) \| (\S+|\*\*not met\*\*) \| (.+) \|$", re.MULTILINE
)


def rows() -> list[tuple[list[str], str, str]]:
    """The requirements that a row is about, how they are judged, and where they are met."""
    found = []
    for first, last, _, judged, where in _ROW.findall(DOCUMENT):
        section = first.rpartition(".")[0]
        among = [each for each in LEVEL_2 + LEVEL_3 if each.rpartition(".")[0] == section]
        named = among[among.index(first) : among.index(last or first) + 1]
        found.append((named, judged, where))
    return found


def test_every_test_it_names_exists() -> None:
    named = set(_TEST.findall(DOCUMENT))
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).is_file()
        or not re.search(rf"^(?:async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE)
    ]

    assert len(named) > 200
    assert missing == []


def test_every_module_it_names_exists() -> None:
    assert [path for path in set(_PATH.findall(DOCUMENT)) if not (ROOT / path).is_file()] == []


def test_each_requirement_of_level_2_is_judged_once() -> None:
    judged = Counter(each for named, _, _ in rows() for each in named)

    assert judged == Counter(LEVEL_2 + LEVEL_3)


@pytest.mark.parametrize(("named", "judged", "where"), rows(), ids=[named[0] for named, _, _ in rows()])
def test_what_is_met_says_where_and_what_is_not_says_why(named: list[str], judged: str, where: str) -> None:
    assert judged in JUDGED
    assert len(where.split()) >= 2 or _TEST.search(where)


def test_the_sums_are_those_of_the_rows() -> None:
    counts = Counter(judged for named, judged, _ in rows() for each in named if each in LEVEL_2)
    told = re.search(r"of the 253, (\d+) are met, (\d+) in part, (\d+) not, and (\d+) do not apply", DOCUMENT)

    assert told
    assert [int(each) for each in told.groups()] == [
        counts["met"], counts["**partly**"], counts["**not met**"], counts["–"],
    ]  # fmt: skip


def test_what_is_not_met_is_told_first() -> None:
    for judged, words in (("**not met**", r"\*\*Not met: (.+?)\.\*\*"), ("**partly**", r"In part: (.+?)\. ")):
        told = re.search(words, DOCUMENT)

        assert (told[1].split(", ") if told else []) == [
            f"V{named[0]}" for named, is_judged, _ in rows() if is_judged == judged
        ]


def test_all_ten_risks_of_apis_have_tests() -> None:
    risks = re.findall(r"^\| API(\d+) .+? \| (.+) \|$", DOCUMENT, re.MULTILINE)

    assert [int(number) for number, _ in risks] == list(range(1, 11))
    assert all(len(_TEST.findall(tests)) >= 3 for _, tests in risks)
