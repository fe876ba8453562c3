"""firestore.rules: a client that talks to Firestore by itself is refused everywhere."""

import base64
import json
from pathlib import Path

import pytest
import requests

from metering.collections import INDEXED_FIELDS
from metering.stores import DocumentStore, Put


def _unsigned_token(claims: dict[str, str]) -> str:
    parts = [{"alg": "none", "typ": "JWT"}, claims]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, ""])


CALLERS = {
    "anonymous": {},
    "signed in": {"Authorization": f"Bearer {_unsigned_token({'sub': 'person', 'user_id': 'person'})}"},
}
RULES = Path(__file__).resolve().parents[2] / "firestore.rules"
PATHS = [
    *(f"{name}/x" for name in INDEXED_FIELDS),
    "accounts/x/segments/y",
    "accounts/x/quarters/y",
    "unheard/x",
]


@pytest.fixture
def ruled_project(emulator: str, firestore_project: str) -> str:
    """A project under our rules, whatever rules the emulator was started with."""
    answer = requests.put(
        f"http://{emulator}/emulator/v1/projects/{firestore_project}:securityRules",
        json={"rules": {"files": [{"name": RULES.name, "content": RULES.read_text()}]}},
        timeout=10,
    )
    assert answer.status_code == 200, answer.text
    assert "issues" not in answer.json(), answer.text
    return firestore_project


@pytest.mark.parametrize("caller", CALLERS.values(), ids=CALLERS)
@pytest.mark.parametrize("path", PATHS)
def test_nobody_reads_or_writes_from_outside(
    emulator: str, ruled_project: str, path: str, caller: dict[str, str]
) -> None:
    root = f"http://{emulator}/v1/projects/{ruled_project}/databases/(default)/documents"
    body = {"fields": {"n": {"integerValue": "1"}}}
    collection, _, name = path.rpartition("/")

    answers = [
        requests.get(f"{root}/{path}", headers=caller, timeout=10),
        requests.get(f"{root}/{collection}", headers=caller, timeout=10),
        requests.patch(f"{root}/{path}", headers=caller, json=body, timeout=10),
        requests.post(f"{root}/{collection}?documentId={name}2", headers=caller, json=body, timeout=10),
        requests.delete(f"{root}/{path}", headers=caller, timeout=10),
    ]

    assert [answer.status_code for answer in answers] == [403] * 5


@pytest.mark.usefixtures("ruled_project")
def test_the_rules_do_not_stand_in_the_services_way(firestore_store: DocumentStore) -> None:
    firestore_store.commit([Put("accounts/x", {"n": 1})])

    assert firestore_store.get("accounts/x") is not None
