"""What is mailed to strangers holds no link but our own, whatever those who invite call themselves."""

import re

import pytest

from api_service.letters import Letter, invitation, is_plain_name

BASE = "https://api.example.com"


def invite(account_name: str = "Ada & Co", by: str = "Ada", by_address: str = "ada@example.com") -> Letter:
    return invitation(
        "grace@example.com",
        BASE,
        "tok",
        account_name=account_name,
        role="viewer",
        by=by,
        by_address=by_address,
    )


LINKS = [
    "https://evil.com/pay",
    "Pay at www.evil.com",
    "evil.com",
    "Invoice: evil.com/x?y=1 due",
    "evil\uff0ecom",
    "evil\u3002com",
    "\uff48ttps\uff1a\uff0f\uff0fevil",
    "mailto:x@evil.com",
    "//evil",
    "10.0.0.1",
    "evil\u200b.com",
    "\\\\evil\\share",
    "tel:+4900000",
]


@pytest.mark.parametrize("name", LINKS)
def test_a_name_that_looks_like_a_link_is_left_out_of_an_invite(name: str) -> None:
    letter = invite(account_name=name, by=name)

    assert not is_plain_name(name)
    assert name not in letter.subject + letter.text
    assert letter.subject == "Join an account on ModelTrack"
    assert letter.text.startswith("Hello,\n\nada@example.com invites you to an account on ModelTrack")
    assert re.findall(r"\S+://\S+", letter.text) == [f"{BASE}/accept-invite#token=tok"]


@pytest.mark.parametrize(
    "name", ["Ada & Co", "Müller, Söhne", "Team 7 (Ops)", "Dr. Ada Lovelace", "深度", "A."]
)
def test_a_plain_name_is_told(name: str) -> None:
    letter = invite(account_name=name, by=name)

    assert letter.subject == f"Join “{name}” on ModelTrack"
    assert f"{name} invites you to the account “{name}”" in letter.text


@pytest.mark.parametrize(
    "address", ["www.evil.com@evil.example", "evil.com/pay@evil.example", "a=b?c@evil.example"]
)
def test_an_address_that_could_be_read_as_a_link_is_left_out_too(address: str) -> None:
    letter = invite(by="", by_address=address)

    assert "evil" not in letter.text
    assert letter.text.startswith("Hello,\n\nSomebody invites you")
