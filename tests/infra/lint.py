"""Holds infra/ against the provider's schema and against itself, without the provider.

Found are: what the schema does not know (resource, data source, argument, block, value of an enumeration),
what it requires and is missing, a block written as an argument and the other way round, a value of another
type, a block twice that may stand once; references to what is declared nowhere, arguments that a module does
not take, variables and locals that nothing reads.

    python -m tests.infra.lint [directory]
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from difflib import get_close_matches
from itertools import chain
from os.path import relpath
from pathlib import Path
from typing import Any, NamedTuple

from tests.infra.configuration import (
    Argument,
    Block,
    Expression,
    Module,
    NoHclError,
    Place,
    read_modules,
    read_values,
    references,
)
from tests.infra.schema import PROVIDER_VERSION, Body, Entity, NestedBlock, Schema, load_schema, why_missing
from tests.infra.schema import Argument as Known

INFRA = Path(__file__).parents[2] / "infra"


NOTHING = Body({}, {})


def takes(**types: str) -> dict[str, Known]:
    """Arguments by name; a type with `!` behind it is required."""
    return {name: Known(type.rstrip("!"), type.endswith("!")) for name, type in types.items()}


CONDITION = NestedBlock(Body(takes(condition="bool!", error_message="string!"), {}), repeats=True)
LIFECYCLE = Body(
    takes(
        create_before_destroy="bool",
        prevent_destroy="bool",
        ignore_changes="dynamic",
        replace_triggered_by="dynamic",
    ),
    {"precondition": CONDITION, "postcondition": CONDITION},
)
META = Body(
    takes(count="number", for_each="dynamic", provider="dynamic", depends_on="dynamic"),
    {"lifecycle": NestedBlock(LIFECYCLE)},
)
# https://developer.hashicorp.com/terraform/language/block (read 2026-11-21)
LANGUAGE = {
    "variable": Body(
        takes(
            type="dynamic!",
            description="string!",
            default="dynamic",
            sensitive="bool",
            nullable="bool",
            ephemeral="bool",
        ),
        {"validation": CONDITION},
    ),
    "output": Body(
        takes(
            value="dynamic!",
            description="string!",
            sensitive="bool",
            depends_on="dynamic",
            ephemeral="bool",
        ),
        {"precondition": CONDITION},
    ),
    "moved": Body(takes(**{"from": "dynamic!", "to": "dynamic!"}), {}),
    "import": Body(takes(**{"to": "dynamic!", "id": "string!", "provider": "dynamic"}), {}),
    "check": Body({}, {"assert": CONDITION}),
}
MODULE_META = {"source", "version", "providers", "count", "for_each", "depends_on"}
UNCHECKED = {"terraform", "locals", "module", "provider", "resource", "data"}
# Of Terraform itself (read 2026-11-21):
# https://developer.hashicorp.com/terraform/language/resources/terraform-data
BUILT_IN = {
    "terraform_data": Entity(
        Body(takes(input="dynamic", triggers_replace="dynamic"), {}), {"id": "string", "output": "dynamic"}
    )
}
NUMBER = re.compile(r"-?\d+(\.\d+)?")


class Problem(NamedTuple):
    """What is wrong where; `what` names the thing as it stands in the file."""

    place: Place
    what: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


def lint(root: Path, schema: Schema) -> list[Problem]:
    """Everything wrong in the root module, those below it and `*.tfvars`, file by file."""
    try:
        modules = {each.directory.resolve(): each for each in read_modules(root)}
    except NoHclError as wrong:
        return [Problem(wrong.place, str(wrong))]
    found = chain.from_iterable(lint_module(each, schema, modules) for each in modules.values())
    values = chain.from_iterable(
        _values(file, modules[root.resolve()]) for file in sorted(root.glob("*.tfvars"))
    )
    return sorted(chain(found, values))


def lint_module(module: Module, schema: Schema, modules: dict[Path, Module]) -> Iterator[Problem]:
    """What is wrong in one module, given those it may call by their directories."""
    yield from _declared_twice(module)
    for block in module.blocks:
        yield from _block(block, schema, modules)
    yield from _references(module, schema, modules)
    yield from _unused(module)


def _block(block: Block, schema: Schema, modules: dict[Path, Module]) -> Iterator[Problem]:
    if block.kind in LANGUAGE:
        yield from _body(block, LANGUAGE[block.kind])
    elif block.kind == "module":
        yield from _call(block, modules)
    elif block.kind == "provider" and block.labels == ("google",):
        yield from _body(block, schema.provider, Body(takes(alias="string"), {}))
    elif block.kind in ("resource", "data"):
        entity = _entity(block.kind, block.labels[0], schema)
        if entity is None:
            noun = "resource" if block.kind == "resource" else "data source"
            yield Problem(block.place, f"unknown {noun} {block.labels[0]}: not in google {PROVIDER_VERSION}")
        else:
            yield from _body(block, entity.body, META)
    elif block.kind not in UNCHECKED:
        yield Problem(block.place, f"unknown block {block.kind}")


def _entity(kind: str, type: str, schema: Schema) -> Entity | None:
    known = schema.resources | BUILT_IN if kind == "resource" else schema.data_sources
    return known.get(type)


def _body(block: Block, body: Body, meta: Body = NOTHING) -> Iterator[Problem]:
    """What is wrong between the braces, to any depth."""
    of = block.address if block.labels else block.kind
    arguments, blocks = body.arguments | meta.arguments, body.blocks | meta.blocks
    for argument in block.arguments.values():
        yield from _argument(argument, of, arguments, blocks)
    for inner in block.blocks:
        yield from _inner(inner, of, arguments, blocks)
    missing = {name for name, each in arguments.items() if each.is_required} - set(block.arguments)
    for name in sorted(missing):
        yield Problem(block.place, f"{of}: missing required argument {name}")
    dynamic = {each.labels[0] for each in block.blocks if each.kind == "dynamic"}
    stand = Counter(each.kind for each in block.blocks)
    for name, known in sorted(blocks.items()):
        if known.is_required and name not in {*stand, *dynamic}:
            yield Problem(block.place, f"{of}: missing required block {name}")
        if not known.repeats and stand[name] > 1:
            yield Problem(block.place, f"{of}: block {name} may stand once")


def _argument(
    argument: Argument, of: str, arguments: dict[str, Known], blocks: dict[str, NestedBlock]
) -> Iterator[Problem]:
    if argument.name in blocks:
        yield Problem(
            argument.place, f"{of}: {argument.name} is a block: write `{argument.name} {{ … }}` without ="
        )
    elif argument.name not in arguments:
        yield Problem(
            argument.place, f"{of}: unknown argument {argument.name}{_meant(argument.name, arguments)}"
        )
    else:
        wrong = _mismatch(argument.value, arguments[argument.name])
        if wrong:
            yield Problem(argument.place, f"{of}: {argument.name} {wrong}")


def _inner(
    inner: Block, of: str, arguments: dict[str, Known], blocks: dict[str, NestedBlock]
) -> Iterator[Problem]:
    is_dynamic = inner.kind == "dynamic"
    name = inner.labels[0] if is_dynamic else inner.kind
    if name in arguments:
        yield Problem(inner.place, f"{of}: {name} is an argument: write `{name} = …`")
    elif name not in blocks:
        yield Problem(inner.place, f"{of}: unknown block {name}{_meant(name, blocks)}")
    elif is_dynamic:
        content = Body(
            takes(for_each="dynamic!", iterator="dynamic", labels="dynamic"),
            {"content": NestedBlock(blocks[name].body, is_required=True)},
        )
        yield from _body(inner, content)
    else:
        yield from _body(inner, blocks[name].body)


def _meant(name: str, known: dict[str, Any]) -> str:
    """The names that are spelt nearly so, so that nobody has to look them up."""
    near = get_close_matches(name, known, n=2)
    return f" (is {' or '.join(near)} meant?)" if near else ""


def _mismatch(value: Any, known: Known) -> str | None:
    """How a value written out differs from what is asked for; None where it does not, or is computed."""
    if value is None or isinstance(value, Expression) or known.type == "dynamic":
        return None
    wrong = _wrong_type(value, known.type)
    if wrong:
        return f"is to be a {known.type}, not {wrong}"
    listed = value if isinstance(value, list) else [value]
    others = [
        each for each in listed if isinstance(each, str) and known.choices and each not in known.choices
    ]
    return f'is to be one of {", ".join(known.choices)}, not "{others[0]}"' if others else None


def _wrong_type(value: Any, type: str) -> str | None:
    element = re.fullmatch(r"(list|map)\((\w+)\)", type)
    if element:
        wanted = list if element[1] == "list" else dict
        if not isinstance(value, wanted):
            return _noun(value)
        each_of = value if isinstance(value, list) else value.values()
        return next((wrong for each in each_of if (wrong := _wrong_type(each, element[2]))), None)
    if value is None or isinstance(value, Expression):
        return None
    fits = {
        "string": not isinstance(value, list | dict),
        "number": (isinstance(value, int | float) and not isinstance(value, bool))
        or (isinstance(value, str) and NUMBER.fullmatch(value) is not None),
        "bool": isinstance(value, bool) or value in ("true", "false"),
    }
    return None if fits.get(type, True) else _noun(value)


def _noun(value: Any) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a map"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _call(block: Block, modules: dict[Path, Module]) -> Iterator[Problem]:
    """What is wrong with a `module` block."""
    called = _called(block, modules)
    if called is None:
        yield Problem(block.place, f"{block.address}: no module at {block.value('source')}")
        return
    variables = {each.labels[0]: each for each in called.of_kind("variable")}
    for argument in block.arguments.values():
        if argument.name not in {*variables, *MODULE_META}:
            meant = _meant(argument.name, variables)
            yield Problem(argument.place, f"{block.address}: unknown argument {argument.name}{meant}")
    for name, variable in variables.items():
        if "default" not in variable.arguments and name not in block.arguments:
            yield Problem(block.place, f"{block.address}: missing required argument {name}")
    for inner in block.blocks:
        yield Problem(inner.place, f"{block.address}: unknown block {inner.kind}")


def _called(block: Block, modules: dict[Path, Module]) -> Module | None:
    return modules.get((block.place.file.parent / str(block.value("source"))).resolve())


def _values(file: Path, root: Module) -> Iterator[Problem]:
    declared = {each.labels[0]: each for each in root.of_kind("variable")}
    for name, value in read_values(file).items():
        if name not in declared:
            yield Problem(value.place, f"value of undeclared variable {name}{_meant(name, declared)}")


def _declared_twice(module: Module) -> Iterator[Problem]:
    named = ("variable", "output", "module", "resource", "data")
    seen: set[str] = set()
    for block in module.blocks:
        if block.kind in named and block.address in seen:
            yield Problem(block.place, f"{block.address} is declared twice")
        seen.add(block.address)


def _references(module: Module, schema: Schema, modules: dict[Path, Module]) -> Iterator[Problem]:
    named = _Named(module, schema, modules)
    for argument in module.arguments():
        if argument.name in ("ignore_changes", "type"):
            continue
        for expression in argument.expressions():
            for reference in references(expression):
                wrong = named.why_wrong(reference)
                if wrong:
                    yield Problem(argument.place, wrong)


class _Named:
    """What a module's expressions may refer to."""

    def __init__(self, module: Module, schema: Schema, modules: dict[Path, Module]) -> None:
        self._schema = schema
        self._variables = {each.labels[0]: None for each in module.of_kind("variable")}
        self._locals = module.locals()
        self._calls = {each.labels[0]: _called(each, modules) for each in module.of_kind("module")}
        self._resources = {
            each.address: each for kind in ("resource", "data") for each in module.of_kind(kind)
        }

    def why_wrong(self, reference: tuple[str, ...]) -> str | None:
        """None when it leads somewhere, or when it is a loop's own name."""
        root, name, *rest = reference
        if root == "var":
            return _undeclared("variable", name, self._variables)
        if root == "local":
            return _undeclared("local value", name, self._locals)
        if root == "module":
            return self._wrong_output(name, rest)
        if root == "data":
            return self._wrong_attribute("data", reference[1:])
        if root.startswith("google_") or root in BUILT_IN:
            return self._wrong_attribute("resource", reference)
        return None

    def _wrong_output(self, name: str, rest: list[str]) -> str | None:
        if name not in self._calls:
            return _undeclared("module", name, self._calls)
        called = self._calls[name]
        if called is None or not rest:
            return None
        outputs = {each.labels[0]: None for each in called.of_kind("output")}
        return _undeclared(f"output of module.{name}", rest[0], outputs)

    def _wrong_attribute(self, kind: str, reference: tuple[str, ...]) -> str | None:
        prefix = "data." if kind == "data" else ""
        address = prefix + ".".join(reference[:2])
        if address not in self._resources:
            return f"{address} is declared nowhere{_meant(address, self._resources)}"
        entity = _entity(kind, reference[0], self._schema)
        if entity is None or len(reference) < 3 or entity.has_attribute(reference[2]):
            return None
        return f"{address} has no attribute {reference[2]}"


def _undeclared(noun: str, name: str, declared: dict[str, Any]) -> str | None:
    return None if name in declared else f"undeclared {noun} {name}{_meant(name, declared)}"


def _unused(module: Module) -> Iterator[Problem]:
    """Variables and locals that nothing reads; what a variable's own validation reads does not count."""
    read = {
        reference[:2]
        for block in module.blocks
        for argument in block.every_argument()
        for expression in argument.expressions()
        for reference in references(expression)
        if block.kind != "variable" or reference[:2] != ("var", block.labels[0])
    }
    for variable in module.of_kind("variable"):
        if ("var", variable.labels[0]) not in read:
            yield Problem(variable.place, f"nothing reads variable {variable.labels[0]}")
    for name, local in module.locals().items():
        if ("local", name) not in read:
            yield Problem(local.place, f"nothing reads local value {name}")


def main() -> int:
    """Print what is wrong, a line each, as an editor can follow it; 0 when nothing is."""
    missing = why_missing()
    if missing:
        sys.stderr.write(missing + "\n")
        return 2
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else INFRA
    found = lint(Path(relpath(root)), load_schema())
    for each in found:
        sys.stdout.write(f"{each}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
