"""What a module of infra/ that needs no provider comes to, as Terraform itself reckons it."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

MODULES = Path(__file__).parents[2] / "infra" / "modules"
SECONDS_MAX = 60


def why_no_terraform() -> str | None:
    """Why modules cannot be evaluated here; None where they can."""
    if shutil.which("terraform"):
        return None
    return "terraform is missing: install it, version 1.9 or later (https://developer.hashicorp.com/terraform/install)"


def outputs_of(module: str, folder: Path, **variables: object) -> dict[str, Any]:
    """The module's outputs with these variables, reckoned in an empty folder."""
    place = folder / module
    shutil.copytree(MODULES / module, place)
    (place / "terraform.tfvars.json").write_text(json.dumps(variables))
    _terraform(place, "init", "-backend=false", "-input=false")
    _terraform(place, "apply", "-auto-approve", "-input=false")
    found = json.loads(_terraform(place, "output", "-json"))
    return {name: output["value"] for name, output in found.items()}


def _terraform(place: Path, *words: str) -> str:
    done = subprocess.run(
        ["terraform", *words, *(["-no-color"] if words[0] != "output" else [])],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
