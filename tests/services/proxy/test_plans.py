"""A plan's limits are none of the proxy's business: it serves and records whatever the plan says."""

from pathlib import Path

from metering.accounts import LOCAL_ACCOUNT_ID, Policy
from metering.plans import plan_named
from tests.doubles.raw_upstream import RawUpstream, answering, call
from tests.doubles.waiting import until
from tests.services.proxy.calls import answer, message, messages_call
from tests.services.proxy.running import RunningProxy

ROOT = Path(__file__).parents[3]


def test_calls_beyond_the_plan_are_served_and_recorded(tmp_path: Path) -> None:
    with RawUpstream(answering(answer(message()))) as upstream, RunningProxy(tmp_path, upstream) as proxy:
        proxy.directory.ensure_local_account()
        proxy.directory.set_plan(LOCAL_ACCOUNT_ID, "free")
        teams = ["search", "support", "third"]

        answers = [
            call(proxy.port, messages_call(headers=b"X-ModelTrack-Team: %b\r\n" % team.encode()))
            for team in teams
        ]
        until(lambda: len(proxy.events()) == len(teams))

        assert [each.status for each in answers] == [200] * len(teams)
        assert {each.team for each in proxy.events()} == set(teams)
        assert len(teams) > (plan_named("free").teams or 0)


def test_no_part_of_the_proxy_knows_of_plans() -> None:
    read = [path.read_text() for path in (ROOT / "proxy_service").rglob("*.py")]

    assert "plan" not in Policy.__struct_fields__
    assert not [text for text in read if "metering.plans" in text or "plan_named" in text]
