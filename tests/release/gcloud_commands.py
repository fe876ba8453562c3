"""gcloud commands, as documents write them and as releases run them, held against the installed gcloud.

`gcloud meta lint-gcloud-commands` parses commands as gcloud itself would and runs none of them: unknown
commands and flags, missing arguments, and flags that exclude each other are told. It needs no network.
"""

import json
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

_FENCE: Final = re.compile(r"^ *```[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_SPAN: Final = re.compile(r"`(gcloud [^`]+)`")
_PLACEHOLDER: Final = re.compile(r"<[a-z][^<>\n]*>|\$\{?\w+\}?|…")
_START: Final = re.compile(r"(?<![\w.-])gcloud (?=[a-z])")
_ENDS: Final = "\n|;&)`>#"
_CONTAINER: Final = re.compile(r" --container=\S+")  # with it, this parser looks for what only a run has


class Command(NamedTuple):
    """One command, and where it stands."""

    words: str
    place: str


def commands_in(document: Path) -> list[Command]:
    """The commands of a document: in its blocks, comments left out, and in running text."""
    text = document.read_text().replace("\\\n", " ")
    blocks = ["\n".join(line for line in block.splitlines() if not line.lstrip().startswith("#"))
              for block in _FENCE.findall(text)]  # fmt: skip
    spans = _SPAN.findall(_FENCE.sub("", text))
    parts = [_PLACEHOLDER.sub("word", part) for part in (*blocks, *spans)]
    found = [command_at(part, start.start()) for part in parts for start in _START.finditer(part)]
    return [Command(each.strip(), document.name) for each in found]


def command_at(text: str, start: int) -> str:
    """The command that starts there, as far as a shell takes it for one; `$(…)` in it is a word."""
    quote, at, command = "", start, ""
    while at < len(text):
        each = text[at]
        if not quote and each in _ENDS:
            break
        if quote != "'" and text.startswith("$(", at):
            at, each = _after(text, at + 2), "word"
        elif each in "\"'":
            quote, at = (each if not quote else "" if quote == each else quote), at + 1
        else:
            at += 1
        command += each
    return command


def _after(text: str, at: int) -> int:
    """Behind the bracket that closes what was opened just before."""
    depth = 1
    while depth and at < len(text):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 1
    return at


def refusals(commands: Sequence[Command], folder: Path) -> list[str]:
    """What gcloud says of those that it would not run."""
    told = {_CONTAINER.sub("", each.words): each.place for each in commands}
    asked = folder / "commands.json"
    asked.write_text(json.dumps([{"command_string": words} for words in told]))
    done = subprocess.run(
        ["gcloud", "meta", "lint-gcloud-commands", f"--commands-file={asked}"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    judged = json.loads(done.stdout)
    assert len(judged) == len(told)
    return [
        f"{told[each['command_string']]}: {each['command_string']}: {each['error_message']}"
        for each in judged
        if not each["success"]
    ]


def told(words: Sequence[str]) -> str:
    """A command that was run, in one line."""
    return shlex.join(words)
