"""How the demo provider is asked to misbehave."""

import msgspec
import pytest

from demo.behaviour import NORMAL, SIZE_BYTES_MAX, Behaviour, Scripts, from_headers


def test_headers_without_options_ask_for_nothing() -> None:
    assert from_headers([(b"accept", b"*/*"), (b"x-api-key", b"k")]) is NORMAL


def test_options_are_read_from_headers_whatever_their_case() -> None:
    asked = from_headers([(b"X-Demo-Status", b"529"), (b"x-demo-Retry-After", b"3"), (b"X-DEMO-RESET", b"1")])

    assert asked == Behaviour(status=529, retry_after=3, reset=True)


@pytest.mark.parametrize(
    "header",
    [(b"x-demo-statsu", b"500"), (b"x-demo-status", b"bad"), (b"x-demo-encoding", b"rot13")],
    ids=["unknown", "no number", "no such encoding"],
)
def test_an_option_that_makes_no_sense_is_refused(header: tuple[bytes, bytes]) -> None:
    with pytest.raises(msgspec.ValidationError):
        from_headers([header])


@pytest.mark.parametrize("size", [1, SIZE_BYTES_MAX])
def test_sizes_within_the_limit_are_taken(size: int) -> None:
    assert from_headers([(b"x-demo-size", b"%d" % size)]).size == size


@pytest.mark.parametrize("size", [0, SIZE_BYTES_MAX + 1])
def test_sizes_beyond_the_limit_are_refused(size: int) -> None:
    with pytest.raises(msgspec.ValidationError):
        from_headers([(b"x-demo-size", b"%d" % size)])


def test_a_script_answers_its_keys_next_calls_and_then_ends() -> None:
    scripts = Scripts()
    scripts.register(b'{"key": "k", "answers": [{"status": 500}, {"cut-at-frame": 2}]}')

    assert scripts.next_for("other") is None
    assert scripts.next_for("k") == Behaviour(status=500)
    assert scripts.next_for("k") == Behaviour(cut_at_frame=2)
    assert scripts.next_for("k") is None
    assert not scripts
