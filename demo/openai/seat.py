"""What OpenAI's API and Azure's share and where they differ: models, heads, free calls, errors."""

from typing import Any

import msgspec

from demo.behaviour import Behaviour
from demo.bill import Sale, Tokens
from demo.catalogue import OPENAI, Model, azure_model
from demo.invention import Caching, as_json
from demo.reply import JSON_TYPE, Headers, Refused, Reply, required

CREATED_AT = 1_760_000_000
_OPENAI_HEADERS: Headers = (
    (b"openai-organization", b"demo-org"),
    (b"openai-version", b"2020-10-01"),
    (b"x-ratelimit-limit-requests", b"10000"),
    (b"x-ratelimit-limit-tokens", b"30000000"),
    (b"strict-transport-security", b"max-age=31536000; includeSubDomains; preload"),
    (b"set-cookie", b"__cf_bm=demo; path=/; HttpOnly; Secure"),
    (b"set-cookie", b"_cfuvid=demo; path=/; HttpOnly; Secure"),
    (b"server", b"cloudflare"),
)
_AZURE_HEADERS: Headers = (
    (b"apim-request-id", b"11111111-2222-4333-8444-555555555555"),
    (b"x-ms-region", b"Sweden Central"),
    (b"x-content-type-options", b"nosniff"),
    (b"azureml-model-session", b"d001-demo"),
)


class Seat(msgspec.Struct, frozen=True):
    """Where a request came in: OpenAI's own API, or an Azure resource with the deployment of its path."""

    provider: str = "openai"
    deployment: str = ""

    @property
    def headers(self) -> Headers:
        """What every answer from here carries."""
        return _AZURE_HEADERS if self.provider == "azure" else _OPENAI_HEADERS

    def model(self, ask: dict[str, Any]) -> Model:
        """The model asked for. Raises: Refused."""
        name = self.deployment or required(ask, "model", str)
        model = azure_model(name) if self.provider == "azure" else OPENAI.get(name)
        if model is None and self.provider == "azure":
            raise Refused(404, "The API deployment for this resource does not exist.")
        if model is None:
            raise Refused(
                404, f"The model `{name}` does not exist or you do not have access to it.", param="model"
            )
        return model

    def sale(self, model: Model, tokens: Tokens, *, is_streaming: bool) -> Sale:
        """What an answer from here sells."""
        return Sale(
            provider=self.provider,
            item=model.item,
            model=model.served_as,
            tokens=tokens,
            is_streaming=is_streaming,
        )


OPENAI_SEAT = Seat()


def caching_of(model: Model) -> Caching:
    """How the model's prompts are cached without being asked to."""
    return "writing" if model.writes_cache else "automatic"


def spoiled(fields: dict[str, Any], behaviour: Behaviour) -> dict[str, Any]:
    """The fields with their usage left out or null, where that is asked for."""
    if behaviour.usage == "absent":
        return {name: value for name, value in fields.items() if name != "usage"}
    return fields | {"usage": None} if behaviour.usage == "null" else fields


def indented(value: object) -> bytes:
    """JSON over several lines, as OpenAI sends whole answers."""
    return msgspec.json.format(as_json(value), indent=2) + b"\n"


def data_frame(value: object) -> bytes:
    """One frame of a stream."""
    return b"data: " + as_json(value) + b"\n\n"


def models(seat: Seat, body: bytes, digest: bytes, behaviour: Behaviour) -> Reply:
    """`GET …/models`: free."""
    data = [{"id": name, "object": "model", "created": CREATED_AT, "owned_by": "system"} for name in OPENAI]
    return Reply(headers=(JSON_TYPE, *seat.headers), frames=(indented({"object": "list", "data": data}),))


def other(seat: Seat, body: bytes, digest: bytes, behaviour: Behaviour) -> Reply:
    """Any other path: a small answer without usage, as images and moderations give."""
    fields = {"id": "demo", "object": "demo", "created": CREATED_AT, "data": []}
    return Reply(headers=(JSON_TYPE, *seat.headers), frames=(indented(fields),))


_ERROR_TYPES = {401: "invalid_request_error", 429: "requests", 500: "server_error", 503: "server_error"}
_ERROR_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


def error(status: int, message: str, seat: Seat = OPENAI_SEAT, *, param: str | None = None) -> Reply:
    """An error in OpenAI's shape."""
    said = {
        "error": {
            "message": message,
            "type": _ERROR_TYPES.get(status, "invalid_request_error"),
            "param": param,
            "code": _ERROR_CODES.get(status),
        }
    }
    return Reply(status=status, headers=(JSON_TYPE, *seat.headers), frames=(indented(said),))
