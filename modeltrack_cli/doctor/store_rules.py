"""Firestore's rules, tried from outside as nobody. Nothing is written even where they are open.

Google tells what rules see of a request without credentials
(https://firebase.google.com/docs/firestore/use-rest-api, 2026-11-21): those are judged by the rules, and
refused with 403 where these allow nothing. Each question is about a document that does not exist, and
every change is asked for on the condition that it does; rules are judged first, so 403 says that they are
closed, and anything else that they let the question pass. What can be asked so is reading, listing, changing
and deleting. A rule that allows creating alone is not found: trying it might create something.
Seen to be so with Google's emulator; not tried on a live project.
"""

import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import requests

from metering.collections import ACCOUNTS, INDEXED_FIELDS
from modeltrack_cli.calls import NoAnswer, Nobody, ask
from modeltrack_cli.doctor.findings import Verdict, failed, not_applicable, not_checked, passed
from modeltrack_cli.doctor.visit import Visit

AT_ONCE: Final = 8
NAMED_MAX: Final = 3

_GOOGLE: Final = "https://firestore.googleapis.com/v1"
_PLACE: Final = "Firestore"
_CLOSED: Final = 403
_PASSED: Final = frozenset((200, 404, 409))  # the rules let it pass, whatever was so then
_NOT_SO: Final = b"FAILED_PRECONDITION"  # with 400: likewise
_NOT_THERE: Final = (b"SERVICE_DISABLED", b"CONSUMER_INVALID", b"does not exist for project")
_FIELDS: Final = {"fields": {"doctor": {"integerValue": "1"}}}
_ONLY_IF_THERE: Final = {"currentDocument.exists": "true"}


class Question(NamedTuple):
    """One thing that nobody may do."""

    what: str
    method: str
    path: str
    params: dict[str, str]
    body: dict[str, Any] | None = None


class _NotTold(Exception):
    """The answer says nothing of the rules. Its text says why."""


def rules(visit: Visit) -> Verdict:
    """Whether nobody may read or change anything, in any collection."""
    where = visit.deployment
    if not where.project:
        why = "no project was named (--project or MODELTRACK_PROJECT)"
        return (
            not_checked(why, "name the project whose Firestore it is; on SQLite there are no rules")
            if where.is_hosted
            else not_applicable(why)
        )
    root = f"http://{where.emulator}/v1" if where.emulator else _GOOGLE
    documents = f"{root}/projects/{where.project}/databases/{where.database}/documents"
    asked = [*_questions(f"doctor-{secrets.token_hex(16)}")]
    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            parts = [asked[start::AT_ONCE] for start in range(AT_ONCE)]
            looks = [*pool.map(lambda part: _open_among(visit, documents, part), parts)]
    except _NotTold as why:
        return not_checked(
            str(why), "look at --project and --database, and at whether Firestore answers from here"
        )
    passed_through = {each for look in looks for each in look}
    opened = [each.what for each in asked if each.what in passed_through]
    if opened:
        more = f" and {len(opened) - NAMED_MAX} more" if len(opened) > NAMED_MAX else ""
        return failed(
            f"anybody may {', '.join(opened[:NAMED_MAX])}{more}",
            "release firestore.rules at once (terraform apply, or firebase deploy --only firestore:rules),"
            " then see in the audit log who read what",
        )
    at = " of the emulator" if where.emulator else ""
    return passed(f"refused {len(asked)} times, in {len(INDEXED_FIELDS)} collections{at}")


def _questions(absent: str) -> Iterator[Question]:
    for name in INDEXED_FIELDS:
        query = {"from": [{"collectionId": name, "allDescendants": True}], "limit": 1}
        yield Question(f"list {name}", "POST", ":runQuery", {}, {"structuredQuery": query})
        for collection in (name, f"{ACCOUNTS}/{absent}/{name}"):
            shown, path = collection.replace(absent, "…"), f"/{collection}/{absent}"
            yield Question(f"read {shown}", "GET", path, {})
            yield Question(f"change {shown}", "PATCH", path, _ONLY_IF_THERE, _FIELDS)
            yield Question(f"delete {shown}", "DELETE", path, _ONLY_IF_THERE)


def _open_among(visit: Visit, documents: str, questions: Sequence[Question]) -> list[str]:
    """What of that is allowed; asked on one connection, which saves a handshake a question."""
    with requests.Session() as session:
        return [each.what for each in questions if _is_open(visit, session, documents, each)]


def _is_open(visit: Visit, session: requests.Session, documents: str, question: Question) -> bool:
    try:
        answer = ask(
            _PLACE,
            question.method,
            documents + question.path,
            Nobody(),
            seconds=visit.options.question_seconds,
            session=session,
            params=question.params,
            json=question.body,
        )
    except NoAnswer as error:
        raise _NotTold(error.reason) from None
    if any(mark in answer.content for mark in _NOT_THERE):
        raise _NotTold("there is no such Firestore database")
    is_open = answer.status in _PASSED or (answer.status == 400 and _NOT_SO in answer.content)
    if not is_open and answer.status != _CLOSED:
        raise _NotTold(f"it answers {answer.status}")
    return is_open
