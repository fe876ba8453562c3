"""How far a metered call may reach, read from its body: what `metering.bounds` makes an upper bound of.

Nothing is believed that could be read in another way: a body or a tool in which a key stands twice, a field
that this release does not know, a tool that the provider runs as often as it likes or bills by a price of its
own, sound, whose price is not text's, each leaves the call unbounded and is named. Content counts as text
where it plainly is; images, files, references and whatever else is there count as lying elsewhere. Text
itself is stepped over, never read.

Sources: https://platform.claude.com/docs/en/api/messages, https://platform.openai.com/docs/api-reference,
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html (2026-11).
"""

import re
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from metering.bounds import Extent
from proxy_service.members import NotEditable, values_once
from proxy_service.providers.asks import plain_body
from proxy_service.providers.base import Route
from proxy_service.providers.fields import ABSENT, Raw, count, flag, is_given, name, opened
from proxy_service.wire import Headers

_Fields = dict[str, Raw]

_WORD: Final = re.compile(r"[A-Za-z0-9_]{1,64}")
_COMPACTING: Final = re.compile(rb"/responses/compact/?(?:\?|\Z)")
_QUOTE, _BRACKET = ord('"'), ord("[")

SERVED_ROUNDS: Final = 10  # in which Anthropic runs tools of its own, before it pauses the turn

_MESSAGES_FIELDS: Final = frozenset(
    (
        "anthropic_beta", "anthropic_version", "cache_control", "container", "context_management",
        "inference_geo", "max_tokens", "mcp_servers", "messages", "metadata", "model", "output_config",
        "output_format", "service_tier", "speed", "stop_sequences", "stream", "system", "temperature",
        "thinking", "tool_choice", "tools", "top_k", "top_p",
    )
)  # fmt: skip
_CHAT_FIELDS: Final = frozenset(
    (
        "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
        "max_completion_tokens", "max_tokens", "messages", "metadata", "modalities", "model", "n",
        "parallel_tool_calls", "prediction", "presence_penalty", "prompt_cache_key",
        "prompt_cache_retention", "reasoning_effort", "response_format", "safety_identifier", "seed",
        "service_tier", "stop", "store", "stream", "stream_options", "temperature", "tool_choice", "tools",
        "top_logprobs", "top_p", "user", "verbosity", "web_search_options",
    )
)  # fmt: skip
_COMPLETIONS_FIELDS: Final = frozenset(
    (
        "best_of", "echo", "frequency_penalty", "logit_bias", "logprobs", "max_tokens", "model", "n",
        "presence_penalty", "prompt", "seed", "stop", "stream", "stream_options", "suffix", "temperature",
        "top_p", "user",
    )
)  # fmt: skip
_RESPONSES_FIELDS: Final = frozenset(
    (
        "background", "conversation", "include", "input", "instructions", "max_output_tokens",
        "max_tool_calls", "metadata", "model", "parallel_tool_calls", "previous_response_id", "prompt",
        "prompt_cache_key", "prompt_cache_retention", "reasoning", "safety_identifier", "service_tier",
        "store", "stream", "stream_options", "temperature", "text", "tool_choice", "tools", "top_logprobs",
        "top_p", "truncation", "user",
    )
)  # fmt: skip
_EMBEDDINGS_FIELDS: Final = frozenset(("dimensions", "encoding_format", "input", "model", "user"))
_CONVERSE_FIELDS: Final = frozenset(
    (
        "additionalModelRequestFields", "additionalModelResponseFieldPaths", "inferenceConfig", "messages",
        "outputConfig", "requestMetadata", "serviceTier", "system", "toolConfig",
    )
)  # fmt: skip
# What Bedrock bills by prices of their own; as fields of Converse they are not known above.
_DEARER_HEADERS: Final = frozenset(
    (b"x-amzn-bedrock-performanceconfig-latency", b"x-amzn-bedrock-guardrailidentifier")
)
_DEARER_NAME_BYTES_MIN: Final = min(map(len, _DEARER_HEADERS))  # few other names are so long

