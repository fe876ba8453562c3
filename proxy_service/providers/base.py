"""What a call is, in one vocabulary for all providers: where it goes, what it asks, how it leaves.

Start here; `routes` finds the `Route`, `asks` reads the `Ask`, `preparing` makes the `Prepared`, `meters`
chooses how the answer's usage is read.
"""

from typing import Literal

import msgspec

from metering.events import Provider
from proxy_service.refusals import Dialect
from proxy_service.wire import Headers

RouteKind = Literal[
    "metered",  # its usage is read and priced
    "free",  # costs nothing: no event
    "unmetered",  # may cost, but its usage cannot be read: an event without figures
]

Operation = Literal[
    "messages",
    "chat_completions",
    "completions",
    "responses",
    "embeddings",
    "invoke",
    "invoke_stream",
    "converse",
    "converse_stream",
    "other",
]

Edit = Literal[
    "include_usage",  # `stream_options.include_usage` was asked for; the frame it brings is withheld
    "azure_path",  # the published `/azure/v1/…` became the deployment's own path
    "bedrock_translation",  # an Anthropic request became a Bedrock one
]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where a call goes and how it is treated.

    `target` is the raw path and query for the upstream, percent-encoding as sent. `model` is what the path
    names (a Bedrock model id, an Azure deployment), "" where the body names it. `dialect` is whose error
    shape the caller understands. `translated`: request and answer are turned from Anthropic's form into
    Bedrock's and back. `makes_batch`: free itself, but what it has the provider run is not.
    """

    provider: Provider
    dialect: Dialect
    kind: RouteKind
    upstream: Provider
    target: bytes
    operation: Operation = "other"
    model: str = ""
    translated: bool = False
    makes_batch: bool = False


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a call asks for, as far as metering, caching and budgets need to know.

    `model` is "" where the body could not be read but may still mean something to the provider.
    `include_usage` None: the caller said nothing. `choices` is how many answers are generated and billed.
    """

    model: str = ""
    streaming: bool = False
    include_usage: bool | None = None
    output_tokens_max: int | None = None
    temperature: float | None = None
    service_tier: str = ""
    choices: int = 1


class PrepareSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may switch about outgoing calls."""

    inject_include_usage: bool = True
    azure_api_version: str = "2024-10-21"


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A call as it leaves for the upstream. Without `edits`, target, headers and body are as they came.

    `withhold`: the answer's usage frame was not asked for by the caller and is kept from it
    (`proxy_service.withholding`). Framing headers are still the caller's; the relay writes its own.
    """

    target: bytes
    headers: Headers
    body: bytes
    withhold: bool = False
    edits: tuple[Edit, ...] = ()
