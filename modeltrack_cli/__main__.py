"""The command itself: `modeltrack`, or `python -m modeltrack_cli`."""

import argparse
import sys
from collections.abc import Sequence
from datetime import date

from metering.clock import Clock, SystemClock
from metering.settings import SettingsRefused
from modeltrack_cli.collect import aws_client, collect
from modeltrack_cli.doctor.command import EXIT_INCOMPLETE, Given, add_arguments, doctor
from modeltrack_cli.errors import CommandFailed
from modeltrack_cli.privacy import command as privacy
from modeltrack_cli.reconcile import DAYS_DEFAULT, DAYS_MAX, PROVIDERS, reconcile
from modeltrack_cli.settings import CommandSettings

COLLECTED_DAYS_DEFAULT = 2
_STATUS_OF_FAILURE = {"doctor": EXIT_INCOMPLETE, "privacy-check": privacy.COULD_NOT_LOOK}


def main(arguments: Sequence[str] | None = None, clock: Clock | None = None) -> int:
    """Run the command; the exit status. What went wrong is said on standard error, without any secret."""
    given = _parser().parse_args(arguments)
    known = clock or SystemClock()
    now, status_of_failure = known.now(), _STATUS_OF_FAILURE.get(given.command, 1)
    try:
        settings = CommandSettings()
        if given.command == "doctor":
            return doctor(Given.of(given), settings, known, sys.stdout, sys.stderr)
        if given.command == "privacy-check":
            return privacy.privacy_check(
                privacy.Given.from_arguments(given), settings, known, sys.stdout, sys.stderr
            )
        if given.command == "collect":
            collect(settings, given.days, now, _say, aws_client)
        else:
            reconcile(settings, given.provider or (), given.days, given.until or now.date(), _say)
    except CommandFailed as error:
        sys.stderr.write("".join(f"modeltrack: {line}\n" for line in str(error).split("\n")))
        return status_of_failure
    except SettingsRefused as refused:
        sys.stderr.write("".join(f"modeltrack: {line}\n" for line in refused.complaints))
        return status_of_failure
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="modeltrack", description="Keys are read from the environment: docs/settings.md lists them."
    )
    commands = parser.add_subparsers(required=True, dest="command")
    command = commands.add_parser("reconcile", help="post what the providers' cost reports say")
    command.add_argument("--provider", action="append", choices=PROVIDERS, help="may be given twice")
    command.add_argument("--days", type=_days, default=DAYS_DEFAULT, help=f"how many, 1 to {DAYS_MAX}")
    command.add_argument("--until", type=_day, help="the first day not to fetch, in UTC; else today")
    command = commands.add_parser("collect", help="post what infrastructure cost")
    command.add_argument("--days", type=_days, default=COLLECTED_DAYS_DEFAULT, help="how many before today")
    add_arguments(
        commands.add_parser("doctor", help="look at a deployment from outside, and say what is wrong")
    )
    privacy.add_arguments(
        commands.add_parser(
            "privacy-check", help="send canaries through every route, and look where they must not be"
        )
    )
    return parser


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= DAYS_MAX:
        raise argparse.ArgumentTypeError(f"give 1 to {DAYS_MAX}")
    return int(text)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("give a day such as 2026-11-21") from None


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
