"""What `make run` starts, as far as it can be told without starting it."""

import pytest

from demo.run import CannotStart, Plan, environment_of_services, plan_from, welcome

DEMO = Plan(proxy_port=8080, api_port=3001, demo_port=8090)
REAL = Plan(proxy_port=8080, api_port=3001, demo_port=None)


def test_nothing_said_means_the_published_ports_and_the_demo_provider() -> None:
    assert plan_from({}) == DEMO
    assert plan_from({"UPSTREAM": "", "PROXY_PORT": ""}) == DEMO


def test_the_real_providers_are_talked_to_only_when_asked_for() -> None:
    plan = plan_from({"UPSTREAM": "real"})

    assert plan == REAL
    assert "ANTHROPIC_BASE_URL" not in environment_of_services(plan, {})


def test_the_demo_provider_stands_in_for_every_provider() -> None:
    told = environment_of_services(DEMO, {"LOG_LEVEL": "debug"})

    urls = {told[name] for name in told if name.endswith(("_BASE_URL", "_ENDPOINT_URL", "_ENDPOINT"))}
    assert urls == {"http://127.0.0.1:8090"}
    assert told["LOG_LEVEL"] == "debug"


@pytest.mark.parametrize(
    "environment", [{"UPSTREAM": "fake"}, {"PORT": "0"}, {"PROXY_PORT": "65536"}, {"DEMO_PORT": "x"}]
)
def test_what_makes_no_sense_is_refused_by_name(environment: dict[str, str]) -> None:
    with pytest.raises(CannotStart, match=next(iter(environment))):
        plan_from(environment)


def test_everything_that_makes_no_sense_is_said_at_once() -> None:
    with pytest.raises(CannotStart) as refused:
        plan_from({"UPSTREAM": "fake", "PORT": "x", "DEMO_PORT": "99999"})

    assert [line.partition(":")[0] for line in str(refused.value).splitlines()] == [
        "UPSTREAM",
        "PORT",
        "DEMO_PORT",
    ]


@pytest.mark.parametrize("environment", [{"PORT": "8080"}, {"DEMO_PORT": "3001"}], ids=str)
def test_two_of_ours_on_one_port_are_refused(environment: dict[str, str]) -> None:
    with pytest.raises(CannotStart, match="three different ports"):
        plan_from(environment)


def test_the_demo_providers_port_does_not_matter_without_it() -> None:
    assert plan_from({"UPSTREAM": "real", "DEMO_PORT": "3001"}) == REAL


def test_a_newcomer_is_shown_addresses_key_login_and_lines_to_paste() -> None:
    shown = welcome(DEMO, "mt_key", "pass-word")

    for each in ("http://127.0.0.1:8080", "http://127.0.0.1:3001", "http://127.0.0.1:8090", "pass-word"):
        assert each in shown
    assert shown.count("curl http") == 1
    assert "Bearer mt_key" in shown


def test_a_password_is_shown_at_the_first_start_only() -> None:
    assert "as shown at the first start" in welcome(REAL, "mt_key", None)
