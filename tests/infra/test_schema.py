"""The provider's schema is read from the package that it was published in."""

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.infra.schema import Argument, load_schema, read_wheel, why_missing

DOCS = "https://registry.terraform.io/providers/hashicorp/google/6.50.0/docs"
NAMESPACE = "@cdktf/provider-google."


def property_of(name: str, type: dict[str, Any], *, optional: bool = True, says: str = "") -> dict[str, Any]:
    anchor = f"Docs at Terraform Registry: {{@link {DOCS}/resources/thing#{name.lower()} Thing#{name}}}"
    return {"name": name, "type": type, "optional": optional, "docs": {"summary": says, "remarks": anchor}}


def interface(name: str, *properties: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "interface", "fqn": f"{NAMESPACE}{name}", "docs": {}, "properties": list(properties)}


def a_package(file: Path) -> Path:
    string, inner = {"primitive": "string"}, {"fqn": f"{NAMESPACE}thing.ThingInner"}
    many = {
        "union": {
            "types": [{"fqn": "cdktf.IResolvable"}, {"collection": {"kind": "array", "elementtype": inner}}]
        }
    }
    described = [
        interface("provider.GoogleProviderConfig", property_of("project", string)),
        interface(
            "thing.ThingConfig",
            property_of("kind", string, optional=False, says='What. Possible values: ["A", "B"]'),
            property_of("id", string),
            property_of("one", inner, optional=False),
            property_of("many", many),
        ),
        interface(
            "thing.ThingInner",
            property_of("names", {"collection": {"kind": "array", "elementtype": string}}),
            property_of(
                "flag", {"union": {"types": [{"primitive": "boolean"}, {"fqn": "cdktf.IResolvable"}]}}
            ),
        ),
        {
            "kind": "class",
            "fqn": f"{NAMESPACE}thing.Thing",
            "docs": {"summary": f"Represents a {{@link {DOCS}/resources/thing google_thing}}."},
            "properties": [
                {"name": "tfResourceType", "static": True, "type": string},
                {"name": "kindInput", "type": string},
                {"name": "selfLink", "type": string},
            ],
        },
    ]
    assembly = json.dumps({"types": {each["fqn"]: each for each in described}}).encode()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        entry = tarfile.TarInfo("package/.jsii")
        entry.size = len(assembly)
        tar.addfile(entry, io.BytesIO(assembly))
    with zipfile.ZipFile(file, "w") as wheel:
        wheel.writestr("_jsii/provider-google@16.12.1.jsii.tgz", archive.getvalue())
    return file


def test_arguments_blocks_and_what_is_only_read_are_told_apart(tmp_path: Path) -> None:
    thing = read_wheel(a_package(tmp_path / "package.whl")).resources["google_thing"]

    assert thing.body.arguments == {"kind": Argument("string", is_required=True, choices=("A", "B"))}
    assert thing.computed == {"self_link": "string"}
    one, many = thing.body.blocks["one"], thing.body.blocks["many"]
    assert (one.is_required, one.repeats) == (True, False)
    assert (many.is_required, many.repeats) == (False, True)
    assert one.body.arguments == {"names": Argument("list(string)"), "flag": Argument("bool")}
    assert thing.has_attribute("self_link")
    assert not thing.has_attribute("self_lin")


@pytest.mark.skipif(why_missing() is not None, reason=why_missing() or "")
def test_the_published_schema_is_whole() -> None:
    schema = load_schema()

    assert len(schema.resources) > 1000
    assert len(schema.data_sources) > 300
    service = schema.resources["google_cloud_run_v2_service"].body
    containers = service.blocks["template"].body.blocks["containers"].body
    assert containers.arguments["image"] == Argument("string", is_required=True)
    assert containers.blocks["resources"].body.arguments["cpu_idle"] == Argument("bool")
    assert "INGRESS_TRAFFIC_INTERNAL_ONLY" in service.arguments["ingress"].choices
