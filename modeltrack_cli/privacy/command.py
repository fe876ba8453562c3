"""`modeltrack privacy-check`: from what was given to what is printed."""

import argparse
import getpass
import io
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self, TextIO

import msgspec

from metering.clock import Clock
from modeltrack_cli.calls import carries_keys, is_base_url, is_web_address
from modeltrack_cli.errors import CommandFailed
from modeltrack_cli.privacy import logs, record
from modeltrack_cli.privacy.report import COULD_NOT_LOOK, document, exit_code, lines
from modeltrack_cli.privacy.run import Outcome, Person, Plan, look_again, run
from modeltrack_cli.privacy.sending import Post
from modeltrack_cli.settings import CommandSettings

SECONDS_MAX: Final = 600.0
_NO_KEY: Final = "set MODELTRACK_KEY to a key of the account with the scopes proxy, read and stats"
_NO_PASSWORD: Final = "set MODELTRACK_PASSWORD to the password of MODELTRACK_EMAIL"  # noqa: S105 # nosec B105 # a sentence

__all__ = ["COULD_NOT_LOOK", "Given", "add_arguments", "privacy_check"]


class Given(msgspec.Struct, frozen=True):
    """What the command line says."""

    url: str
    proxy_url: str
    logs: list[str]
    metrics_url: list[str]
    timeout: float
    wait: float
    keep: str
    of: str
    json: bool

    @classmethod
    def from_arguments(cls, parsed: argparse.Namespace) -> Self:
        """The same, with types."""
        return cls(**{name: getattr(parsed, name) for name in cls.__struct_fields__})


def add_arguments(command: argparse.ArgumentParser) -> None:
    """What may be given; keys and passwords may not, since everybody on the machine sees arguments."""
    command.add_argument("--url", default="", help="where the API is; else MODELTRACK_URL")
    command.add_argument("--proxy-url", default="", help="where the proxy is; else MODELTRACK_PROXY_URL")
    command.add_argument(
        "--logs",
        action="append",
        default=[],
        metavar="FILE",
        help="a log of this run, a folder of them, or - for standard input; .gz too; may be given often",
    )
    command.add_argument(
        "--metrics-url",
        action="append",
        default=[],
        metavar="URL",
        help="figures to look at besides, such as http://127.0.0.1:9464/metrics; may be given often",
    )
    command.add_argument("--timeout", type=_seconds, default=15.0, help="seconds to wait for an answer")
    command.add_argument("--wait", type=_seconds, default=30.0, help="seconds to wait for the calls' events")
    command.add_argument(
        "--keep", default="", metavar="FILE", help="keep what was sent, for logs that come later (--of)"
    )
    command.add_argument(
        "--of", default="", metavar="FILE", help="send nothing: look through --logs for that earlier run"
    )
    command.add_argument("--json", action="store_true", help="print everything at the end, as JSON")


def privacy_check(
    given: Given, settings: CommandSettings, clock: Clock, output: TextIO, terminal: TextIO
) -> int:
    """Send, look and print; the exit status. Raises: CommandFailed, where nothing can be begun."""
    if refused := complaints(given, settings):
        raise CommandFailed("\n".join(refused))
    api_url, proxy_url = (url.rstrip("/") for url in _addresses(given, settings).values())
    if isinstance(output, io.TextIOWrapper):
        output.reconfigure(errors="replace")  # a sign that a terminal cannot show is no reason to end
    post = Post(
        {"api": api_url, "proxy": proxy_url}, seconds=given.timeout, ca_file=settings.requests_ca_bundle
    )
    if given.of:
        return _told(_again(given, settings, post), given, output)
    key = settings.modeltrack_key.get_secret_value().strip() or _asked("ModelTrack key: ")
    if not key:
        raise CommandFailed(_NO_KEY)
    person = _person(settings, is_asked=_may_ask(given))
    keep = Path(given.keep) if given.keep else None
    plan = Plan(api_url, given.logs, given.metrics_url, given.wait, keep)

    def say(what: str) -> None:
        terminal.write(f"… {what}\n")
        terminal.flush()

    return _told(run(post, key, person, plan, clock, say), given, output)


