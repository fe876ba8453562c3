"""`budgets.json` and `routing.json` as published, word for word, on a running proxy, around each limit."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.doubles.raw_upstream import RawUpstream, ReceivedAnswer, call
from tests.doubles.waiting import until
from tests.services.proxy.calls import messages_call, post
from tests.services.proxy.governed import HAIKU, SONNET, Using, script_of
from tests.services.proxy.running import RunningProxy
from tests.unit.metering.test_file_configuration import PUBLISHED_BUDGETS, PUBLISHED_ROUTING

NO_CACHE = b"X-ModelTrack-No-Cache: true\r\n"
TOKENS_A_DOLLAR = {HAIKU: 1_000_000, "gpt-4o": 400_000}  # of input


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream(Using()) as upstream:
        yield upstream


@pytest.fixture
def proxy(tmp_path: Path, upstream: RawUpstream) -> Iterator[RunningProxy]:
    (tmp_path / "budgets.json").write_text(PUBLISHED_BUDGETS)
    (tmp_path / "routing.json").write_text(PUBLISHED_ROUTING)
    with RunningProxy(tmp_path, upstream) as proxy:
        yield proxy


def ask(proxy: RunningProxy, model: str, team: str, headers: bytes = b"") -> ReceivedAnswer:
    """A call by a team, or by an app of it where there is a slash in the name."""
    team, _, app = team.partition("/")
    headers += NO_CACHE + b"X-ModelTrack-Team: %b\r\nX-ModelTrack-App: %b\r\n" % (team.encode(), app.encode())
    if model.startswith("gpt"):
        body = msgspec.json.encode({"model": model, "messages": [{"role": "user", "content": "x"}]})
        return call(proxy.port, post(b"/v1/chat/completions", body, headers))
    return call(proxy.port, messages_call(model=model, headers=headers))


def spend(proxy: RunningProxy, upstream: RawUpstream, team: str, cents: int, model: str = HAIKU) -> None:
    tokens = TOKENS_A_DOLLAR[model] * cents // 100
    script_of(upstream).usages.append({"input_tokens": tokens, "output_tokens": 0})
    assert ask(proxy, model, team, b"X-ModelTrack-No-Route: true\r\n").status == 200
    proxy.clock.advance(1)


def served_model(upstream: RawUpstream) -> str:
    model: str = msgspec.json.decode(upstream.requests[-1].body)["model"]
    return model


@pytest.mark.parametrize(
    ("cents", "spent_by", "asked", "served"),
    [
        (349_95, HAIKU, SONNET, SONNET),
        (350_00, HAIKU, SONNET, HAIKU),
        (399_95, "gpt-4o", "gpt-4o", "gpt-4o"),
        (400_00, "gpt-4o", "gpt-4o", "gpt-4o-mini"),
        (350_00, HAIKU, "gpt-4o", "gpt-4o"),
        (400_00, HAIKU, HAIKU, HAIKU),
    ],
    ids=["69.99 %", "70 %", "79.99 %", "80 %", "70 % of the other provider", "no rule's model"],
)
def test_the_published_rules_fire_at_their_percentages(
    proxy: RunningProxy, upstream: RawUpstream, cents: int, spent_by: str, asked: str, served: str
) -> None:
    spend(proxy, upstream, "ml-research", cents, spent_by)

    got = ask(proxy, asked, "ml-research")

    assert (got.status, served_model(upstream)) == (200, served)
    assert (got.header(b"x-modeltrack-routed") == b"true") is (asked != served)


def test_a_rule_looks_at_the_callers_own_budget_and_at_its_opt_out(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    spend(proxy, upstream, "ml-research", 350_00)
    ask(proxy, SONNET, "product/search")
    of_another_team = served_model(upstream)
    ask(proxy, SONNET, "ml-research", b"X-ModelTrack-No-Route: true\r\n")

    assert (of_another_team, served_model(upstream)) == (SONNET, SONNET)


@pytest.mark.parametrize(
    ("team", "cents", "status", "warning"),
    [
        ("ml-research", 499_99, 200, b"ml-research at 99% of budget ($499.99/$500)"),
        ("ml-research", 500_00, 429, None),
        ("product/search", 79_99, 200, None),
        ("product/search", 80_00, 200, b"product/search at 80% of budget ($80/$100)"),
        ("product/search", 100_00, 429, None),
        ("product/chatbot", 200_00, 200, b"product/chatbot at 100% of budget ($200/$200)"),
        ("product/other", 600_00, 200, None),
    ],
)
def test_the_published_budgets_block_and_warn(
    proxy: RunningProxy, upstream: RawUpstream, team: str, cents: int, status: int, warning: bytes | None
) -> None:
    spend(proxy, upstream, team, cents)

    got = ask(proxy, HAIKU, team)

    assert (got.status, got.header(b"x-modeltrack-budget-warning")) == (status, warning)


def test_a_change_in_a_file_acts_without_a_restart(proxy: RunningProxy, upstream: RawUpstream) -> None:
    spend(proxy, upstream, "product/search", 100_00)
    assert ask(proxy, HAIKU, "product/search").status == 429

    (proxy.folder / "budgets.json").write_text(
        PUBLISHED_BUDGETS.replace('"monthly_limit": 100', '"monthly_limit": 900')
    )

    until(lambda: ask(proxy, HAIKU, "product/search").status == 200)


def test_a_header_of_ones_own_opts_out_of_routing(proxy: RunningProxy, upstream: RawUpstream) -> None:
    spend(proxy, upstream, "ml-research", 350_00)
    own = PUBLISHED_ROUTING.replace("X-ModelTrack-No-Route", "X-As-Asked")
    (proxy.folder / "routing.json").write_text(own)

    def is_as_asked() -> bool:
        ask(proxy, SONNET, "ml-research", b"X-As-Asked: true\r\n")
        return served_model(upstream) == SONNET

    until(is_as_asked)
    ask(proxy, SONNET, "ml-research")
    assert served_model(upstream) == HAIKU
