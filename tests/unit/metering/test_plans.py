import pytest

from metering.accounts import EVENTS_KEPT_DAYS_DEFAULT, AccountSettings, settings_under
from metering.plans import FREE, SELF_HOSTED, Plan, all_plans, at_limit, plan_named

LIMITS = set(Plan.__struct_fields__) - {"title", "is_paid"}


def test_it_is_said_of_every_limit_what_happens_at_it() -> None:
    assert set(at_limit()) == LIMITS


def test_ones_own_machine_limits_nothing_but_how_fast_it_is_asked() -> None:
    plan = plan_named(SELF_HOSTED)

    limited = {name for name in LIMITS if getattr(plan, name) is not None}

    assert limited == {"requests_a_minute", "requests_a_minute_of_one"}


def test_a_plan_that_is_known_no_more_promises_what_the_least_one_does() -> None:
    assert plan_named("of 2019") == all_plans()[FREE]


def test_no_one_may_ask_more_than_all_together() -> None:
    assert all(each.requests_a_minute_of_one <= each.requests_a_minute for each in all_plans().values())


@pytest.mark.parametrize(
    ("kept", "before", "after", "expected"),
    [
        (7, "free", "pro", 90),  # what nobody had set follows the plan
        (3, "free", "pro", 3),
        (90, "pro", "free", 7),
        (30, "pro", "free", 7),
        (5, "pro", "free", 5),
        (400, "enterprise", "pro", 90),
        (3660, "enterprise", "self_hosted", 3660),
        (30, "self_hosted", "enterprise", 30),
        (400, "self_hosted", "free", 7),
    ],
)
def test_a_change_of_plan_keeps_what_was_chosen_within_the_new_one(
    kept: int, before: str, after: str, expected: int
) -> None:
    settings = AccountSettings(events_kept_days=kept)

    changed = settings_under(plan_named(after), settings, plan_named(before))

    assert changed.events_kept_days == expected


@pytest.mark.parametrize(
    ("plan", "days"), [("free", 7), ("pro", 90), ("enterprise", EVENTS_KEPT_DAYS_DEFAULT)]
)
def test_a_new_account_keeps_events_as_long_as_its_plan_does(plan: str, days: int) -> None:
    assert settings_under(plan_named(plan), AccountSettings()).events_kept_days == days
