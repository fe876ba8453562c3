"""The demo's message batches, without a connection."""

import json
from typing import Any

import pytest

from demo.bill import Tokens, price_of
from demo.listener import Answer, Request
from demo.provider import Provider

PARAMS = {"model": "claude-sonnet-4-6", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
PATH = "/v1/messages/batches"


def _request(path: str, body: Any = None, *, key: str = "k") -> Request:
    headers = [(b"x-api-key", key.encode()), (b"host", b"provider.test"), (b"anthropic-version", b"1")]
    sent = b"" if body is None else json.dumps(body).encode()
    return Request(b"GET" if body is None else b"POST", path.encode(), headers, sent, is_kept_alive=True)


def _json(answer: Answer) -> Any:
    return json.loads(b"".join(answer.frames))


def _items(**params: dict[str, Any]) -> dict[str, Any]:
    return {"requests": [{"custom_id": name, "params": PARAMS | each} for name, each in params.items()]}


def _bill(provider: Provider) -> Any:
    return _json(provider.answer(_request("/demo/bill")))


def test_a_batch_is_run_and_billed_when_it_is_created() -> None:
    provider = Provider()

    made = _json(provider.answer(_request(PATH, _items(one={}, two={"max_tokens": 5}))))

    assert made["processing_status"] == "ended"
    assert made["results_url"] == f"http://provider.test{PATH}/{made['id']}/results"
    assert _bill(provider)["calls"] == 2


def test_results_say_what_was_billed_and_fetching_them_costs_nothing() -> None:
    provider = Provider()
    made = _json(provider.answer(_request(PATH, _items(one={}, two={"max_tokens": 5}))))

    fetches = [provider.answer(_request(f"{PATH}/{made['id']}/results")).frames for _ in range(2)]

    bill = _bill(provider)
    usages = [json.loads(line)["result"]["message"]["usage"] for line in fetches[0]]
    assert [row["output_tokens"] for row in bill["data"]] == [usage["output_tokens"] for usage in usages]
    assert {usage["service_tier"] for usage in usages} == {"batch"}
    assert fetches[1] == fetches[0][::-1]


def test_an_item_that_the_api_would_refuse_is_errored_and_not_billed() -> None:
    provider = Provider()

    made = _json(provider.answer(_request(PATH, _items(one={"model": "unheard-of"}, two={"stream": True}))))

    assert made["request_counts"]["errored"] == 2
    assert _bill(provider)["calls"] == 0


@pytest.mark.parametrize(
    "items", [{}, {"requests": []}, {"requests": [{"custom_id": "a", "params": {}}] * 2}]
)
def test_a_batch_that_is_none_is_refused(items: dict[str, Any]) -> None:
    assert Provider().answer(_request(PATH, items)).status == 400


def test_another_customers_batch_is_not_found() -> None:
    provider = Provider()
    made = _json(provider.answer(_request(PATH, _items(one={}))))

    for path in (f"{PATH}/{made['id']}", f"{PATH}/{made['id']}/results"):
        assert provider.answer(_request(path, key="other")).status == 404


def test_tokens_cost_half_in_a_batch_and_searches_do_not() -> None:
    tokens, searches = Tokens(input_tokens=1001), Tokens(server_tool_calls=3)

    assert price_of("claude-sonnet-4-6", tokens, is_batch=True) == 1_501_500
    assert price_of("claude-sonnet-4-6", searches, is_batch=True) == price_of("claude-sonnet-4-6", searches)
