"""From a store's address to the store."""

from pathlib import Path

import pytest

from metering.opening import open_store


def test_an_address_with_three_slashes_is_a_path_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    store = open_store("sqlite:///data/modeltrack.db")

    assert store.kind == "sqlite"
    assert (tmp_path / "data" / "modeltrack.db").is_file()


def test_an_address_with_four_slashes_is_a_path_from_the_root(tmp_path: Path) -> None:
    open_store(f"sqlite:///{tmp_path}/modeltrack.db")

    assert (tmp_path / "modeltrack.db").is_file()


@pytest.mark.parametrize("database", ["", "/", "/(default)", "/modeltrack-eu"])
def test_opening_firestore_dials_nothing(database: str) -> None:
    assert open_store(f"firestore://demo-modeltrack{database}").kind == "firestore"


@pytest.mark.parametrize(
    "url",
    [
        "", "sqlite://", "sqlite:///", "modeltrack.db", "postgres://x/y", "firestore://", "firestore://Project",
        "firestore://demo-x/UPPER", "firestore://demo-x/a/b", "firestore://demo-x?y=1",
    ],
)  # fmt: skip
def test_any_other_address_is_refused_with_the_forms_it_may_have(url: str) -> None:
    with pytest.raises(ValueError, match="sqlite:///<file> or firestore://<project>"):
        open_store(url)
