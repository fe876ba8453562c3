"""Terraform files as a tree of blocks, arguments and what they refer to, as python-hcl2 reads them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import hcl2
import msgspec
from hcl2.rules.base import AttributeRule, BlockRule, BodyRule
from lark.exceptions import UnexpectedInput, UnexpectedToken

STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
# Names with points between them, that are no function's and not what follows an index or a call.
CHAIN = re.compile(r"(?<![\w.\"-])[A-Za-z_][\w-]*(?:\.(?:[A-Za-z_][\w-]*|\*|\d+))+")
INNERMOST = re.compile(r"\[([^\[\]]*)\]")
IN_CODE = re.compile(r'(?P<opens_string>"|<<-?(?P<heredoc>[A-Za-z][\w.-]*)\n)|[\s\S]')
IN_STRING = re.compile(
    r"\\[\s\S]|\$\$\{|%%\{|(?P<opens_code>[$%]\{)|^[ \t]*[A-Za-z][\w.-]*[ \t]*$|[\s\S]", re.MULTILINE
)


class Place(NamedTuple):
    """Where something stands, as tools say it: `infra/proxy.tf:12`."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class NoHclError(Exception):
    """A file that is none; says where."""

    def __init__(self, place: Place, unexpected: str) -> None:
        super().__init__(f"is no HCL: {unexpected}")
        self.place = place


class Expression(msgspec.Struct, frozen=True):
    """A value that only Terraform can compute, as it stands; a template with its quotes."""

    text: str


class Argument(NamedTuple):
    """A `name = value`: what is written out is Python's, everything else an Expression."""

    name: str
    value: Any
    place: Place

    def expressions(self) -> Iterator[Expression]:
        """Every expression in it, however deep in lists and maps."""
        yield from _expressions(self.value)


class Block(NamedTuple):
    """A `kind "label" … { … }`."""

    kind: str
    labels: tuple[str, ...]
    arguments: dict[str, Argument]
    blocks: tuple["Block", ...]
    place: Place

    def of_kind(self, kind: str) -> list["Block"]:
        """The blocks of that name straight inside it, a `dynamic` one of that name too, as its content."""
        return [
            *(each for each in self.blocks if each.kind == kind),
            *(
                inner
                for each in self.blocks
                if each.kind == "dynamic" and each.labels == (kind,)
                for inner in each.blocks
            ),
        ]

    def value(self, name: str) -> Any:
        """What the argument is set to; None where it is not set."""
        return self.arguments[name].value if name in self.arguments else None

    def every_argument(self) -> Iterator[Argument]:
        """Its arguments and those of every block within."""
        yield from self.arguments.values()
        for each in self.blocks:
            yield from each.every_argument()

    @property
    def address(self) -> str:
        """As Terraform names it: `google_pubsub_topic.journal`, `data.google_project.this`, `var.region`."""
        prefix = {"resource": (), "variable": ("var",)}.get(self.kind, (self.kind,))
        return ".".join((*prefix, *self.labels))


class Module(NamedTuple):
    """The blocks of all files of one directory."""

    directory: Path
    blocks: tuple[Block, ...]

    def of_kind(self, kind: str) -> list[Block]:
        """Its outermost blocks of that kind, as they stand."""
        return [each for each in self.blocks if each.kind == kind]

    def resources(self, *types: str) -> list[Block]:
        """Its resources, or those of the types named."""
        return [each for each in self.of_kind("resource") if not types or each.labels[0] in types]

    def locals(self) -> dict[str, Argument]:
        """All local values by name."""
        return {name: each for block in self.of_kind("locals") for name, each in block.arguments.items()}

    def arguments(self) -> Iterator[Argument]:
        """Every argument of every block."""
        for each in self.blocks:
            yield from each.every_argument()


def read_module(directory: Path) -> Module:
    """What the `*.tf` files of a directory say.

    Raises:
        NoHclError: one is none.
    """
    files = sorted(directory.glob("*.tf"))
    return Module(directory, tuple(block for file in files for block in read_file(file)))


def read_modules(root: Path) -> list[Module]:
    """The root module and every one below `modules/`."""
    return [read_module(each) for each in (root, *sorted((root / "modules").glob("*/")))]


def read_file(file: Path) -> list[Block]:
    """The outermost blocks of a file of blocks."""
    return [_block(child, file) for child in _parsed(file).children if isinstance(child, BlockRule)]


