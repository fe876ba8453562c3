"""Is this process alive, and can it work? For the platform, not for people."""

from typing import Literal

from flask import Response
from pydantic import Field

from api_service.access import needs
from api_service.answers import answer
from api_service.fields import View, example_of
from api_service.routing import may_refuse, routes_of
from api_service.services import services
from metering.collections import CHANGES_PATH
from metering.version import VERSION_HEADER

READY_TIMEOUT_SECONDS = 1.0

health = routes_of("health", is_open=True)


class HealthView(View):
    """It is so."""

    model_config = example_of({"status": "ok"})

    status: Literal["ok"] = Field(description="Nothing else is ever said with status 200.")


@health.get("/healthz", responses={200: HealthView})
@needs("anyone")
def is_alive() -> Response:
    """This process answers, whatever its database does."""
    return _well()


@health.get("/health", responses={200: HealthView})
@needs("anyone")
def is_alive_too() -> Response:
    """The same, where a platform keeps /healthz for itself."""
    return _well()


@health.get("/readyz", responses={200: HealthView, **may_refuse(503)})
@needs("anyone")
def is_ready() -> Response:
    """The database answers. It not answering is 503: send people elsewhere until it does."""
    services().store.get(CHANGES_PATH, timeout_seconds=READY_TIMEOUT_SECONDS)
    return _well()


def _well() -> Response:
    """It is so, and which version says it."""
    response = answer(HealthView(status="ok"))
    response.headers[VERSION_HEADER] = services().settings.version
    return response
