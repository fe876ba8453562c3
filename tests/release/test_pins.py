"""Every image that a release runs in or builds upon is named by the digest that was looked up for it."""

import re
from pathlib import Path

import pytest

from infra.release import pins
from tests.release.checkout import Checkout


def names(folder: Path) -> list[str]:
    return re.findall(r"^    name: (.+)$", (folder / pins.BUILD).read_text(), re.MULTILINE)


def test_the_digests_are_written_into_the_steps_and_then_hold(checkout: Checkout) -> None:
    with pytest.raises(pins.NotPinned, match="make pin-images"):
        pins.check(checkout.folder)

    pins.write(checkout.folder)

    pins.check(checkout.folder)
    assert all(re.search(r":[\w.-]+@sha256:[0-9a-f]{64}$", name) for name in names(checkout.folder))


def test_newer_digests_take_the_place_of_older_ones(checkout: Checkout) -> None:
    pins.write(checkout.folder)
    file = checkout.folder / pins.PINNED
    file.write_text(re.sub(r"sha256:0{60}", "sha256:" + "e" * 60, file.read_text()))
    with pytest.raises(pins.NotPinned):
        pins.check(checkout.folder)

    pins.write(checkout.folder)

    pins.check(checkout.folder)


def test_everything_else_in_the_file_stays_as_it_was(checkout: Checkout) -> None:
    before = (checkout.folder / pins.BUILD).read_text()

    pins.write(checkout.folder)

    after = (checkout.folder / pins.BUILD).read_text()
    assert re.sub(r"@sha256:[0-9a-f]{64}", "", after) == before


def test_the_base_of_both_images_is_looked_at_too(checkout: Checkout) -> None:
    pins.write(checkout.folder)
    file = checkout.folder / pins.PINNED
    lines = [line for line in file.read_text().splitlines() if "slim" not in line]
    file.write_text("\n".join(lines) + "\n")

    with pytest.raises(pins.NotPinned, match=r"python:3\.12-slim"):
        pins.check(checkout.folder)


def test_all_that_have_no_digest_are_named_at_once(checkout: Checkout) -> None:
    (checkout.folder / pins.PINNED).unlink()

    with pytest.raises(pins.NotPinned) as refused:
        pins.check(checkout.folder)

    assert all(name in str(refused.value) for name in names(checkout.folder))
