"""Alerts, and how people are told of them: channels, webhooks, and what was sent."""

from datetime import timedelta
from typing import Final, get_args

from flask import Response, request

from api_service.access import visitor
from api_service.channels import Level, NoticeKind
from api_service.dashboard.reading import Fields, section_of
from api_service.dashboard.rendering import page, render
from api_service.dashboard.view_state import ViewState
from api_service.resources.alerts import list_alerts
from api_service.resources.channels import list_channels
from api_service.resources.members import list_members
from api_service.resources.notices import list_deliveries, list_notices
from api_service.resources.webhooks import list_webhooks
from metering.alerting import AlertState

SNOOZES: Final = (
    (timedelta(hours=1), "an hour"),
    (timedelta(hours=8), "8 hours"),
    (timedelta(days=1), "a day"),
    (timedelta(days=7), "a week"),
)
LEVEL_TONES: Final = {"info": "", "warning": "warn", "critical": "bad"}
STATE_TONES: Final = {"open": "bad", "acknowledged": "warn", "snoozed": "", "resolved": "good"}
DELIVERY_TONES: Final = {"delivered": "good", "failed": "bad", "pending": "warn"}


@page("alerts")
def show_alerts(state: ViewState) -> Response:
    """List alerts, and let those who may see to them, put them off or be done with them."""
    wanted = _asked("state")
    kept = wanted if wanted in get_args(AlertState) else None
    return render(
        "alerts.html",
        alerts=section_of(list_alerts, query={"state": kept, "page": _asked("page")}),
        kept=kept,
        states=get_args(AlertState),
        has_channel=any(
            each["enabled"]
            for read in (list_channels, list_webhooks)
            for each in section_of(read)["data"] or []
        ),
        subject_address=lambda alert: _subject_address(state, alert),
        snoozes=[((state.now + length).isoformat(), text) for length, text in SNOOZES],
        may_change=visitor().may("write"),
        level_tones=LEVEL_TONES,
        state_tones=STATE_TONES,
    )


@page("channels")
def show_channels(state: ViewState) -> Response:
    """List the channels, and let those who may make and test them."""
    members, seat = section_of(list_members)["data"] or [], visitor().seat
    return render(
        "channels.html",
        channels=section_of(list_channels),
        emails=[(each["email"], each["email"]) for each in members],
        own_email="" if seat is None else seat.person.email,
        told=_what_is_told(),
    )


@page("webhooks")
def show_webhooks(state: ViewState) -> Response:
    """List the webhooks, and let those who may make, test and rotate them."""
    return render("webhooks.html", webhooks=section_of(list_webhooks), told=_what_is_told())


@page("notices")
def show_notices(state: ViewState) -> Response:
    """List what the account was told of, and how telling each channel went."""
    channels = {
        each["id"]: each["name"] or each.get("url") or each.get("email") or each.get("kind")
        for read in (list_channels, list_webhooks)
        for each in section_of(read)["data"] or []
    }
    return render(
        "notices.html",
        notices=section_of(list_notices, query={"page": _asked("page")}),
        deliveries=section_of(list_deliveries, query={"page": _asked("deliveries")}),
        channel_names=channels | {"operators_slack": "the operator’s Slack", "log": "the log"},
        may_change=visitor().may("settings"),
        level_tones=LEVEL_TONES,
        delivery_tones=DELIVERY_TONES,
    )


def _asked(name: str) -> str | None:
    return next(iter(request.args.getlist(name)), None)


def _what_is_told() -> dict[str, object]:
    """What forms of channels and webhooks choose from alike."""
    kinds = [each for each in get_args(NoticeKind) if each != "test"]
    return {
        "kinds": [(each, each.replace(".", ": ").replace("_", " "), "") for each in kinds],
        "levels": [(each, f"{each} and above" if each != "critical" else each) for each in get_args(Level)],
        "may_change": visitor().may("settings"),
    }


def _subject_address(state: ViewState, alert: Fields) -> str:
    """The page that shows what the alert is about."""
    if alert["subject_id"].startswith("budget_"):
        return f"/budgets/{alert['subject_id']}"
    if alert["kind"] == "anomaly":
        day = state.day_of(alert["fired_at"])
        return state.address(
            "/teams", **{"range": "custom", "from": day, "to": day, "team": [alert["subject_id"]]}
        )
    return "/models" if alert["kind"] == "unpriced_model" else "/overview"
