"""Auditing: what is asked of the API and changes something is noted in the account's audit log.

A change is noted before it is made and again with what became of it, so no change is without its entry: one
that stays `begun` was cut off, and may or may not have been done. While the store takes no entry, nothing is
changed. Changes are requests that write, taking an export away, and what says whom it `concerns`.

Whoever fails to log in must not learn, not even by time, whether there is anybody whom that concerns: it is
looked up and noted after the answer (`concerns_whoever`).
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from flask import Flask, Response, current_app, g, request

from api_service.access import Need, Visitor, network_of_caller
from api_service.afterwards import Afterwards
from api_service.audit_log import ActorKind, AuditEvent, AuditLog, write_of
from api_service.errors import READING_METHODS
from api_service.logs import ApiLog
from api_service.services import services
from metering.clock import Clock
from metering.errors import StoreError
from metering.ids import new_id
from metering.stores import Write

CODE_CHARACTERS_MAX: Final = 64
ANSWER_READ_BYTES_MAX: Final = 64 * 1024  # what an answer's id is looked for in

_ID = re.compile(r"[a-z]{2,20}_(?:[0-9a-f]{32}|local)")
_TRACE = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_NO_CONTENT = 204
_TOO_MANY = 429  # not noted: who is refused for asking too often would fill the log


def audit_changes(app: Flask, audit: AuditLog, clock: Clock, log: ApiLog, afterwards: Afterwards) -> None:
    """Note every change before it is made and after, and every one that was refused."""

    def begin() -> None:
        asking: Visitor | None = g.get("visitor")
        if asking is not None and _is_change():
            event = _event(clock, asking.account_id, *_actor(asking))
            audit.add(event)
            g.audit_event = event

    def end(response: Response) -> Response:
        begun: AuditEvent | None = g.pop("audit_event", None)
        try:
            if begun is not None:
                audit.end(_ended(begun, response))
            elif request.url_rule is not None and _is_change() and not _is_replayed(response):
                events = _unbegun(clock, response)
                for event in events:
                    audit.add(_ended(event, response))
                if not events and not _note_later(clock, response, audit, afterwards):
                    log.caution("too many attempts wait to be noted in audit logs; one is not")
        except StoreError:  # what was begun stays so
            log.fault("the audit log could not be told what became of a request")
        return response

    app.before_request(begin)
    app.after_request(end)


def concerns_whoever(find: Callable[[], tuple[str, str] | None]) -> None:
    """Say how to find, after the answer, whom an attempt is about that must not tell if there is anybody.

    `find` gives account and person, None for nobody; it is not asked where the answer itself says who it was.
    """
    g.audit_search = find


def concerns(account_id: str, person_id: str) -> None:
    """Say whom a request of nobody in particular is about, such as an attempt to log in."""
    g.audit_subject = (account_id, person_id)


def noted_as_done(account_id: str, person_id: str) -> Write:
    """The write that notes in another account's log, too, that the person did what is asked for."""
    event = _event(services().clock, account_id, "person", person_id, person_id)
    return write_of(msgspec.structs.replace(event, outcome="done", status=_NO_CONTENT))


def _is_change() -> bool:
    need: Need | None = current_app.view_functions[request.endpoint or ""].__dict__.get("need")
    return (
        need == "export" or "audit_subject" in g or (request.method not in READING_METHODS and need != "read")
    )


def _is_replayed(response: Response) -> bool:
    return "Idempotency-Replayed" in response.headers


def _unbegun(clock: Clock, response: Response) -> Sequence[AuditEvent]:
    """The entries of what was refused before it was begun, and of log-ins and the like."""
    if response.status_code == _TOO_MANY:
        return []
    asking: Visitor | None = g.get("visitor")
    if asking is not None:
        return [_event(clock, asking.account_id, *_actor(asking))]
    told = _told(response)
    account, person = told.get("account"), told.get("person")
    subject: tuple[str, str] | None = g.get("audit_subject")
    if isinstance(account, dict) and isinstance(person, dict) and response.status_code < 400:
        subject = (str(account.get("id")), str(person.get("id")))
    if subject is None or not _ID.fullmatch(subject[0]):
        return []
    actor: ActorKind = "person" if response.status_code < 400 else "nobody"
    return [_event(clock, subject[0], actor, subject[1] if actor == "person" else "", subject[1])]


def _note_later(clock: Clock, response: Response, audit: AuditLog, afterwards: Afterwards) -> bool:
    """Note after the answer what became of an attempt, if it is anybody's; False where too many wait."""
    find: Callable[[], tuple[str, str] | None] | None = g.pop("audit_search", None)
    if find is None or response.status_code == _TOO_MANY:
        return True
    event = _ended(_event(clock, "", "nobody", ""), response)

    def note() -> None:
        found = find()
        if found is not None:
            account_id, person_id = found
            audit.add(msgspec.structs.replace(event, account_id=account_id, target_id=person_id))

    return afterwards.do(note)


def _actor(asking: Visitor) -> tuple[ActorKind, str]:
    if asking.key is not None:
        return "key", asking.key.key_id
    return "person", asking.session.person_id if asking.session else ""


def _event(clock: Clock, account_id: str, actor: ActorKind, actor_id: str, target_id: str = "") -> AuditEvent:
    traced = _TRACE.fullmatch(request.headers.get("traceparent", ""))
    ids = [each for each in (request.view_args or {}).values() if _ID.fullmatch(str(each))]
    return AuditEvent(
        event_id=new_id("audit"),
        account_id=account_id,
        at=clock.now(),
        actor=actor,
        actor_id=actor_id,
        operation=(request.endpoint or "").rpartition(".")[2],
        target_id=target_id or (str(ids[-1]) if ids else ""),
        request_id=g.request_id,
        trace_id=traced[1] if traced else "",
        network=network_of_caller(),
    )


def _ended(event: AuditEvent, response: Response) -> AuditEvent:
    status = response.status_code
    told = _told(response)
    error = told.get("error")
    code = error.get("code") if isinstance(error, dict) else ""
    made_id = told.get("id")
    is_made = status == 201 and isinstance(made_id, str) and _ID.fullmatch(made_id)
    return msgspec.structs.replace(
        event,
        status=status,
        outcome="done" if status < 400 else "refused" if status < 500 else "failed",
        code=str(code)[:CODE_CHARACTERS_MAX],
        target_id=made_id if is_made else event.target_id,
    )


def _told(response: Response) -> dict[str, Any]:
    """The answer's fields, where it is JSON and not too long to look at."""
    if response.is_streamed or response.mimetype != "application/json":
        return {}
    body = response.get_data()
    if len(body) > ANSWER_READ_BYTES_MAX:
        return {}
    told = msgspec.json.decode(body)
    return told if isinstance(told, dict) else {}