_MESSAGES_TEXT: Final = frozenset(("text", "thinking", "redacted_thinking", "tool_use", "tool_result"))
_CHAT_TEXT: Final = frozenset(("text", "refusal"))
_RESPONSES_TEXT: Final = frozenset(("input_text", "output_text", "refusal", "text"))
_RESPONSES_CALLS: Final = frozenset(("function_call", "custom_tool_call"))
_RESPONSES_RESULTS: Final = frozenset(("function_call_output", "custom_tool_call_output"))
_CONVERSE_TEXT: Final = frozenset(("text", "toolUse", "cachePoint", "json"))

# Anthropic's own definitions of tools that the caller runs
_CALLERS_TOOL: Final = re.compile(r"(?:bash|computer|memory|text_editor)_\d{8}")
_OPENAI_CALLERS_TOOLS: Final = frozenset(("function", "custom"))
# Tools of the providers that cost a known price a call and tokens of the model itself. Others start another
# model, a container or a server, which no price of a call covers.
_SERVED_TOOL: Final = re.compile(r"web_(?:search|fetch)_\d{8}")
_OPENAI_SERVED_TOOL: Final = re.compile(r"web_search(?:_\d{4}_\d{2}_\d{2})?|file_search")
_SOUND: Final = "input_audio"


class _Part(msgspec.Struct):
    type: str = ""
    content: Raw = ABSENT


class _Turn(msgspec.Struct):
    content: Raw = ABSENT
    audio: Raw = ABSENT


class _Item(msgspec.Struct):
    type: str = "message"
    content: Raw = ABSENT
    output: Raw = ABSENT


class _Tool(msgspec.Struct):
    type: str | None = None
    max_uses: Raw = ABSENT


class _Inference(msgspec.Struct):
    maxTokens: Raw = ABSENT  # noqa: N815  # as Converse spells it


class _Block(msgspec.Struct):
    content: Raw = ABSENT


class _ToolConfig(msgspec.Struct):
    tools: Raw = ABSENT


_PARTS: Final = msgspec.json.Decoder(list[_Part])
_TURNS: Final = msgspec.json.Decoder(list[_Turn])
_ITEMS: Final = msgspec.json.Decoder(list[_Item])
_TOOLS: Final = msgspec.json.Decoder(list[_Tool])
_INFERENCE: Final = msgspec.json.Decoder(_Inference)
_BLOCKS: Final = msgspec.json.Decoder(list[dict[str, Raw]])
_BLOCK: Final = msgspec.json.Decoder(_Block)
_TOOL_CONFIG: Final = msgspec.json.Decoder(_ToolConfig)
_VALUES: Final = msgspec.json.Decoder(list[Raw])


def read_extent(route: Route, headers: Headers, body: bytes, model: str) -> Extent:
    """How far a call that `model` serves may reach; the whole body is given as it came, compressed or not."""
    plain = plain_body(headers, body)
    if plain is None:
        return _unbounded("content-encoding")
    if _is_dearer(headers):
        return _unbounded("headers")
    try:
        fields = values_once(plain)
    except NotEditable:
        return _unbounded("body")
    known, read = _READERS.get(_reader_of(route, fields, model), (None, _invoked))
    if known is not None and not fields.keys() <= known:
        unknown = next(name for name in fields if name not in known)
        return _unbounded(unknown if _WORD.fullmatch(unknown) else "body")
    return read(fields, len(plain))


def _is_dearer(headers: Headers) -> bool:
    for each, _ in headers:  # noqa: SIM110 - of every call; a generator takes twice as long
        if len(each) >= _DEARER_NAME_BYTES_MIN and each.lower() in _DEARER_HEADERS:
            return True
    return False


def _reader_of(route: Route, fields: _Fields, model: str) -> str:
    """A Claude that is invoked on Bedrock takes what Anthropic takes; others have forms of their own.

    What they do not know in a body they may pass over, such as the limit of an answer.
    """
    operation = route.operation.removesuffix("_stream")
    if operation == "responses" and _COMPACTING.search(route.target):
        return "compact"
    is_translated = route.provider == "bedrock" and operation == "messages"
    if is_translated or operation == "invoke":
        is_message = is_translated or "anthropic_version" in fields
        return "messages" if is_message and "anthropic." in model else "invoke"
    return operation


