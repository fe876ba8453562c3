"""Keys that detect-secrets does not know: ours, those of webhooks, and those of Anthropic's console."""

import re
from collections.abc import Generator
from typing import Final

from detect_secrets.plugins.base import BasePlugin

from metering.keys import is_well_formed_ingress_id, is_well_formed_key

_OURS: Final = re.compile(r"mt_[0-9a-f]{72}")
_INGRESS: Final = re.compile(r"/ws/([0-9a-f]{40})\b")
_OTHERS: Final = re.compile(r"sk-ant-[\w-]{32,}|whsec_[A-Za-z0-9+/=]{24,}")


class KeyDetector(BasePlugin):
    """Finds keys whose checksum holds, as that of no made-up one does by chance, and others by their form."""

    secret_type = "Key"

    def analyze_string(self, string: str) -> Generator[str, None, None]:
        """Every key in the text."""
        yield from filter(is_well_formed_key, _OURS.findall(string))
        yield from filter(is_well_formed_ingress_id, _INGRESS.findall(string))
        yield from _OTHERS.findall(string)
