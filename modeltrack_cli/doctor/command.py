"""`modeltrack doctor`: from what was given to what is printed."""

import argparse
import getpass
import io
import sys
from typing import Final, Self, TextIO

import msgspec

from metering.clock import Clock
from modeltrack_cli.calls import is_base_url, is_this_machine
from modeltrack_cli.doctor.checks import examine
from modeltrack_cli.doctor.findings import EXIT_INCOMPLETE, exit_code
from modeltrack_cli.doctor.report import Progress, document, end, head, rows, wants_colours
from modeltrack_cli.doctor.visit import ADDRESS_SETTINGS, Deployment, Keys, Options, Place, Visit
from modeltrack_cli.errors import CommandFailed
from modeltrack_cli.settings import CommandSettings

SECONDS_MAX: Final = 600.0
PORT_MAX: Final = 65_535

__all__ = ["EXIT_INCOMPLETE", "Given", "add_arguments", "doctor"]


class Given(msgspec.Struct, frozen=True):
    """What the command line says."""

    url: str
    proxy_url: str
    kind: str
    project: str
    database: str
    provider: str
    model: str
    expect_version: str
    http_port: int
    timeout: float
    wait: float
    revocation: bool
    json: bool

    @classmethod
    def of(cls, parsed: argparse.Namespace) -> Self:
        """The same, with types."""
        return cls(**{name: getattr(parsed, name) for name in cls.__struct_fields__})


def add_arguments(command: argparse.ArgumentParser) -> None:
    """What may be given; keys may not, since everybody on the machine sees arguments."""
    command.add_argument("--url", default="", help="where the API is; else MODELTRACK_URL")
    command.add_argument("--proxy-url", default="", help="where the proxy is; else MODELTRACK_PROXY_URL")
    command.add_argument(
        "--kind",
        choices=("hosted", "self-hosted"),
        default="",
        help="whether strangers can reach it; else hosted, unless both addresses are this machine's",
    )
    command.add_argument(
        "--project", default="", help="the Google Cloud project whose Firestore rules to try"
    )
    command.add_argument("--database", default="", help="its database, if not (default)")
    command.add_argument("--provider", choices=("anthropic", "openai"), default="anthropic")
    command.add_argument("--model", default="", help="the model to call; else a small one of the provider's")
    command.add_argument("--expect-version", default="", help="the version that both services shall tell")
    command.add_argument("--http-port", type=_port, default=80, help="where plain http is tried")
    command.add_argument("--timeout", type=_seconds, default=10.0, help="seconds to wait for an answer")
    command.add_argument("--wait", type=_seconds, default=30.0, help="seconds to wait for the call's event")
    command.add_argument(
        "--revocation", action="store_true", help="make a key, revoke it, and see how long it works on"
    )
    command.add_argument("--json", action="store_true", help="print everything at the end, as JSON")


def doctor(given: Given, settings: CommandSettings, clock: Clock, output: TextIO, terminal: TextIO) -> int:
    """Look at everything and print it; the exit status. Raises: CommandFailed, without any address to ask."""
    deployment = deployment_of(given, settings)
    if settings.requests_ca_bundle and not settings.requests_ca_bundle.exists():
        raise CommandFailed("REQUESTS_CA_BUNDLE: there is no such file")
    if isinstance(output, io.TextIOWrapper):
        output.reconfigure(errors="replace")  # a sign that a terminal cannot show is no reason to end
    options = Options(
        provider="openai" if given.provider == "openai" else "anthropic",
        model=given.model,
        question_seconds=given.timeout,
        arrival_seconds=given.wait,
        tries_revocation=given.revocation,
        ca_file=settings.requests_ca_bundle,
    )
    visit = Visit(deployment, _keys(settings, options, deployment), options, clock)
    progress, is_coloured = Progress(terminal), wants_colours(output, settings.no_color)
    findings = []
    if not given.json:
        output.write(f"{head(deployment)}\n")
    for finding in examine(visit, progress.begin):
        findings.append(finding)
        progress.clear()
        if not given.json:
            output.write(f"{rows(finding, is_coloured=is_coloured)}\n")
            output.flush()
    output.write(f"{document(deployment, findings) if given.json else end(findings)}\n")
    return exit_code(findings)


def deployment_of(given: Given, settings: CommandSettings) -> Deployment:
    """What is to be looked at. Raises: CommandFailed, where an address is none."""
    urls: dict[Place, str] = {
        "api": given.url or settings.modeltrack_url,
        "proxy": given.proxy_url or settings.modeltrack_proxy_url,
    }
    for place, url in urls.items():
        if not is_base_url(url):
            raise CommandFailed(
                f"give {ADDRESS_SETTINGS[place]} as scheme and host, such as https://api.example.com"
            )
    is_here = all(map(is_this_machine, urls.values()))
    return Deployment(
        api_url=urls["api"].rstrip("/"),
        proxy_url=urls["proxy"].rstrip("/"),
        is_hosted=given.kind == "hosted" if given.kind else not is_here,
        http_port=given.http_port,
        project=given.project or settings.modeltrack_project,
        database=given.database or settings.modeltrack_database,
        emulator=settings.firestore_emulator_host,
        version=given.expect_version,
    )


def _keys(settings: CommandSettings, options: Options, deployment: Deployment) -> Keys:
    provider = settings.anthropic_api_key if options.provider == "anthropic" else settings.openai_api_key
    keys = Keys(settings.modeltrack_key.get_secret_value().strip(), provider.get_secret_value().strip())
    if not sys.stdin.isatty():
        return keys
    asked_for = (
        keys.modeltrack or getpass.getpass("ModelTrack key (Enter: look only at what needs none): ").strip()
    )
    of_provider = keys.provider
    if asked_for and deployment.is_hosted and not of_provider:
        of_provider = getpass.getpass(f"Key of {options.provider} (goes there alone; Enter: none): ").strip()
    return Keys(asked_for, of_provider)


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= PORT_MAX:
        raise argparse.ArgumentTypeError(f"give 1 to {PORT_MAX}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= SECONDS_MAX:  # neither is nan
        raise argparse.ArgumentTypeError(f"give more than 0 and at most {SECONDS_MAX:.0f}")
    return seconds