def _unbounded(param: str) -> Extent:
    return Extent(prompt_bytes=None, unbounded_param=param)


def _messages(fields: _Fields, size: int) -> Extent:
    servers = fields.get("mcp_servers", ABSENT)
    if is_given(servers) and bytes(servers) != b"[]":
        return _unbounded("mcp_servers")
    tools = _tools(fields.get("tools", ABSENT))
    if tools is None:
        return _unbounded("tools")
    served: list[int | None] = []
    if tools:
        run = [tool for tool in tools if not _is_callers(tool)]
        if any(_SERVED_TOOL.fullmatch(tool.type or "") is None for tool in run):
            return _unbounded("tools")
        served = [count(tool.max_uses) for tool in run]
        if None in served:
            return _unbounded("tools.max_uses")
    uses = sum([most for most in served if most is not None])
    compacts = is_given(fields.get("context_management", ABSENT))
    elsewhere = ""
    if served or compacts:
        elsewhere = "tools" if served else "context_management"
    elif is_given(fields.get("container", ABSENT)):
        elsewhere = "container"
    elif not _is_prompt(fields.get("system", ABSENT), _MESSAGES_TEXT) or not _are_turns(
        fields.get("messages", ABSENT), _MESSAGES_TEXT
    ):
        elsewhere = "messages"
    # one round after each use, and some after uses that were refused as too many
    rounds = 1 + (uses + SERVED_ROUNDS if served else 0)
    # before each the context may be read and summed up once more, at any length
    rounds *= 2 if compacts else 1
    return Extent(
        prompt_bytes=None if elsewhere else size,
        elsewhere_param=elsewhere,
        prompt_reads=rounds,
        has_tools=bool(tools),
        answer_tokens_max=None if compacts else count(fields.get("max_tokens", ABSENT)),
        answer_param="context_management" if compacts else "max_tokens",
        answers=rounds,
        tool_calls=uses,
    )


def _is_callers(tool: _Tool) -> bool:
    return tool.type in (None, "custom") or _CALLERS_TOOL.fullmatch(tool.type or "") is not None


def _chat(fields: _Fields, size: int) -> Extent:
    tools = _tools(fields.get("tools", ABSENT))
    if tools is None or any(tool.type not in _OPENAI_CALLERS_TOOLS for tool in tools):
        return _unbounded("tools")
    choices = _choices(fields, "n")
    if choices is None:
        return _unbounded("n")
    messages = fields.get("messages", ABSENT)
    if is_given(fields.get("audio", ABSENT)) or _has_sound(messages):
        return _unbounded("audio")
    is_asked_to_search = is_given(fields.get("web_search_options", ABSENT))
    searches = is_asked_to_search or "-search-" in _text(fields.get("model"))  # made for it, it always does
    elsewhere = ""
    if searches:
        elsewhere = "web_search_options" if is_asked_to_search else "model"
    if not elsewhere and not _are_turns(messages, _CHAT_TEXT):
        elsewhere = "messages"
    has_tools = bool(tools) or is_given(fields.get("functions", ABSENT))
    return Extent(
        prompt_bytes=None if elsewhere else size,
        elsewhere_param=elsewhere,
        has_tools=has_tools,
        answer_tokens_max=_longest(fields, "max_completion_tokens", "max_tokens"),
        answer_param="max_tokens" if _is_only_older_limit(fields) else "max_completion_tokens",
        answers=choices,
        # what was predicted and did not come true is billed as answered
        answer_tokens_beside=size if is_given(fields.get("prediction", ABSENT)) else 0,
        tool_calls=choices if searches else 0,
    )


def _completions(fields: _Fields, size: int) -> Extent:
    choices = _choices(fields, "n", "best_of")
    if choices is None:
        return _unbounded("n")
    prompts = opened(fields.get("prompt", ABSENT), _VALUES) or []
    many = sum(_first_byte(each) in (_QUOTE, _BRACKET) for each in prompts)
    return Extent(
        prompt_bytes=size,
        is_one_prompt=many <= 1,
        answer_tokens_max=_longest(fields, "max_tokens"),
        answer_param="max_tokens",
        answers=choices * max(1, many),
    )


