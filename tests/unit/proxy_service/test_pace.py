from proxy_service.pace import BodyPace


def pace(**limits: float) -> BodyPace:
    """A body that began at second 100: 30 s of silence, 1,024 bytes a second at least."""
    return BodyPace(100.0, silent_seconds=30.0, bytes_per_second_min=1024, **limits)


def is_refused(body: BodyPace, *, size_bytes: int, each_seconds: float, times: int, start: float) -> bool:
    """Whether a body of such pieces, one each so many seconds, meets its deadline."""
    for number in range(1, times + 1):
        now = start + number * each_seconds
        if now >= body.deadline:
            return True
        body.came(size_bytes, now)
    return False


def test_silence_is_borne_for_so_long() -> None:
    assert pace().deadline == 130.0


def test_bytes_that_came_fast_buy_no_time_for_a_trickle() -> None:
    body = pace()
    body.came(32 * 1024 * 1024, 101.0)

    assert body.deadline == 131.0
    body.came(1, 130.0)
    assert 131.0 < body.deadline < 131.001


def test_the_lowest_rate_is_fast_enough_for_hours_and_less_is_not() -> None:
    hours = 3 * 3600

    assert not is_refused(pace(), size_bytes=1024, each_seconds=1.0, times=hours, start=100.0)
    assert is_refused(pace(), size_bytes=1000, each_seconds=1.0, times=hours, start=100.0)


def test_after_a_pause_a_caller_may_catch_up() -> None:
    body = pace()

    body.came(29 * 1024, 129.0)

    assert body.deadline == 159.0


def test_a_body_that_is_read_whole_must_be_here_by_its_end() -> None:
    body = pace(whole_until=160.0)

    assert not is_refused(body, size_bytes=1_000_000, each_seconds=1.0, times=59, start=100.0)
    assert body.deadline == 160.0
