"""Embeddings as the demo speaks them: as floats or packed in base64."""

import base64
import random
import struct
from collections.abc import Sequence

from demo.behaviour import Behaviour
from demo.bill import Tokens
from demo.invention import invent, reported, spaces
from demo.openai.seat import OPENAI_SEAT, Seat, indented, spoiled
from demo.reply import JSON_TYPE, Refused, Reply, asked

EMBEDDED_TEXTS_MAX = 2_048


def embeddings(body: bytes, digest: bytes, behaviour: Behaviour, seat: Seat = OPENAI_SEAT) -> Reply:
    """`POST …/embeddings`. Raises: Refused."""
    ask = asked(body)
    model = seat.model(ask)
    if not model.dimensions:
        raise Refused(400, "This is not an embedding model.", param="model")
    said = ask.get("input")
    texts = said if isinstance(said, list) and said and not isinstance(said[0], int) else [said]
    if not said or len(texts) > EMBEDDED_TEXTS_MAX:
        raise Refused(400, f"input: between 1 and {EMBEDDED_TEXTS_MAX} texts", param="input")
    figures = invent(digest, body, behaviour, output_cap=1).tokens
    tokens = reported(Tokens(input_tokens=figures.prompt_tokens), behaviour)
    dimensions = int(ask.get("dimensions") or model.dimensions)
    vectors = [_vector(digest + bytes([at % 256]), dimensions) for at in range(len(texts))]
    is_base64 = ask.get("encoding_format") == "base64"
    fields = {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": at,
                "embedding": _packed(vector) if is_base64 else vector,
            }
            for at, vector in enumerate(vectors)
        ],
        "model": model.served_as,
        "usage": {"prompt_tokens": tokens.input_tokens, "total_tokens": tokens.input_tokens},
    }
    whole = indented(spoiled(fields, behaviour))
    rest = max(0, (behaviour.size or 0) - len(whole))
    return Reply(
        headers=(JSON_TYPE, *seat.headers),
        frames=(whole + spaces(rest),),
        sale=seat.sale(model, tokens, is_streaming=False),
    )


def _vector(seed: bytes, dimensions: int) -> list[float]:
    dice = random.Random(seed)
    return [round(dice.uniform(-0.1, 0.1), 8) for _ in range(dimensions)]


def _packed(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
