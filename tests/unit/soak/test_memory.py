import csv
from pathlib import Path

import pytest

from tests.system.soak.memory import (
    GROWTH_MEGABYTES_MAX,
    JUDGED_SECONDS_MIN,
    Life,
    Sample,
    leaks,
    megabytes_a_second,
    told,
    write_table,
)

QUARTER_SECONDS = 900


def life(*megabytes: float, every_seconds: float = 2.0) -> Life:
    return Life("proxy 1", 1, [Sample(at * every_seconds, each) for at, each in enumerate(megabytes)])


def growing(megabytes: float, name: str = "proxy 1") -> Life:
    """Half an hour that grows by so much in each quarter."""
    found = life(*(60 + megabytes * at / QUARTER_SECONDS * 2 for at in range(QUARTER_SECONDS)))
    found.name = name
    return found


def test_the_slope_is_the_usual_one_between_any_two_moments() -> None:
    assert megabytes_a_second(life(1, 3, 5, 7).samples) == pytest.approx(1)
    assert megabytes_a_second(life(1, 2, 1).samples) == pytest.approx(0)
    assert megabytes_a_second(life(1, 1, 1, 90, 1).samples) == pytest.approx(0)
    assert megabytes_a_second(life(5).samples) == 0


@pytest.mark.parametrize("kind", GROWTH_MEGABYTES_MAX)
@pytest.mark.parametrize(("part", "is_leak"), [(0.9, False), (1.1, True)])
def test_growth_beyond_the_bound_is_a_leak(kind: str, part: float, is_leak: bool) -> None:
    found = leaks([growing(part * GROWTH_MEGABYTES_MAX[kind], f"{kind} 1")])

    assert bool(found) is is_leak


def test_a_leak_is_told_with_its_process_and_its_size() -> None:
    (line,) = leaks([growing(20)])

    assert line.startswith("memory: proxy 1, life 1, grew by 20.0 MB in its last 898 s")


def test_what_grows_in_the_first_half_alone_has_warmed_up() -> None:
    warmed = life(*(min(500.0, at * 2) for at in range(1_000)))

    assert leaks([warmed]) == []


def test_what_an_outage_takes_and_gives_back_is_no_leak() -> None:
    tide = life(*(60 + (40 if 600 < at < 620 else 0) for at in range(QUARTER_SECONDS)))

    assert leaks([tide]) == []


def test_one_step_is_no_leak_wherever_it_lies() -> None:
    for at in range(0, QUARTER_SECONDS, 50):
        assert leaks([life(*(60 + (4.5 if moment >= at else 0) for moment in range(QUARTER_SECONDS)))]) == []


def test_a_life_that_is_too_short_to_tell_is_not_judged() -> None:
    short = life(*range(int(JUDGED_SECONDS_MIN) - 2))

    assert leaks([short, life()]) == []
    assert told([short]) == []


def test_every_sample_stands_in_the_table(tmp_path: Path) -> None:
    write_table(tmp_path / "memory.csv", [life(1.5, 2.25)])

    with (tmp_path / "memory.csv").open() as file:
        assert list(csv.reader(file)) == [
            ["seconds", "process", "life", "megabytes"],
            ["0.0", "proxy 1", "1", "1.50"],
            ["2.0", "proxy 1", "1", "2.25"],
        ]
