"""Figures for whoever watches this service, in Prometheus' text format.

Self-hosted, whoever asks from this machine gets the process's own and those of all accounts; anybody else
gives a key with the scope `stats`, and gets its account's. METRICS_PORT tells the process's own when hosted.
"""

from flask import Response, g

from api_service.access import needs
from api_service.answers import answer_text
from api_service.exposition import PROMETHEUS, exposition
from api_service.routing import routes_of
from api_service.services import services

metrics = routes_of("metrics")


@metrics.get(
    "/metrics",
    responses={
        200: {"description": "The figures.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    },
)
@needs("stats")
def show_metrics() -> Response:
    """Show figures for monitoring."""
    asking = g.get("visitor")
    return answer_text(exposition(services(), asking.account_id if asking else None), PROMETHEUS)
