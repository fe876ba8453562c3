"""The dashboard's pages that there are."""

from flask import Flask

from api_service.dashboard.navigation import PAGES, Page
from api_service.dashboard.registering import register_dashboard


def pages_made() -> list[Page]:
    """The pages of the table that have a view, in its order."""
    app = Flask("pages")
    register_dashboard(app)
    return [each for each in PAGES if f"dashboard.{each.name}_page" in app.view_functions]
