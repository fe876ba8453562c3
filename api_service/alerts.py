"""Alerts in a store: fired once, told of in the same commit, and put through their states."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from api_service.channels import NoticeKind
from api_service.notices import Notice, Notices
from metering.alerting import Alert, AlertKind, Finding, fired, resolved, woken
from metering.clock import Clock
from metering.collections import alerts_collection
from metering.errors import AlreadyExists, Conflict, NotFound, RevisionChanged
from metering.stores import Create, Document, DocumentStore, Put, Query

CHANGE_ATTEMPTS_MAX: Final = 5
FINDINGS_A_READ: Final = 500
FIRED_A_LOOK_MAX: Final = 200  # of an account; the next look goes on
TOLD_A_LOOK_MAX: Final = 10  # singly; what fires besides is told of in one notice
UNRESOLVED_READ_MAX: Final = 300

_NOTICES: Final[dict[AlertKind, NoticeKind]] = {
    "budget": "alert.budget",
    "forecast": "alert.forecast",
    "anomaly": "alert.anomaly",
    "unpriced_model": "alert.unpriced_model",
    "recording": "alert.recording",
    "plan": "alert.plan",
}


class Alerts:
    """The alerts of accounts. A store failure passes to the caller."""

    def __init__(self, store: DocumentStore, clock: Clock, notices: Notices) -> None:
        self._store = store
        self._clock = clock
        self._notices = notices

    def fire(self, account_id: str, findings: Sequence[Finding]) -> int:
        """Make alerts of those findings that have none yet, and tell of them; how many they were.

        Safe to do again and at the same moment: an alert is created once, its notice in the same commit.
        """
        now = self._clock.now()
        fresh = self._fresh(account_id, findings)
        if not fresh:
            return 0
        asleep = self._in_state(account_id, "snoozed")
        untold: list[Alert] = []
        count = 0
        for path, finding in fresh:
            alert = fired(finding, account_id, now, asleep)
            is_told = alert.state == "open" and count - len(untold) < TOLD_A_LOOK_MAX
            writes = [Create(path, _fields(alert))]
            more = self._notices.writes_of(notice_of(account_id, alert)) if is_told else []
            try:
                self._store.commit([*writes, *more])
            except AlreadyExists:
                continue  # somebody else was faster, and has told of it
            count += 1
            untold += [alert] if alert.state == "open" and not is_told else []
        if untold:
            self._notices.tell(_of_many(account_id, untold))
        return count

    def _fresh(self, account_id: str, findings: Sequence[Finding]) -> list[tuple[str, Finding]]:
        """The findings that have no alert yet, with where theirs is to be kept, as many as fire in a look."""
        by_path = {alert_path(account_id, each.alert_id(account_id)): each for each in findings}
        paths, fresh = [*by_path], []
        for start in range(0, len(paths), FINDINGS_A_READ):
            asked = paths[start : start + FINDINGS_A_READ]
            known = self._store.get_many(asked)
            fresh += [(path, by_path[path]) for path in asked if path not in known]
            if len(fresh) >= FIRED_A_LOOK_MAX:
                break
        return fresh[:FIRED_A_LOOK_MAX]

    def settle(self, account_id: str, is_over: Callable[[Alert], bool]) -> int:
        """End what has ended by itself, and tell once more of what was snoozed; how many they were.

        `is_over` says whether that is so of an alert whose time is not.
        """
        now = self._clock.now()
        count = 0
        for document in self._unresolved(account_id):
            alert = alert_from(document)
            if alert.state_at(now) == "resolved" or is_over(alert):
                count += self._replace(document, resolved(alert, "", now))
            elif alert.state == "snoozed" and alert.state_at(now) == "open":
                count += self._replace(document, woken(alert), notice_of(account_id, alert, is_again=True))
        return count

    def find(self, account_id: str, alert_id: str) -> Alert:
        """The alert. Raises: NotFound."""
        return alert_from(self._document(account_id, alert_id))

    def change(self, account_id: str, alert_id: str, edit: Callable[[Alert], Alert]) -> Alert:
        """Replace the alert by what `edit` makes of it. Raises: NotFound, and whatever `edit` raises."""
        for _ in range(CHANGE_ATTEMPTS_MAX):
            document = self._document(account_id, alert_id)
            before = alert_from(document)
            after = edit(before)
            if after == before or self._replace(document, after):
                return after
        raise Conflict("this alert was changed by others again and again; try once more")

    def _replace(self, document: Document, alert: Alert, notice: Notice | None = None) -> bool:
        """Keep the alert in the document's place, and tell; False where somebody else was faster."""
        more = [] if notice is None else self._notices.writes_of(notice)
        try:
            self._store.commit([Put(document.path, _fields(alert), if_revision=document.revision), *more])
        except (RevisionChanged, AlreadyExists):
            return False
        return True

    def _document(self, account_id: str, alert_id: str) -> Document:
        document = self._store.get(alert_path(account_id, alert_id))
        if document is None:
            raise NotFound("there is no such alert")
        return document

    def _unresolved(self, account_id: str) -> Iterable[Document]:
        for state in ("snoozed", "open", "acknowledged"):
            yield from self._store.query(_of_state(account_id, state))

    def _in_state(self, account_id: str, state: str) -> list[Alert]:
        return [alert_from(each) for each in self._store.query(_of_state(account_id, state))]


def alert_path(account_id: str, alert_id: str) -> str:
    """Where an alert is kept."""
    return f"{alerts_collection(account_id)}/{alert_id}"


def alert_from(document: Document) -> Alert:
    """The alert that a document holds."""
    return msgspec.convert(document.fields, Alert)


def notice_of(account_id: str, alert: Alert, *, is_again: bool = False) -> Notice:
    """What tells of the alert; `is_again` where it was told of before and put off."""
    return Notice(
        account_id=account_id,
        kind=_NOTICES[alert.kind],
        level=alert.level,
        title=f"Still: {alert.title}" if is_again else alert.title,
        text=alert.text,
        subject_id=alert.subject_id,
        data={"alert_id": alert.alert_id, **msgspec.json.decode(alert.data)},
        once=f"{alert.alert_id} {alert.snoozed_until}" if is_again else alert.alert_id,
    )


def _of_many(account_id: str, untold: Sequence[Alert]) -> Notice:
    first = untold[0]
    return Notice(
        account_id=account_id,
        kind=_NOTICES[first.kind],
        level="critical" if any(each.level == "critical" for each in untold) else "warning",
        title=f"{len(untold)} more alerts",
        text="\n".join([*(each.title for each in untold), "GET /v1/alerts shows all of them."]),
        data={"alert_ids": [each.alert_id for each in untold]},
        once=first.alert_id,
    )


def _of_state(account_id: str, state: str) -> Query:
    return Query(collection=alerts_collection(account_id), equal={"state": state}, limit=UNRESOLVED_READ_MAX)


def _fields(alert: Alert) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(alert, builtin_types=(datetime,))
    return fields
