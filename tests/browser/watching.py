"""What a page does that no page may: found out while tests look at something else."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Request, WebError

# Playwright's own; the page's policy has no say there, and so none of its violations are ours.
_LISTENER = """
document.addEventListener('securitypolicyviolation', (event) => reportedViolation(
  `${event.effectiveDirective} refused ${event.blockedURI} (${event.sourceFile}:${event.lineNumber})`
));
"""


@dataclass
class Watch:
    """What was seen in one browser context since it was made.

    `expected` are parts of messages of the console that a test provokes, such as Chromium's own line about an
    answer of 403. `allowed` are origins besides the site's that a test goes to.
    """

    origins: set[str]
    violations: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def over(self, context: BrowserContext) -> None:
        """Watch every page of the context, those to come included."""
        context.expose_binding("reportedViolation", self._on_violation)
        context.add_init_script(_LISTENER)
        context.on("request", self._on_request)
        context.on("console", self._on_console)
        context.on("weberror", self._on_error)

    def complaints(self) -> list[str]:
        """Everything that was seen and must not be."""
        unexpected = [each for each in self.errors if not any(part in each for part in self.expected)]
        return [
            *(f"against the content security policy: {each}" for each in self.violations),
            *(f"asked another origin: {each}" for each in self.strangers),
            *(f"said by the browser: {each}" for each in unexpected),
        ]

    def _on_violation(self, source: dict[str, Any], text: str) -> None:
        self.violations.append(f"{source['frame'].url}: {text}")

    def _on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if (
            parts.scheme in {"http", "https", "ws", "wss"}
            and f"{parts.scheme}://{parts.netloc}" not in self.origins
        ):
            self.strangers.append(request.url)
        if parts.path == "/csp-reports":
            self.violations.append(f"reported: {request.post_data}")

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def _on_error(self, error: WebError) -> None:
        self.errors.append(str(error.error))
