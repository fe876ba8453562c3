"""`/.well-known/security.txt`: where a weakness is reported to, as researchers' tools look for it.

The form is RFC 9116's (https://www.rfc-editor.org/rfc/rfc9116, read 2026-11-21). It asks for a contact and
for an expiry less than a year away; addresses on the web have to be https.
"""

from datetime import datetime, timedelta
from typing import Final

from flask import Response
from werkzeug.exceptions import NotFound

from api_service.access import needs
from api_service.services import services
from api_service.settings import ApiSettings

PATH: Final = "/.well-known/security.txt"
VALID_DAYS: Final = 180  # from the day it is asked for: it never runs out where the service runs
LANGUAGES: Final = "en"
ACKNOWLEDGED_WITHIN_HOURS: Final = 48


def contact_address(contact: str) -> str:
    """The operator's contact as an address that can be followed."""
    return f"mailto:{contact}" if "@" in contact else contact


def security_txt(settings: ApiSettings, now: datetime) -> str | None:
    """The file's text; None, where the operator has named no contact, without which it would say nothing."""
    if not settings.security_contact:
        return None
    expires = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=VALID_DAYS)
    lines = [
        f"Contact: {contact_address(settings.security_contact)}",
        f"Expires: {expires:%Y-%m-%dT%H:%M:%SZ}",
        f"Preferred-Languages: {LANGUAGES}",
    ]
    if settings.is_https:
        lines += [f"Policy: {settings.base_url}/security#report", f"Canonical: {settings.base_url}{PATH}"]
    return "\n".join(lines) + "\n"


@needs("anyone")
def serve_security_txt() -> Response:
    """The file. Raises: NotFound, where there is nobody to write to."""
    known = services()
    text = security_txt(known.settings, known.clock.now())
    if text is None:
        raise NotFound
    return Response(text, content_type="text/plain; charset=utf-8")