def complaints(given: Given, settings: CommandSettings) -> list[str]:
    """What of all that was given makes no sense, or is missing and cannot be asked for; all of it."""
    found = [
        f"give {setting} as scheme and host, such as https://api.example.com"
        for setting, url in _addresses(given, settings).items()
        if not is_base_url(url)
    ]
    if settings.requests_ca_bundle and not settings.requests_ca_bundle.exists():
        found.append("REQUESTS_CA_BUNDLE: there is no such file")
    for option, seconds in (("--timeout", given.timeout), ("--wait", given.wait)):
        if not 0 < seconds <= SECONDS_MAX:  # neither is nan
            found.append(f"{option}: give more than 0 and at most {SECONDS_MAX:.0f} seconds")
    found += logs.complaints(given.logs)
    return found + (_of_earlier(given) if given.of else _of_sending(given, settings))


def _of_earlier(given: Given) -> list[str]:
    found = [] if given.logs else ["--of looks through logs: give --logs"]
    if given.keep or given.metrics_url:
        found.append("--of sends nothing and looks at logs alone: leave out --keep and --metrics-url")
    return found + _failed(record.load, given.of)


def _of_sending(given: Given, settings: CommandSettings) -> list[str]:
    found = [
        f"{setting}: a key is sent by https only, but to this machine"
        for setting, url in _addresses(given, settings).items()
        if is_base_url(url) and not carries_keys(url)
    ]
    for number, url in enumerate(given.metrics_url, 1):
        if not is_web_address(url):  # and is not repeated: a password may stand in it
            which = f" (number {number})" if len(given.metrics_url) > 1 else ""
            found.append(f"--metrics-url{which}: give all of it, such as http://127.0.0.1:9464/metrics")
    if given.keep:
        found += _failed(record.check, given.keep)
    if not _may_ask(given):
        if not settings.modeltrack_key.get_secret_value().strip():
            found.append(_NO_KEY)
        if settings.modeltrack_email.strip() and not settings.modeltrack_password.get_secret_value():
            found.append(_NO_PASSWORD)
    return found


def _failed(tried: Callable[[Path], object], name: str) -> list[str]:
    try:
        tried(Path(name))
    except CommandFailed as failed:
        return [str(failed)]
    return []


def _addresses(given: Given, settings: CommandSettings) -> dict[str, str]:
    return {
        "MODELTRACK_URL": given.url or settings.modeltrack_url,
        "MODELTRACK_PROXY_URL": given.proxy_url or settings.modeltrack_proxy_url,
    }


def _again(given: Given, settings: CommandSettings, post: Post) -> Outcome:
    own = {
        "your key": settings.modeltrack_key.get_secret_value().strip(),
        "your password": settings.modeltrack_password.get_secret_value(),
    }
    return look_again(post, own, Path(given.of), given.logs)


def _told(outcome: Outcome, given: Given, output: TextIO) -> int:
    has_logs = bool(given.logs)
    if given.json:
        output.write(f"{document(outcome, has_logs=has_logs)}\n")
    else:
        output.writelines(f"{line}\n" for line in lines(outcome, has_logs=has_logs))
    return exit_code(outcome)


def _person(settings: CommandSettings, *, is_asked: bool) -> Person:
    email = settings.modeltrack_email.strip()
    password = settings.modeltrack_password.get_secret_value()
    if email and not password:
        password = _asked(f"Password of {email}: ")
        if not password:
            raise CommandFailed(_NO_PASSWORD)

    def code() -> str:
        told = settings.modeltrack_code.get_secret_value().strip()
        return told or (_asked("Code of the second factor: ") if is_asked else "")

    return Person(email, password, code)


def _may_ask(given: Given) -> bool:
    """Whether somebody sits there, and is not busy handing us a log."""
    return sys.stdin.isatty() and "-" not in given.logs


def _asked(prompt: str) -> str:
    return getpass.getpass(prompt).strip()


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan  # which no bound takes: it is told together with what else is wrong
