"""What the Google provider of Terraform accepts, read from what HashiCorp published of it.

The provider itself is a program of 100 MB from a registry of its own; its schema is also in the package
`cdktf-cdktf-provider-google` (requirements/terraform-schema.txt): every resource and data source, their
arguments and blocks to any depth, what is required, types, and the values of most enumerations. It is read as
data; nothing of the package is ever run. Release 16.12.1 is provider 6.50.0:
https://pypi.org/project/cdktf-cdktf-provider-google/ (read 2026-11-21). It says nothing of arguments that
exclude each other, nor of values that only Google's API refuses.

    python -m tests.infra.schema <wheel> <schema.json>
"""

import io
import json
import re
import sys
import tarfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

PROVIDER_VERSION = "6.50.0"
MADE = Path(__file__).parents[2] / ".make" / "infra"
COMPILED = MADE / "schema.json"
MISSING = MADE / "schema-missing"

NAMESPACE = "@cdktf/provider-google."
DOCUMENTED = re.compile(rf"/providers/hashicorp/google/{re.escape(PROVIDER_VERSION)}/docs[^#\s]*#(\w+) ")
CLASS_OF = re.compile(r"/docs/(resources|data-sources)/\w+ (google_\w+)}")
CHOICES = re.compile(r"Possible values: \[([^\]]*)\]")


class Argument(msgspec.Struct, frozen=True):
    """A `name = value`: its type in Terraform's words, and its values where they are enumerated."""

    type: str
    is_required: bool = False
    choices: tuple[str, ...] = ()


class NestedBlock(msgspec.Struct, frozen=True):
    """A `name { … }` within a body."""

    body: "Body"
    is_required: bool = False
    repeats: bool = False


class Body(msgspec.Struct, frozen=True):
    """What may stand between the braces of a block."""

    arguments: dict[str, Argument]
    blocks: dict[str, NestedBlock]


class Entity(msgspec.Struct, frozen=True):
    """A resource or data source: what it takes, and the types of what else can be read of it."""

    body: Body
    computed: dict[str, str]

    def has_attribute(self, name: str) -> bool:
        """Whether it can be asked for that; names of what is only read are known up to their underscores."""
        known = {*self.body.arguments, *self.body.blocks, *self.computed}
        return _plain(name) in {_plain(each) for each in known}


class Schema(msgspec.Struct, frozen=True):
    """All of one version of the provider."""

    version: str
    provider: Body
    resources: dict[str, Entity]
    data_sources: dict[str, Entity]

    def only(self, types: set[str]) -> "Schema":
        """The same with only those resources and data sources, which is quicker to serve."""
        return Schema(
            self.version,
            self.provider,
            {name: each for name, each in self.resources.items() if name in types},
            {name: each for name, each in self.data_sources.items() if name in types},
        )


@cache
def load_schema() -> Schema:
    """The schema that `make infra` has compiled.

    Raises:
        FileNotFoundError: it has not; `why_missing` says why.
    """
    return msgspec.json.decode(COMPILED.read_bytes(), type=Schema)


def why_missing() -> str | None:
    """None where there is a schema, else what to do."""
    if COMPILED.exists():
        return None
    return MISSING.read_text().strip() if MISSING.exists() else "no schema of the provider: run `make infra`"


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", lambda found: "_" + found[1], name).lower()


class _Assembly:
    """The package's description of itself (`.jsii`)."""

    def __init__(self, types: dict[str, Any]) -> None:
        self._types = types

    def compiled(self) -> Schema:
        resources: dict[str, Entity] = {}
        data_sources: dict[str, Entity] = {}
        for each in self._types.values():
            found = CLASS_OF.search(each.get("docs", {}).get("summary", ""))
            if each["kind"] == "class" and found:
                (resources if found[1] == "resources" else data_sources)[found[2]] = self._entity(each)
        provider = self._body(f"{NAMESPACE}provider.GoogleProviderConfig")
        return Schema(PROVIDER_VERSION, provider, resources, data_sources)

    def _entity(self, described: dict[str, Any]) -> Entity:
        body = self._body(described["fqn"] + "Config")
        taken = {_plain(each) for each in (*body.arguments, *body.blocks)}
        computed = {
            _snake(each["name"]): self._type(each["type"])
            for each in described["properties"]
            if not each.get("static")
            and not each["name"].endswith("Input")
            and _plain(each["name"]) not in taken
        }
        return Entity(body, computed)

    def _body(self, fqn: str) -> Body:
        arguments: dict[str, Argument] = {}
        blocks: dict[str, NestedBlock] = {}
        for each in self._types[fqn].get("properties", ()):
            documented = json.dumps(each["docs"], ensure_ascii=False)
            named = DOCUMENTED.search(documented)
            name = named[1] if named else _snake(each["name"])
            is_required = not each.get("optional", False)
            inner = self._struct(each["type"])
            if inner:
                repeats = "union" in each["type"]
                blocks[name] = NestedBlock(self._body(inner), is_required, repeats)
            elif (
                name != "id" or is_required
            ):  # an `id` nobody has to give stands everywhere, and is only read
                listed = CHOICES.search(documented)
                choices = tuple(re.findall(r'\\"([^"\\]+)\\"', listed[1])) if listed else ()
                arguments[name] = Argument(self._type(each["type"]), is_required, choices)
        return Body(arguments, blocks)

    def _struct(self, described: dict[str, Any]) -> str | None:
        """The name of the struct that a block's property is one of, or a list of; None for plain values."""
        for each in described.get("union", {}).get("types", [described]):
            inner = each.get("collection", {}).get("elementtype", each)
            if inner.get("fqn", "").startswith(NAMESPACE):
                return str(inner["fqn"])
        return None

    def _type(self, described: dict[str, Any]) -> str:
        if "primitive" in described:
            primitive = str(described["primitive"])
            return {"boolean": "bool", "any": "dynamic"}.get(primitive, primitive)
        if "collection" in described:
            kind = "map" if described["collection"]["kind"] == "map" else "list"
            return f"{kind}({self._type(described['collection']['elementtype'])})"
        names = [each for each in described.get("union", {}).get("types", ()) if "fqn" not in each]
        if names:
            return self._type(names[0])
        return {
            "cdktf.IResolvable": "bool",
            "cdktf.StringMap": "map(string)",
            "cdktf.NumberMap": "map(number)",
            "cdktf.BooleanMap": "map(bool)",
        }.get(described.get("fqn", ""), "dynamic")


def read_wheel(wheel: Path) -> Schema:
    """Everything that the package in this wheel says of the provider."""
    with zipfile.ZipFile(wheel) as package:
        archive = next(name for name in package.namelist() if name.endswith(".jsii.tgz"))
        inner = io.BytesIO(package.read(archive))
    with tarfile.open(fileobj=inner) as described:
        file = described.extractfile("package/.jsii")
        assert file, "the package's description is a file"
        return _Assembly(msgspec.json.decode(file.read())["types"]).compiled()


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(msgspec.json.encode(read_wheel(Path(sys.argv[1]))))