def _responses(fields: _Fields, size: int) -> Extent:
    if is_given(fields.get("prompt", ABSENT)):
        return _unbounded("prompt")
    if flag(fields.get("background", ABSENT)) is not False and is_given(fields.get("background", ABSENT)):
        return _unbounded("background")  # its answer comes before it has used anything
    tools = _tools(fields.get("tools", ABSENT))
    if tools is None:
        return _unbounded("tools")
    if _has_sound(fields.get("input", ABSENT)):
        return _unbounded("input")
    run = [tool.type or "" for tool in tools if tool.type not in _OPENAI_CALLERS_TOOLS]
    if not all(map(_OPENAI_SERVED_TOOL.fullmatch, run)):
        return _unbounded("tools")
    calls = 0
    if run:
        most = count(fields.get("max_tool_calls", ABSENT))
        if most is None:
            return _unbounded("max_tool_calls")
        calls = most
    elsewhere = next(
        (name for name in ("previous_response_id", "conversation") if is_given(fields.get(name, ABSENT))), ""
    )
    if not elsewhere and (calls or not _are_items(fields.get("input", ABSENT))):
        elsewhere = "tools" if calls else "input"
    return Extent(
        prompt_bytes=None if elsewhere else size,
        elsewhere_param=elsewhere,
        prompt_reads=1 + calls,
        has_tools=bool(tools),
        answer_tokens_max=_longest(fields, "max_output_tokens"),
        answer_param="max_output_tokens",
        tool_calls=calls,
    )


def _compacted(fields: _Fields, size: int) -> Extent:
    """What is summed up is as long as it gets: there is no field that limits it."""
    return msgspec.structs.replace(_responses(fields, size), answer_tokens_max=None, answer_param="model")


def _embeddings(fields: _Fields, size: int) -> Extent:
    return Extent(prompt_bytes=size, is_one_prompt=False, answer_tokens_max=0)


def _converse(fields: _Fields, size: int) -> Extent:
    configured = fields.get("toolConfig", ABSENT)
    config = opened(configured, _TOOL_CONFIG)
    tools = opened(config.tools, _BLOCKS) if config is not None else []
    is_read = not is_given(configured) or _is_said_once(configured)
    if not is_read or tools is None or any(not tool.keys() <= {"toolSpec", "cachePoint"} for tool in tools):
        return _unbounded("toolConfig")
    inferring = fields.get("inferenceConfig", ABSENT)
    if is_given(inferring) and not _is_said_once(inferring):
        return _unbounded("inferenceConfig")
    inference = opened(inferring, _INFERENCE) or _Inference()
    is_plain = not is_given(fields.get("additionalModelRequestFields", ABSENT))
    elsewhere = "" if is_plain else "additionalModelRequestFields"
    if is_plain and not (
        _are_blocks(fields.get("system", ABSENT)) and _are_block_turns(fields.get("messages", ABSENT))
    ):
        elsewhere = "messages"
    return Extent(
        prompt_bytes=None if elsewhere else size,
        elsewhere_param=elsewhere,
        # what else is said to the model may lengthen its answer, and have the context summed up before it
        prompt_reads=1 if is_plain else 2,
        has_tools=bool(tools),
        answer_tokens_max=count(inference.maxTokens) if is_plain else None,
        answer_param="inferenceConfig.maxTokens" if is_plain else "additionalModelRequestFields",
        answers=1 if is_plain else 2,
    )


def _invoked(fields: _Fields, size: int) -> Extent:
    """A model in its maker's own form: only its limits bound it."""
    return Extent(prompt_bytes=None, elsewhere_param="model", answer_param="model")


_READERS: Final[dict[str, tuple[frozenset[str], Callable[[_Fields, int], Extent]]]] = {
    "messages": (_MESSAGES_FIELDS, _messages),
    "chat_completions": (_CHAT_FIELDS, _chat),
    "completions": (_COMPLETIONS_FIELDS, _completions),
    "responses": (_RESPONSES_FIELDS, _responses),
    "compact": (_RESPONSES_FIELDS, _compacted),
    "embeddings": (_EMBEDDINGS_FIELDS, _embeddings),
    "converse": (_CONVERSE_FIELDS, _converse),
}


