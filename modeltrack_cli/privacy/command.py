"""`modeltrack privacy-check`: from what was given to what is printed."""

import argparse
import getpass
import io
import sys
from pathlib import Path
from typing import Final, Self, TextIO

import msgspec

from metering.clock import Clock
from modeltrack_cli.calls import is_base_url
from modeltrack_cli.errors import CommandFailed
from modeltrack_cli.privacy.report import COULD_NOT_LOOK, document, exit_code, lines
from modeltrack_cli.privacy.run import Outcome, Person, Plan, look_again, run
from modeltrack_cli.privacy.sending import Post
from modeltrack_cli.settings import CommandSettings

SECONDS_MAX: Final = 600.0

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
    api_url = _address(given.url or settings.modeltrack_url, "MODELTRACK_URL")
    proxy_url = _address(given.proxy_url or settings.modeltrack_proxy_url, "MODELTRACK_PROXY_URL")
    ca_file = settings.requests_ca_bundle
    if ca_file and not ca_file.exists():
        raise CommandFailed("REQUESTS_CA_BUNDLE: there is no such file")
    if isinstance(output, io.TextIOWrapper):
        output.reconfigure(errors="replace")  # a sign that a terminal cannot show is no reason to end
    post = Post({"api": api_url, "proxy": proxy_url}, seconds=given.timeout, ca_file=ca_file)
    if given.of:
        return _told(_again(given, settings, post), given, output)
    key = settings.modeltrack_key.get_secret_value().strip() or _asked("ModelTrack key: ", "-" in given.logs)
    if not key:
        raise CommandFailed(
            "set MODELTRACK_KEY to a key of the account with the scopes proxy, read and stats"
        )
    person = _person(settings, is_asked="-" not in given.logs)
    keep = Path(given.keep) if given.keep else None
    plan = Plan(api_url, given.logs, given.metrics_url, given.wait, keep)

    def say(what: str) -> None:
        terminal.write(f"… {what}\n")
        terminal.flush()

    return _told(run(post, key, person, plan, clock, say), given, output)


def _again(given: Given, settings: CommandSettings, post: Post) -> Outcome:
    if not given.logs:
        raise CommandFailed("--of looks through logs: give --logs")
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
        password = _asked(f"Password of {email}: ", not is_asked)
        if not password:
            raise CommandFailed("set MODELTRACK_PASSWORD to the password of MODELTRACK_EMAIL")

    def code() -> str:
        told = settings.modeltrack_code.get_secret_value().strip()
        return told or _asked("Code of the second factor: ", not is_asked)

    return Person(email, password, code)


def _asked(prompt: str, is_busy: bool) -> str:
    return getpass.getpass(prompt).strip() if sys.stdin.isatty() and not is_busy else ""


def _address(url: str, setting: str) -> str:
    if not is_base_url(url):
        raise CommandFailed(f"give {setting} as scheme and host, such as https://api.example.com")
    return url.rstrip("/")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= SECONDS_MAX:  # neither is nan
        raise argparse.ArgumentTypeError(f"give more than 0 and at most {SECONDS_MAX:.0f}")
    return seconds
