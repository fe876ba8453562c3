"""What the command prints: a line a check as it is made, or everything at the end as JSON."""

import json
from collections.abc import Callable, Sequence
from typing import Final, TextIO

from metering.version import VERSION
from modeltrack_cli.doctor.checks import CHECKS, Check
from modeltrack_cli.doctor.findings import Finding, State, exit_code
from modeltrack_cli.doctor.visit import Deployment

Say = Callable[[str], None]

SIGNS: Final[dict[State, str]] = {"passed": "✓", "failed": "✗", "not_applicable": "–", "not_checked": "–"}
_COLOURS: Final[dict[State, str]] = {
    "passed": "32",
    "failed": "1;31",
    "not_applicable": "2",
    "not_checked": "33",
}
_WIDTH: Final = max(len(check.title) for check in CHECKS)
_INDENT: Final = " " * (_WIDTH + 4)
_ENDS: Final = ("all is well", "something is wrong", "not all could be looked at")


def wants_colours(output: TextIO, no_color: str) -> bool:
    """Whether it is a terminal whose owner does not mind (https://no-color.org)."""
    return output.isatty() and not no_color


def head(deployment: Deployment) -> str:
    """What is looked at."""
    kind = "hosted" if deployment.is_hosted else "self-hosted"
    where = f"API {deployment.api_url}, proxy {deployment.proxy_url}"
    return f"modeltrack {VERSION} looks at a {kind} deployment: {where}"


def rows(finding: Finding, *, is_coloured: bool) -> str:
    """The lines of one finding: what was found, and below what to do."""
    sign = SIGNS[finding.state]
    if is_coloured:
        sign = f"\x1b[{_COLOURS[finding.state]}m{sign}\x1b[0m"
    left_out = "not checked: " if finding.state == "not_checked" else ""
    line = f"{sign} {finding.title:<{_WIDTH}}  {left_out}{finding.found}"
    return f"{line}\n{_INDENT}→ {finding.advice}" if finding.advice else line


def end(findings: Sequence[Finding]) -> str:
    """What they come to."""
    count = {state: sum(each.state == state for each in findings) for state in SIGNS}
    parts = [
        f"{count['passed']} in order",
        f"{count['failed']} wrong",
        f"{count['not_checked']} not checked",
        f"{count['not_applicable']} that do not apply",
    ]
    return f"{len(findings)} checks: {', '.join(parts)}; {_ENDS[exit_code(findings)]}"


def document(deployment: Deployment, findings: Sequence[Finding]) -> str:
    """The same as JSON."""
    return json.dumps(
        {
            "version": VERSION,
            "api_url": deployment.api_url,
            "proxy_url": deployment.proxy_url,
            "kind": "hosted" if deployment.is_hosted else "self-hosted",
            "exit_code": exit_code(findings),
            "checks": [
                {
                    "check": each.check,
                    "title": each.title,
                    "state": each.state,
                    "found": each.found,
                    "advice": each.advice,
                    "seconds": each.seconds,
                }
                for each in findings
            ],
        },
        indent=2,
        ensure_ascii=False,
    )


class Progress:
    """Shows on a terminal what is being looked at; elsewhere it shows nothing."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._is_shown = terminal.isatty()

    def begin(self, check: Check) -> None:
        """Show the check."""
        if self._is_shown:
            self._terminal.write(f"\r\x1b[K… {check.title}")
            self._terminal.flush()

    def clear(self) -> None:
        """Make room for what was found."""
        if self._is_shown:
            self._terminal.write("\r\x1b[K")
            self._terminal.flush()