def read_values(file: Path) -> dict[str, Argument]:
    """The values that a `*.tfvars` file gives."""
    return _arguments(_parsed(file), file)


def _parsed(file: Path) -> BodyRule:
    try:
        return hcl2.parses(file.read_text()).body
    except UnexpectedToken as unexpected:
        raise NoHclError(
            Place(file, unexpected.line), f"Unexpected token {str(unexpected.token)!r}"
        ) from None
    except UnexpectedInput as unexpected:
        raise NoHclError(Place(file, unexpected.line), "Unexpected character") from None


def _block(rule: BlockRule, file: Path) -> Block:
    kind, *labels = (str(label.serialize()).strip('"') for label in rule.labels)
    inner = tuple(_block(child, file) for child in rule.body.children if isinstance(child, BlockRule))
    return Block(kind, tuple(labels), _arguments(rule.body, file), inner, _place(rule, file))


def _arguments(body: BodyRule, file: Path) -> dict[str, Argument]:
    found = (child for child in body.children if isinstance(child, AttributeRule))
    return {
        name: Argument(name, _value(each.expression.serialize()), _place(each, file))
        for each in found
        for name in [str(each.identifier.serialize())]
    }


def _place(rule: Any, file: Path) -> Place:
    return Place(file, rule._meta.line)  # python-hcl2 tells lines nowhere else


def _value(written: Any) -> Any:
    if isinstance(written, dict):
        return {_key(name): _value(each) for name, each in written.items() if not name.startswith("__")}
    if isinstance(written, list):
        return [_value(each) for each in written]
    if not isinstance(written, str):
        return written
    if written.startswith('"<<'):
        lines = written[1:-1].splitlines()
        return _text("\n".join(line.strip() for line in lines[1:-1]), written)
    if written.startswith('"') and STRING.fullmatch(written):
        return _text(json.loads(written), written)
    if written.startswith("${") and written.endswith("}"):
        return Expression(written[2:-1])
    return Expression(written)


def _text(plain: str, written: str) -> str | Expression:
    """Text without templates is known; what it says beside `$${` and `%%{` may be anything."""
    return Expression(written) if re.search(r"(?<!\$)\$\{|(?<!%)%\{", plain) else plain


def _key(name: str) -> str:
    return name[1:-1] if name.startswith('"') else name


def _expressions(value: Any) -> Iterator[Expression]:
    if isinstance(value, Expression):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _expressions(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            if "${" in name:
                yield Expression(f'"{name}"')
            yield from _expressions(each)


def references(expression: Expression) -> Iterator[tuple[str, ...]]:
    """What it refers to, a chain of two names or more each: `("var", "region")`; indexes are left out."""
    code = _code(expression.text)
    indexes: list[str] = []

    def take_out(found: re.Match[str]) -> str:
        indexes.append(found[1])
        return "" if re.match(r"[\w\]\")]", found.string[found.start() - 1 : found.start()]) else " "

    while "[" in code and (shorter := INNERMOST.sub(take_out, code)) != code:
        code = shorter
    for found in CHAIN.findall("\n".join((code, *indexes))):
        yield tuple(each for each in found.split(".") if each and each != "*" and not each.isdigit())


def _code(text: str) -> str:
    """The text without what its strings say, but with the code of their templates."""
    said: list[str] = []
    inside: list[
        str
    ] = []  # braces that are open: { a brace, ${ a template, " a string, or a heredoc's last word
    at = 0
    while at < len(text):
        opened = inside[-1] if inside else "{"
        token = (IN_CODE if opened in ("{", "${") else IN_STRING).match(text, at)
        assert token, "every character is a token"
        at = token.end()
        if opened in ("{", "${"):
            said.append('""' if token["opens_string"] else token[0])
            _follow_code(inside, token)
        else:
            said.append(" " if token["opens_code"] else "")
            _follow_string(inside, token)
    return "".join(said)


def _follow_code(inside: list[str], token: re.Match[str]) -> None:
    if token["opens_string"]:
        inside.append(token["heredoc"] or '"')
    elif token[0] == "{":
        inside.append("{")
    elif token[0] == "}" and inside:
        inside.pop()


def _follow_string(inside: list[str], token: re.Match[str]) -> None:
    if token["opens_code"]:
        inside.append("${")
    elif token[0].strip() == inside[-1]:
        inside.pop()
