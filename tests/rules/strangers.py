"""Whoever is not the service, and everything they can ask of Firestore over its REST interface."""

import base64
import http.client
import json
from collections.abc import Callable, Mapping
from typing import Any

from tests.rules.rule_file import SECONDS_MAX

DENIED = 403
BODY = {"fields": {"account_id": {"stringValue": "acc_victim"}, "n": {"integerValue": "1"}}}


def unsigned_token(**claims: object) -> str:
    """A token with these claims, unsigned: the emulator believes it."""
    parts = [{"alg": "none", "typ": "JWT"}, claims]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, ""])


def _signed_in(person: str, **claims: object) -> dict[str, str]:
    told = {"sub": person, "user_id": person, "aud": "modeltrack", **claims}
    return {"Authorization": f"Bearer {unsigned_token(**told)}"}


STRANGERS: Mapping[str, Mapping[str, str]] = {
    "nobody": {},
    "a member": _signed_in("per_member", account_id="acc_victim", role="owner", email_verified=True),
    "a member of another account": _signed_in("per_other", account_id="acc_other", role="owner"),
    "a visitor without a name": _signed_in("per_none", firebase={"sign_in_provider": "anonymous"}),
    "somebody who says to be an admin": _signed_in(
        "per_admin", admin=True, role="admin", email="admin@example.com", scopes=["*"]
    ),
}


class Stranger:
    """Asks Firestore things with no more than a token of its own. What it gets back is the status."""

    def __init__(self, emulator: str, project: str, headers: Mapping[str, str]) -> None:
        self._names = f"projects/{project}/databases/(default)/documents"
        self._connection = http.client.HTTPConnection(emulator, timeout=SECONDS_MAX)
        self._headers = dict(headers) | {"Content-Type": "application/json"}

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def get(self, path: str) -> int:
        return self._ask("GET", path)

    def list(self, path: str) -> int:
        return self._ask("GET", path.rpartition("/")[0])

    def create(self, path: str) -> int:
        collection, _, name = path.rpartition("/")
        return self._ask("POST", f"{collection}?documentId={name}.new", BODY)

    def update(self, path: str) -> int:
        return self._ask("PATCH", f"{path}?currentDocument.exists=true", BODY)

    def delete(self, path: str) -> int:
        return self._ask("DELETE", path)

    def get_in_a_batch(self, path: str) -> int:
        return self._ask("POST", ":batchGet", {"documents": [f"{self._names}/{path}"]})

    def write_in_a_commit(self, path: str) -> int:
        return self._ask(
            "POST", ":commit", {"writes": [{"update": {"name": f"{self._names}/{path}", **BODY}}]}
        )

    def query_every_collection_of_that_name(self, path: str) -> int:
        return self._ask("POST", ":runQuery", {"structuredQuery": _all_named(path)})

    def count(self, path: str) -> int:
        counted = {"structuredQuery": _all_named(path), "aggregations": [{"count": {}}]}
        return self._ask("POST", ":runAggregationQuery", {"structuredAggregationQuery": counted})

    def list_collections(self, path: str) -> int:
        return self._ask("POST", f"{path}:listCollectionIds", {})

    def _ask(self, method: str, rest: str, body: Mapping[str, Any] | None = None) -> int:
        address = f"/v1/{self._names}{rest if rest.startswith(':') else f'/{rest}'}"
        sent = None if body is None else json.dumps(body)
        self._connection.request(method, address, sent, self._headers)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status


def _all_named(path: str) -> dict[str, Any]:
    return {"from": [{"collectionId": path.split("/")[-2], "allDescendants": True}], "limit": 1}


Question = Callable[[Stranger, str], int]
OF_A_DOCUMENT: tuple[Question, ...] = (
    Stranger.get,
    Stranger.list,
    Stranger.create,
    Stranger.update,
    Stranger.delete,
)
OF_A_COLLECTION: tuple[Question, ...] = (Stranger.query_every_collection_of_that_name,)
BY_OTHER_WAYS: tuple[Question, ...] = (
    Stranger.count,
    Stranger.get_in_a_batch,
    Stranger.write_in_a_commit,
    Stranger.list_collections,
)
