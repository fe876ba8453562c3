"""Files that pages load: their names, and that the vendored ones are what they say."""

import hashlib
import re

from api_service.dashboard.assets import FOLDER, assets
from api_service.dashboard.vendoring import file_of, pinned


def test_every_vendored_file_is_pinned_and_unchanged() -> None:
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (FOLDER / "vendor").glob("*.js")
    }

    assert found == {file_of(each).name: each["sha256"] for each in pinned()}
    assert all(each["licence"] and each["integrity"].startswith("sha512-") for each in pinned())


def test_a_name_holds_the_digest_of_what_is_served_under_it() -> None:
    for name, asset in assets().served.items():
        assert name.split(".")[-2] == hashlib.sha256(asset.content).hexdigest()[:16]


def test_a_script_imports_others_by_the_names_under_which_they_are_served() -> None:
    imported = {
        found.decode()
        for asset in assets().served.values()
        for found in re.findall(rb'(?:from|import) "\./([^"]+)"', asset.content)
    }

    assert imported
    assert imported <= set(assets().served)


def test_no_script_writes_html_or_runs_text() -> None:
    for path in FOLDER.glob("*.js"):
        text = path.read_text()
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
        ), path


def test_all_that_a_page_loads_is_small() -> None:
    assert sum(len(asset.compressed) for asset in assets().served.values()) < 200_000
