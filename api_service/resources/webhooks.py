"""Webhooks: calls of ours to an address of the tenant's, signed as Standard Webhooks says."""

from typing import Any
from urllib.parse import urlsplit

from flask import Response
from pydantic import Field, StrictBool

from api_service.access import needs, require_unpinned, visitor
from api_service.addresses import checked_url
from api_service.answers import answer_fields, nothing
from api_service.channels import Channel, channel_among
from api_service.fields import Input, Tag, View, example_of, left_out
from api_service.resources.channels import (
    ChannelBase,
    Kinds,
    LeastLevel,
    TestView,
    UrlText,
    base_fields,
    patched,
    tested,
)
from api_service.routing import OF_BODIES, may_refuse, routes_of
from api_service.services import services
from metering.errors import NotFound

webhooks = routes_of("webhooks")

_WEBHOOK_EXAMPLE: dict[str, Any] = {
    "id": "channel_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
    "url": "https://hooks.example.com/modeltrack",
    "name": "pager",
    "kinds": ["alert.budget"],
    "least_level": "critical",
    "enabled": True,
    "created_at": "2026-11-21T09:30:00Z",
    "failures": 0,
    "failing_since": None,
    "off_reason": None,
    "last_success_at": None,
}
_WITH_SECRET_EXAMPLE = {
    **_WEBHOOK_EXAMPLE,
    "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=",  # nosec B105 # made up
}


class NewWebhook(Input):
    """Where to call, and for what."""

    model_config = example_of(
        {"url": "https://hooks.example.com/modeltrack", "name": "pager", "least_level": "critical"}
    )

    url: UrlText
    name: Tag = ""
    kinds: Kinds = Field(default=[])
    least_level: LeastLevel = "info"


class WebhookPatch(Input):
    """What to change of the webhook; what is left out stays. One switched on begins anew."""

    model_config = example_of({"enabled": True})

    url: UrlText = left_out("")
    name: Tag = left_out("")
    kinds: Kinds = left_out([])
    least_level: LeastLevel = left_out("info")
    enabled: StrictBool = left_out(True)


class WebhookPath(Input):
    """Which webhook."""

    webhook_id: str = Field(
        description="The `id` that creating and listing webhooks show.",
        json_schema_extra={"example": _WEBHOOK_EXAMPLE["id"]},
    )


class WebhookView(ChannelBase):
    """A webhook."""

    model_config = example_of(_WEBHOOK_EXAMPLE)

    url: str = Field(
        description="Where we call; who may not change settings sees the host alone: the rest may be secret."
    )


class NewWebhookView(WebhookView):
    """A webhook with what its calls are signed with."""

    model_config = example_of(_WITH_SECRET_EXAMPLE)

    secret: str = Field(description="What our calls are signed with. This answer alone shows it; keep it.")


class WebhooksView(View):
    """The account's webhooks, oldest first."""

    model_config = example_of({"data": [_WEBHOOK_EXAMPLE], "has_more": False, "next_page": None})

    data: list[WebhookView] = Field(description="The webhooks.")
    has_more: bool = Field(description="Always false: all webhooks are on one page.")
    next_page: str | None = Field(description="Always null.")


@webhooks.get("/v1/webhooks", responses={200: WebhooksView})
@needs("read")
def list_webhooks() -> Response:
    """List the webhooks."""
    found = [each for each in services().channels.of(visitor().account_id) if each.kind == "webhook"]
    return answer_fields({"data": [_shown(each) for each in found], "has_more": False, "next_page": None})


@webhooks.post("/v1/webhooks", responses={201: NewWebhookView, **may_refuse(409, *OF_BODIES)})
@needs("settings")
def create_webhook(body: NewWebhook) -> Response:
    """Make a webhook: from now on it is called with each notice that it takes.

    Calls are POSTs as https://www.standardwebhooks.com says: `webhook-id`, `webhook-timestamp` and
    `webhook-signature`, the body `{"type", "timestamp", "data"}`. Answer any 2xx within 10 seconds; else we
    try again after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h and 10 h. The same message may come twice, by the same
    id. Redirects are not followed. A webhook that fails for half a day, or answers 410, is switched off.
    """
    known = services()
    require_unpinned(visitor())
    terms = Channel(
        channel_id="",
        kind="webhook",
        url=checked_url(body.url, known.notice_sender.reach),
        name=body.name,
        kinds=tuple(dict.fromkeys(body.kinds)),
        least_level=body.least_level,
        created_at=known.clock.now(),
    )
    made, secret = known.channels.create(visitor().account_id, terms)
    return answer_fields({**_shown(made), "secret": secret}, 201)


@webhooks.get("/v1/webhooks/<webhook_id>", responses={200: WebhookView, **may_refuse(404)})
@needs("read")
def show_webhook(path: WebhookPath) -> Response:
    """Show a webhook."""
    return answer_fields(_shown(_webhook(path)))


@webhooks.patch("/v1/webhooks/<webhook_id>", responses={200: WebhookView, **may_refuse(404, 409, *OF_BODIES)})
@needs("settings")
def change_webhook(path: WebhookPath, body: WebhookPatch) -> Response:
    """Change a webhook; what is left out stays."""
    known = services()
    require_unpinned(visitor())
    _webhook(path)
    given = body.model_dump(exclude_unset=True)
    if "url" in given:
        given["url"] = checked_url(given["url"], known.notice_sender.reach)
    changed = known.channels.change(
        visitor().account_id, path.webhook_id, lambda channel: patched(channel, given)
    )
    return answer_fields(_shown(changed))


@webhooks.delete("/v1/webhooks/<webhook_id>", responses={204: None, **may_refuse(404, 409)})
@needs("settings")
def delete_webhook(path: WebhookPath) -> Response:
    """Delete a webhook. What was on its way to it is not sent any more."""
    require_unpinned(visitor())
    _webhook(path)
    services().channels.delete(visitor().account_id, path.webhook_id)
    return nothing()


@webhooks.post("/v1/webhooks/<webhook_id>/test", responses={200: TestView, **may_refuse(404)})
@needs("settings")
def test_webhook(path: WebhookPath) -> Response:
    """Call the webhook now with a message of type `test`, and say what came of it. It changes nothing."""
    return answer_fields(tested(_webhook(path)))


@webhooks.post(
    "/v1/webhooks/<webhook_id>/rotate-secret", responses={200: NewWebhookView, **may_refuse(404, 409)}
)
@needs("settings")
def rotate_webhook_secret(path: WebhookPath) -> Response:
    """Give the webhook another secret.

    For a day calls carry two signatures, by the new secret and by the former one; then the former is void.
    """
    require_unpinned(visitor())
    _webhook(path)
    changed, secret = services().channels.rotate_secret(visitor().account_id, path.webhook_id)
    return answer_fields({**_shown(changed), "secret": secret})


def _webhook(path: WebhookPath) -> Channel:
    try:
        found = channel_among(services().channels.of(visitor().account_id), path.webhook_id)
    except NotFound:
        raise NotFound("there is no such webhook") from None
    if found.kind != "webhook":
        raise NotFound("there is no such webhook")
    return found


def _shown(webhook: Channel) -> dict[str, object]:
    url = webhook.url if visitor().may("settings") else _without_its_secrets(webhook.url)
    return {**base_fields(webhook), "url": url}


def _without_its_secrets(url: str) -> str:
    """The address without what lets whoever knows it call it: many hold a token in path or query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}/…"
