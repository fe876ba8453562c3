import pytest

from proxy_service.providers import Edit
from proxy_service.switches import UsageInjection
from proxy_service.wire import Origin

ONE, OTHER = Origin("https", "one.test", 443), Origin("https", "other.test", 443)
NAMES_IT = b'{"error":{"message":"Unrecognized request argument: stream_options"}}'


def test_usage_is_asked_for_until_an_upstream_refuses_a_call_over_it() -> None:
    injection = UsageInjection()

    injection.learn(ONE, ("include_usage",), 400, NAMES_IT)

    assert not injection.settings(ONE).inject_include_usage
    assert injection.settings(OTHER).inject_include_usage


@pytest.mark.parametrize(
    ("edits", "status", "body"),
    [((), 400, NAMES_IT), (("include_usage",), 200, NAMES_IT), (("include_usage",), 400, b"{}")],
    ids=["not our doing", "no refusal", "another reason"],
)
def test_nothing_else_turns_it_off(edits: tuple[Edit, ...], status: int, body: bytes) -> None:
    injection = UsageInjection()

    injection.learn(ONE, edits, status, body)

    assert injection.settings(ONE).inject_include_usage
