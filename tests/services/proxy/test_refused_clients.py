"""Real clients that meet a budget without room: each gets its provider's error, and none asks for ever."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from tests.doubles.raw_upstream import RawUpstream, ReceivedRequest, Wire, dialled
from tests.doubles.waiting import until
from tests.services.proxy.calls import messages_call
from tests.services.proxy.governed import HAIKU, govern, make_budget, script_of
from tests.services.proxy.running import RunningProxy

RETRIES = 5
Asking = Callable[[str, int], Any]


@pytest.fixture
def proxy(tmp_path: Path, upstream: RawUpstream) -> RunningProxy:
    return RunningProxy(tmp_path, upstream, cache_enabled=False)


def message(url: str, retries: int) -> Any:
    with anthropic.Anthropic(api_key="k", base_url=url, max_retries=retries) as client:
        return client.messages.create(
            model=HAIKU, max_tokens=100, messages=[{"role": "user", "content": "hello"}]
        )


def streamed_message(url: str, retries: int) -> Any:
    with anthropic.Anthropic(api_key="k", base_url=url, max_retries=retries) as client:
        turn: Any = {"role": "user", "content": "hello"}
        with client.messages.stream(model=HAIKU, max_tokens=100, messages=[turn]) as stream:
            return stream.get_final_message()


def chat(url: str, retries: int) -> Any:
    with openai.OpenAI(api_key="k", base_url=f"{url}/v1", max_retries=retries) as client:
        return client.chat.completions.create(
            model="gpt-4o", max_completion_tokens=100, messages=[{"role": "user", "content": "hello"}]
        )


def azure_chat(url: str, retries: int) -> Any:
    with openai.AzureOpenAI(
        api_key="k", azure_endpoint=f"{url}/azure", api_version="2024-10-21", max_retries=retries
    ) as client:
        return client.chat.completions.create(model="mini", messages=[{"role": "user", "content": "hello"}])


CLIENTS = pytest.mark.parametrize(
    ("ask", "error"),
    [
        (message, anthropic.RateLimitError),
        (streamed_message, anthropic.RateLimitError),
        (chat, openai.RateLimitError),
        (azure_chat, openai.RateLimitError),
    ],
    ids=["anthropic", "anthropic streaming", "openai", "azure"],
)


@CLIENTS
def test_a_client_takes_a_spent_budgets_word_and_does_not_ask_again(
    proxy: RunningProxy, upstream: RawUpstream, ask: Asking, error: type[Exception]
) -> None:
    govern(proxy, [make_budget()])
    with proxy:
        script_of(upstream).usages.append({"input_tokens": 1_000_000, "output_tokens": 0})
        message(f"http://127.0.0.1:{proxy.port}", 0)

        with pytest.raises(error, match=r"all .* has no room for this call in 2026-11"):
            ask(f"http://127.0.0.1:{proxy.port}", RETRIES)

        assert proxy.instance.tally.refusals["budget_exceeded"] == 1


@pytest.mark.parametrize(
    ("ask", "room_for_one"), [(message, 3_000_000), (chat, 7_500_000)], ids=["anthropic", "openai"]
)
def test_a_client_comes_back_once_what_was_held_is_free(
    proxy: RunningProxy, upstream: RawUpstream, ask: Asking, room_for_one: int
) -> None:
    answers = script_of(upstream)

    def script(wire: Wire, request: ReceivedRequest) -> None:
        if len(upstream.requests) == 1:  # the answer that others wait for
            until(lambda: proxy.instance.tally.refusals["budget_exceeded"] > 0)
        answers(wire, request)

    upstream.script = script
    govern(proxy, [make_budget(mode="strict", limit_nanodollars=room_for_one)])
    with proxy, dialled(proxy.port, messages_call(model=HAIKU)):
        until(lambda: len(upstream.requests) == 1)
        ask(f"http://127.0.0.1:{proxy.port}", RETRIES)

        assert proxy.instance.tally.refusals["budget_exceeded"] == 1
