"""What the demo's models say and use."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.behaviour import NORMAL, Behaviour
from demo.invention import Invention, invent, sized, spaces, stream_comment


def _invented(body: bytes, behaviour: Behaviour = NORMAL, *, output_cap: int | None = None) -> Invention:
    digest = hashlib.sha256(body).digest()
    return invent(digest, body, behaviour, output_cap=output_cap, caching="asked", is_reasoning=True)


@given(st.binary(max_size=10_000), st.integers(1, 500))
def test_an_invention_is_plausible_and_always_the_same(body: bytes, cap: int) -> None:
    invention = _invented(body, output_cap=cap)

    assert invention == _invented(body, output_cap=cap)
    assert 1 <= invention.tokens.output_tokens <= cap
    assert invention.tokens.reasoning_tokens <= invention.tokens.output_tokens
    assert invention.tokens.prompt_tokens == len(body) // 4 + 5


@given(st.text(max_size=3_000), st.binary(min_size=1, max_size=40))
def test_the_pieces_of_a_stream_make_up_the_text(text: str, body: bytes) -> None:
    assert "".join(_invented(body).pieces(text)) == text


def test_told_figures_replace_the_invented_ones() -> None:
    told = Behaviour(input_tokens=3, output_tokens=2, cache_write_1h_tokens=9)

    tokens = _invented(b"x", told).tokens

    assert (tokens.input_tokens, tokens.output_tokens, tokens.cache_write_1h_tokens) == (3, 2, 9)
    assert tokens.reasoning_tokens <= 2


@given(st.integers(1, 200_000), st.sampled_from([spaces, stream_comment]))
def test_an_answer_has_exactly_the_size_asked_for(size: int, filler: object) -> None:
    def render(text: str) -> list[bytes]:
        return [b"head " * 20, text.encode(), text.encode(), b" tail" * 30]

    frames = sized(render, "natural", size, filler=filler)  # type: ignore[arg-type]

    assert sum(map(len, frames)) == size


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 100])
def test_a_filling_comment_has_its_length_and_no_content(count: int) -> None:
    comment = stream_comment(count)

    assert len(comment) == count
    assert not comment.strip(b":\n ")