def _longest(fields: _Fields, *names: str) -> int | None:
    """The longest answer that any of the fields allows; None where none does, or one cannot be read."""
    given = [fields[name] for name in names if is_given(fields.get(name, ABSENT))]
    most = [count(field) for field in given]
    known = [each for each in most if each is not None]
    return max(known) if known and len(known) == len(most) else None


def _is_only_older_limit(fields: _Fields) -> bool:
    """Whether a chat limits its answer by the field that came first: the newer one would not replace it."""
    return is_given(fields.get("max_tokens", ABSENT)) and not is_given(
        fields.get("max_completion_tokens", ABSENT)
    )


def _choices(fields: _Fields, *names: str) -> int | None:
    """How many answers are made; None where it cannot be read."""
    if not any(is_given(fields.get(name, ABSENT)) for name in names):
        return 1
    most = _longest(fields, *names)
    return None if most is None else max(1, most)


def _tools(field: Raw) -> list[_Tool] | None:
    """The tools of a call; None where they cannot be read, or not in one way."""
    if not is_given(field):
        return []
    return opened(field, _TOOLS) if all(map(_is_said_once, opened(field, _VALUES) or ())) else None


def _is_said_once(field: Raw) -> bool:
    """Whether an object holds each key once."""
    try:
        values_once(bytes(field))
    except NotEditable:
        return False
    return True


def _text(field: Raw | None) -> str:
    return (name(field) or "") if field is not None else ""


def _has_sound(field: Raw) -> bool:
    """Whether there is sound among the content, or a reference to an answer that was sound."""
    return any(
        is_given(turn.audio) or any(part.type == _SOUND for part in opened(turn.content, _PARTS) or ())
        for turn in opened(field, _TURNS) or ()
    )


def _first_byte(field: Raw) -> int:
    view = memoryview(field)
    return view[0] if view.nbytes else 0


def _is_prompt(content: Raw, text_types: frozenset[str]) -> bool:
    """Whether a message's content is text and nothing else."""
    if not is_given(content) or _first_byte(content) == _QUOTE:
        return True
    parts = opened(content, _PARTS)
    return parts is not None and _are_texts(parts, text_types)


def _are_texts(parts: Iterable[_Part], text_types: frozenset[str]) -> bool:
    return all(
        part.type in text_types and (part.type != "tool_result" or _is_prompt(part.content, text_types))
        for part in parts
    )


def _are_turns(field: Raw, text_types: frozenset[str]) -> bool:
    turns = opened(field, _TURNS)
    if turns is None:
        return False
    for turn in turns:  # noqa: SIM110 - many in long calls; a generator takes twice as long
        if is_given(turn.audio) or not _is_prompt(turn.content, text_types):
            return False
    return True


def _are_items(field: Raw) -> bool:
    """Whether a response's input is text and nothing else."""
    if _first_byte(field) == _QUOTE:
        return True
    items = opened(field, _ITEMS)
    return items is not None and all(
        item.type in _RESPONSES_CALLS
        or (item.type == "message" and _is_prompt(item.content, _RESPONSES_TEXT))
        or (item.type in _RESPONSES_RESULTS and _is_prompt(item.output, _RESPONSES_TEXT))
        for item in items
    )


def _are_blocks(field: Raw) -> bool:
    """Whether Converse's blocks are text and nothing else."""
    if not is_given(field):
        return True
    blocks = opened(field, _BLOCKS)
    if blocks is None:
        return False
    for block in blocks:
        result = block.pop("toolResult", None)
        if not block.keys() <= _CONVERSE_TEXT:
            return False
        if result is not None:
            opened_result = opened(result, _BLOCK)
            if opened_result is None or not _are_blocks(opened_result.content):
                return False
    return True


def _are_block_turns(field: Raw) -> bool:
    turns = opened(field, _TURNS)
    return turns is not None and all(_are_blocks(turn.content) for turn in turns)
