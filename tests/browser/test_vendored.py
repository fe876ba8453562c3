"""What stands in `vendor` is what it says it is."""

import hashlib
import tomllib
from pathlib import Path

VENDOR = Path(__file__).parent / "vendor"


def test_every_vendored_file_is_listed_with_its_digest_and_unchanged() -> None:
    listed = tomllib.loads((VENDOR / "VERSIONS.toml").read_text())
    expected = {name: digest for package in listed.values() for name, digest in package["sha256"].items()}

    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.iterdir()
        if path.name != "VERSIONS.toml"
    }

    assert found == expected
    assert all(package["licence"] for package in listed.values())
