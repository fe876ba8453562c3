"""Notices: what an account was told, and what became of telling each channel."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from flask import Response
from pydantic import Field

from api_service.access import needs, require_unpinned, visitor
from api_service.answers import answer_fields
from api_service.channels import Level, NoticeKind
from api_service.fields import Input, View, example_of
from api_service.notices import Delivery, DeliveryState, delivery_from, notice_from
from api_service.pages import PAGE_DEFAULT, PAGE_MAX, newest
from api_service.routing import may_refuse, routes_of
from api_service.services import services
from metering.collections import DELIVERIES, delivery_path, notices_collection
from metering.errors import Conflict, NotFound, RevisionChanged
from metering.stores import Document, Update

notices = routes_of("notices")

PageCursor = Annotated[str | None, Field(description="The `next_page` of the page before.")]
Limit = Annotated[
    int,
    Field(ge=1, le=PAGE_MAX, description="How many at most.", json_schema_extra={"example": PAGE_DEFAULT}),
]

_DELIVERY_ID = re.compile(r"msg_[0-9a-f]{32}")
_NOTICE_EXAMPLE: dict[str, Any] = {
    "id": "notice_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
    "kind": "alert.budget",
    "level": "warning",
    "title": "80% of the budget search in production is spent",
    "text": "The budget search in production has spent $400.00 of $500.00 in 2026-11.",
    "subject_id": "budget_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
    "data": {"percent": 80},
    "created_at": "2026-11-21T09:30:00Z",
}
_DELIVERY_EXAMPLE: dict[str, Any] = {
    "id": "msg_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
    "notice_id": _NOTICE_EXAMPLE["id"],
    "channel_id": "channel_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
    "channel_kind": "webhook",
    "state": "pending",
    "attempts": 2,
    "outcome": "503",
    "created_at": "2026-11-21T09:30:00Z",
    "attempted_at": "2026-11-21T09:30:06Z",
    "next_attempt_at": "2026-11-21T09:35:06Z",
}


class NoticesQuery(Input):
    """Which notices."""

    page: PageCursor = None
    limit: Limit = PAGE_DEFAULT


class DeliveriesQuery(Input):
    """Which deliveries."""

    channel_id: str | None = Field(
        default=None, description="Only those to this channel or webhook of the account."
    )
    page: PageCursor = None
    limit: Limit = PAGE_DEFAULT


class DeliveryPath(Input):
    """Which delivery."""

    delivery_id: str = Field(
        description="The `id` that listing deliveries shows; the `webhook-id` of a webhook's calls.",
        json_schema_extra={"example": _DELIVERY_EXAMPLE["id"]},
    )


class NoticeView(View):
    """Something that the account was told."""

    model_config = example_of(_NOTICE_EXAMPLE)

    id: str = Field(description="Names the notice.")
    kind: NoticeKind = Field(description="What it is about.")
    level: Level = Field(description="How much it matters.")
    title: str = Field(description="It in one line.")
    text: str = Field(description="The whole in plain words.")
    subject_id: str = Field(description="Names the budget, model, day or channel that it is about.")
    data: dict[str, Any] = Field(description="The same for programs, as its kind says.")
    created_at: datetime = Field(description="When it came up.")


class NoticesView(View):
    """A page of notices, newest first."""

    model_config = example_of({"data": [_NOTICE_EXAMPLE], "has_more": False, "next_page": None})

    data: list[NoticeView] = Field(description="The notices.")
    has_more: bool = Field(description="Whether there are older ones.")
    next_page: str | None = Field(description="What `page` takes for those; null: there are none.")


class DeliveryView(View):
    """One notice on its way to one channel."""

    model_config = example_of(_DELIVERY_EXAMPLE)

    id: str = Field(description="Names the delivery, however often it is tried.")
    notice_id: str = Field(description="The notice.")
    channel_id: str = Field(
        description="The channel or webhook; `operators_slack`: SLACK_WEBHOOK_URL; `log`: there was none."
    )
    channel_kind: Literal["slack", "email", "webhook", "log"] = Field(description="What it goes by.")
    state: DeliveryState = Field(description="`failed`: it is not tried any more, unless it is replayed.")
    attempts: int = Field(description="How often it was tried.")
    outcome: str = Field(
        description="How the last attempt ended: an HTTP status, or a word; empty: none yet."
    )
    created_at: datetime = Field(description="When the notice came up.")
    attempted_at: datetime | None = Field(description="When it was last tried; null: not yet.")
    next_attempt_at: datetime | None = Field(description="When it is tried next; null: not any more.")


class DeliveriesView(View):
    """A page of deliveries, newest first."""

    model_config = example_of({"data": [_DELIVERY_EXAMPLE], "has_more": False, "next_page": None})

    data: list[DeliveryView] = Field(description="The deliveries.")
    has_more: bool = Field(description="Whether there are older ones.")
    next_page: str | None = Field(description="What `page` takes for those; null: there are none.")


@notices.get("/v1/notices", responses={200: NoticesView})
@needs("read")
def list_notices(query: NoticesQuery) -> Response:
    """List what the account was told of, newest first, whether or not it has a channel. Kept for 90 days."""
    collection = notices_collection(visitor().account_id)
    page = newest(services().store, collection, "created_at", cursor=query.page, limit=query.limit)
    shown = [_shown_notice(each) for each in page.documents]
    return answer_fields({"data": shown, "has_more": page.next_page is not None, "next_page": page.next_page})


@notices.get("/v1/deliveries", responses={200: DeliveriesView})
@needs("read")
def list_deliveries(query: DeliveriesQuery) -> Response:
    """List how telling each channel went, newest first. Kept for 90 days."""
    known, account_id = services(), visitor().account_id
    equal = {"account_id": account_id}
    if query.channel_id is not None:
        if query.channel_id not in {each.channel_id for each in known.channels.of(account_id)}:
            return answer_fields({"data": [], "has_more": False, "next_page": None})
        equal = {"channel_id": query.channel_id}  # a channel's id is no other account's
    page = newest(known.store, DELIVERIES, "created_at", equal=equal, cursor=query.page, limit=query.limit)
    shown = [_shown_delivery(delivery_from(each)) for each in page.documents]
    return answer_fields({"data": shown, "has_more": page.next_page is not None, "next_page": page.next_page})


@notices.get("/v1/deliveries/<delivery_id>", responses={200: DeliveryView, **may_refuse(404)})
@needs("read")
def show_delivery(path: DeliveryPath) -> Response:
    """Show how telling one channel of one notice goes."""
    return answer_fields(_shown_delivery(delivery_from(_delivery_document(path))))


@notices.post("/v1/deliveries/<delivery_id>/replay", responses={202: DeliveryView, **may_refuse(404, 409)})
@needs("settings")
def replay_delivery(path: DeliveryPath) -> Response:
    """Send it again, within seconds, whether or not it was delivered before; under the same id.

    It is tried like a new one. What is on its way already is refused (409).
    """
    known = services()
    require_unpinned(visitor())
    document = _delivery_document(path)
    delivery = delivery_from(document)
    if delivery.state == "pending":
        raise Conflict("this delivery is on its way; look at next_attempt_at")
    again = msgspec.structs.replace(delivery, state="pending", attempts=0, next_at=known.clock.now())
    fields = {"state": again.state, "attempts": again.attempts, "next_at": again.next_at}
    try:
        known.store.commit([Update(document.path, fields, if_revision=document.revision)])
    except RevisionChanged:
        raise Conflict("this delivery is on its way; look at next_attempt_at") from None
    return answer_fields(_shown_delivery(again), 202)


def _delivery_document(path: DeliveryPath) -> Document:
    unknown = NotFound("there is no such delivery")
    if not _DELIVERY_ID.fullmatch(path.delivery_id):
        raise unknown
    document = services().store.get(delivery_path(path.delivery_id))
    if document is None or document.fields["account_id"] != visitor().account_id:
        raise unknown
    return document


def _shown_notice(document: Document) -> dict[str, object]:
    notice = notice_from(document)
    return {
        "id": notice.notice_id,
        "kind": notice.kind,
        "level": notice.level,
        "title": notice.title,
        "text": notice.text,
        "subject_id": notice.subject_id,
        "data": msgspec.Raw(notice.data.encode()),
        "created_at": notice.created_at,
    }


def _shown_delivery(delivery: Delivery) -> dict[str, object]:
    return {
        "id": delivery.delivery_id,
        "notice_id": delivery.notice_id,
        "channel_id": delivery.channel_id,
        "channel_kind": delivery.channel_kind,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "outcome": delivery.outcome,
        "created_at": delivery.created_at,
        "attempted_at": delivery.attempted_at,
        "next_attempt_at": delivery.next_at,
    }
