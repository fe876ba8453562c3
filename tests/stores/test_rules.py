"""firestore.rules: a client that talks to Firestore by itself is refused everywhere."""

import base64
import json

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
PATHS = [
    *(f"{name}/x" for name in INDEXED_FIELDS),
    "accounts/x/segments/y",
    "accounts/x/quarters/y",
    "unheard/x",
]


@pytest.mark.parametrize("caller", CALLERS.values(), ids=CALLERS)
@pytest.mark.parametrize("path", PATHS)
def test_nobody_reads_or_writes_from_outside(
    emulator: str, firestore_project: str, path: str, caller: dict[str, str]
) -> None:
    root = f"http://{emulator}/v1/projects/{firestore_project}/databases/(default)/documents"
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


def test_the_rules_do_not_stand_in_the_services_way(firestore_store: DocumentStore) -> None:
    firestore_store.commit([Put("accounts/x", {"n": 1})])

    assert firestore_store.get("accounts/x") is not None
