"""Reads Dockerfiles and .dockerignore: as much of their language as ours use, and refuses the rest."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

KNOWN = frozenset(
    (
        *("ARG", "FROM", "COPY", "RUN", "LABEL", "ENV", "WORKDIR", "USER"),
        *("EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT"),
    )
)
_VARIABLE = re.compile(r"\$\{(\w+)\}")


class Instruction(NamedTuple):
    """One instruction, its lines joined: `COPY --from=build /a /b` is COPY, {from: build}, "/a /b"."""

    name: str
    flags: Mapping[str, str]
    text: str

    @property
    def words(self) -> list[str]:
        """The arguments: of the JSON form, or as a shell would part them."""
        return list(json.loads(self.text)) if self.text.startswith("[") else shlex.split(self.text)


class Stage(NamedTuple):
    """One FROM with what follows it. `base` is as written."""

    name: str
    base: str
    instructions: tuple[Instruction, ...]

    def all(self, name: str) -> list[Instruction]:
        """Its instructions of that name, in order."""
        return [each for each in self.instructions if each.name == name]


def stages_of(text: str) -> tuple[Stage, ...]:
    """The stages in order. Raises: ValueError for what is not understood here."""
    stages: list[Stage] = []
    for each in _instructions(text):
        if each.name == "FROM":
            base, _, name = each.text.partition(" AS ")
            stages.append(Stage(name, base, ()))
        elif stages:
            stages[-1] = stages[-1]._replace(instructions=(*stages[-1].instructions, each))
        elif each.name != "ARG":
            raise ValueError(f"{each.name} before FROM")
    return tuple(stages)


def arguments_before_stages(text: str) -> list[str]:
    """The ARGs that FROM may use, as written."""
    before = []
    for each in _instructions(text):
        if each.name == "FROM":
            break
        before.append(each.text)
    return before


def _instructions(text: str) -> Iterator[Instruction]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for joined in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if not joined.strip():
            continue
        name, _, rest = joined.strip().partition(" ")
        if name not in KNOWN or "<<" in rest:
            raise ValueError(f"this reader of Dockerfiles does not know: {joined[:60]}")
        flags = {}
        while name in {"COPY", "HEALTHCHECK", "FROM", "RUN"} and rest.lstrip().startswith("--"):
            flag, _, rest = rest.lstrip().partition(" ")
            key, _, value = flag[2:].partition("=")
            flags[key] = value
        yield Instruction(name, flags, rest.strip())


def filled_in(text: str, values: Mapping[str, str]) -> str:
    """The text with its `${NAME}`s; one that nobody gave is empty, as for docker."""
    return _VARIABLE.sub(lambda found: values.get(found[1], ""), text)


class Context(NamedTuple):
    """What a build is sent: the folder without what its .dockerignore leaves out."""

    folder: Path
    rules: tuple[tuple[bool, re.Pattern[str]], ...]

    def holds(self, path: str) -> bool:
        """Whether the file is sent. The last rule that fits it, or a folder above it, decides."""
        parts = path.split("/")
        above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        is_sent = True
        for sends, pattern in self.rules:
            if any(pattern.fullmatch(each) for each in above):
                is_sent = sends
        return is_sent

    def files(self, source: str) -> list[Path]:
        """Files that COPY finds there, relative to it; a file's own is `.`. Raises: ValueError for none."""
        start = self.folder / source
        found = [start] if start.is_file() else [each for each in start.rglob("*") if each.is_file()]
        kept = [each for each in found if self.holds(str(each.relative_to(self.folder)))]
        if not kept:
            raise ValueError(f"COPY {source}: there is nothing of it in the build's context")
        return sorted(each.relative_to(start) for each in kept)


def context_of(folder: Path) -> Context:
    """The context of a build in that folder."""
    rules = []
    for line in (folder / ".dockerignore").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            pattern = line.strip()
            rules.append((pattern.startswith("!"), _pattern(pattern.removeprefix("!"))))
    return Context(folder, tuple(rules))


def _pattern(text: str) -> re.Pattern[str]:
    """`**` is any number of folders, `*` anything within one name."""
    expression = ""
    for part in text.split("/"):
        expression += "(?:[^/]+/)*" if part == "**" else re.escape(part).replace(r"\*", "[^/]*") + "/"
    return re.compile(expression.removesuffix("/"))
