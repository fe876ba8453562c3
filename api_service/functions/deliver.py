"""The job `deliver`: notices on their way to channels are sent, again and again where it takes that.

A delivery is claimed before it is sent (its next attempt lies `CLAIM` ahead, so nobody else takes it up
meanwhile), and its outcome is written after. Whoever dies in between leaves it to be sent again: a receiver
may get a message twice, by the same id, and never not at all.

A channel that fails is asked once a run; what else waits for it waits on for `AFTER_FAILURE`, so that it
takes neither the time nor the places of others.
"""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

import msgspec

from api_service.channels import Channel, Channels, after_failure, after_success
from api_service.functions.workplace import Workplace
from api_service.notices import (
    LOG,
    OPERATORS_SLACK,
    Delivery,
    Notice,
    ToldNotice,
    delivery_from,
    notice_from,
    notice_path,
)
from api_service.sending import Sender, Sent, sender_of
from metering.collections import DELIVERIES, delivery_path
from metering.errors import Conflict, DocumentMissing, NotFound, RevisionChanged, StoreUnavailable
from metering.settings import SettingsRefused, deployment_secret
from metering.stores import Document, Query, Update

# Between the attempts, as Standard Webhooks advises; the eighth is the last, a day and some hours later.
RETRIES: Final[Sequence[timedelta]] = tuple(
    timedelta(seconds=seconds) for seconds in (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 10 * 3600)
)
DELIVERIES_A_RUN_MAX: Final = 200
SENT_AT_ONCE: Final = 8
CLAIM: Final = timedelta(minutes=5)  # longer than any sending takes
AFTER_FAILURE: Final = timedelta(minutes=1)
CHANNEL_SECONDS_MAX: Final = 60.0
SUCCESS_NOTED: Final = timedelta(minutes=1)  # the channels' document is not rewritten more often for that


class DeliveryReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to. `given_up` are those that will not be tried again."""

    delivered: int = 0
    logged: int = 0
    failed: int = 0
    given_up: int = 0
    broken: int = 0


def run(workplace: Workplace) -> DeliveryReport:
    """Send what is due, at most `DELIVERIES_A_RUN_MAX`. Raises: StoreUnavailable, SettingsRefused."""
    now = workplace.clock.now()
    due = workplace.store.query(
        Query(collection=DELIVERIES, order_by="next_at", below=now, limit=DELIVERIES_A_RUN_MAX)
    )
    if not due:
        return DeliveryReport()
    secret = _secret(workplace)
    sender = sender_of(workplace.settings, workplace.store, workplace.clock, workplace.mail, lambda: secret)
    channels = Channels(workplace.store, workplace.clock, lambda: secret)
    queues: dict[tuple[str, str], list[Document]] = {}
    for document in due:
        queues.setdefault((document.fields["account_id"], document.fields["channel_id"]), []).append(document)
    with ThreadPoolExecutor(SENT_AT_ONCE, thread_name_prefix="deliver") as threads:
        tasks = [
            threads.submit(_Queue(workplace, sender, channels, account_id, channel_id).send, documents)
            for (account_id, channel_id), documents in queues.items()
        ]
    totals: Counter[str] = Counter()
    for task in tasks:
        totals.update(task.result())
    return DeliveryReport(**totals)


def _secret(workplace: Workplace) -> bytes:
    """The deployment's secret, which channels are sealed under. Raises: SettingsRefused, after saying so."""
    settings = workplace.settings
    if settings.is_hosted and not settings.modeltrack_secret.get_secret_value():
        complaint = "MODELTRACK_SECRET: the function deliver needs it, to open what channels have sealed"
        workplace.log.fault(complaint)
        raise SettingsRefused([complaint])
    return deployment_secret(settings)


class _Queue:
    """What waits for one channel, sent one after the other."""

    def __init__(
        self, workplace: Workplace, sender: Sender, channels: Channels, account_id: str, channel_id: str
    ) -> None:
        self._workplace = workplace
        self._store = workplace.store
        self._clock = workplace.clock
        self._sender = sender
        self._channels = channels
        self._account_id = account_id
        self._channel_id = channel_id

    def send(self, documents: Sequence[Document]) -> Counter[str]:
        """Send what can be, until the channel fails or had its time; the figures of a report."""
        did: Counter[str] = Counter()
        until = self._clock.monotonic() + CHANNEL_SECONDS_MAX
        for place, document in enumerate(documents):
            if did["failed"] or did["broken"] or self._clock.monotonic() >= until:
                self._put_off(documents[place:])
                break
            did += self._attempt(document)
        return did

    def _attempt(self, document: Document) -> Counter[str]:
        delivery = self._claimed(document)
        if delivery is None:
            return Counter()
        try:
            return self._settled(delivery, self._sent(delivery))
        except StoreUnavailable:
            raise  # it stays claimed, and is sent again
        except Exception as error:  # noqa: BLE001 - a damaged document of one account holds up no other
            self._workplace.log.broken(error)
            self._note(delivery, Sent(is_delivered=False, outcome="internal"))
            return Counter(broken=1)

    def _claimed(self, document: Document) -> Delivery | None:
        """The delivery, nobody else's for now; None where somebody else has it, or it is gone."""
        now = self._clock.now()
        before = delivery_from(document)
        claim = {"next_at": now + CLAIM, "attempts": before.attempts + 1, "attempted_at": now}
        try:
            self._store.commit([Update(document.path, claim, if_revision=document.revision)])
        except (RevisionChanged, DocumentMissing):
            return None
        return msgspec.structs.replace(before, **claim)

    def _sent(self, delivery: Delivery) -> Sent:
        document = self._store.get(notice_path(delivery.account_id, delivery.notice_id))
        if document is None:
            return Sent(is_delivered=False, outcome="notice_deleted", is_final=True)
        notice = notice_from(document)
        if delivery.channel_kind == LOG:
            words = "" if self._workplace.settings.is_hosted else f"{notice.title}\n{notice.text}"
            self._workplace.log.notice(notice.account_id, notice.kind, words)
            return Sent(is_delivered=True, outcome="logged")
        if delivery.channel_id == OPERATORS_SLACK:
            return self._sender.by_operators_slack(notice)
        return self._by_channel(delivery, notice)

    def _by_channel(self, delivery: Delivery, notice: ToldNotice) -> Sent:
        found = [each for each in self._channels.of(self._account_id) if each.channel_id == self._channel_id]
        if not found:
            return Sent(is_delivered=False, outcome="channel_deleted", is_final=True)
        if not found[0].enabled:
            return Sent(is_delivered=False, outcome="channel_off", is_final=True)
        sent = self._sender.by_channel(found[0], notice, delivery.delivery_id)
        self._note_channel(found[0], sent)
        return sent

    def _settled(self, delivery: Delivery, sent: Sent) -> Counter[str]:
        did: Counter[str] = Counter()
        after = self._note(delivery, sent)
        if after.state == "delivered":
            did["logged" if after.channel_kind == LOG else "delivered"] = 1
        else:
            did["failed"] = int(not sent.is_final)
            did["given_up"] = int(after.state == "failed")
        return did

    def _note(self, delivery: Delivery, sent: Sent) -> Delivery:
        """Keep what came of the attempt; a delivery that was erased meanwhile stays so."""
        after = after_attempt(delivery, sent, self._clock.now())
        fields = {"state": after.state, "next_at": after.next_at, "outcome": after.outcome}
        with suppress(DocumentMissing):
            self._store.commit([Update(delivery_path(delivery.delivery_id), fields)])
        return after

    def _note_channel(self, channel: Channel, sent: Sent) -> None:
        """Keep how the channel fares; where that switched it off, its account is told by the others."""
        now = self._clock.now()
        if sent.is_delivered:
            noted_at = channel.last_success_at
            if not channel.failures and noted_at is not None and now - noted_at < SUCCESS_NOTED:
                return
        was_on = channel.enabled

        def edit(present: Channel) -> Channel:
            nonlocal was_on
            was_on = present.enabled
            if sent.is_delivered:
                return after_success(present, now)
            return after_failure(present, now, is_gone=sent.is_gone)

        try:
            after = self._channels.change(self._account_id, channel.channel_id, edit)
        except (NotFound, Conflict):
            return  # deleted meanwhile, or changed so often that this figure does not matter
        if was_on and not after.enabled:
            self._workplace.notices.tell(_of_channel_off(self._account_id, after, now))

    def _put_off(self, documents: Sequence[Document]) -> None:
        """Let others have their turn first."""
        later = self._clock.now() + AFTER_FAILURE
        for document in documents:
            with suppress(RevisionChanged, DocumentMissing):
                self._store.commit([Update(document.path, {"next_at": later}, if_revision=document.revision)])


def after_attempt(delivery: Delivery, sent: Sent, now: datetime) -> Delivery:
    """The delivery once that came of its latest attempt."""
    if sent.is_delivered:
        return msgspec.structs.replace(delivery, state="delivered", next_at=None, outcome=sent.outcome)
    if sent.is_final or sent.is_gone or delivery.attempts > len(RETRIES):
        return msgspec.structs.replace(delivery, state="failed", next_at=None, outcome=sent.outcome)
    next_at = now + RETRIES[delivery.attempts - 1]
    return msgspec.structs.replace(delivery, next_at=next_at, outcome=sent.outcome)


def _of_channel_off(account_id: str, channel: Channel, now: datetime) -> Notice:
    name = channel.name or channel.channel_id
    return Notice(
        account_id=account_id,
        kind="channel.off",
        level="warning",
        title=f"The {channel.kind} channel {name} was switched off",
        text=f"Nothing is sent by the {channel.kind} channel {name} any more: {channel.off_reason}. Once it"
        " works again, switch it on; what was not delivered can be sent again from the list of deliveries.",
        subject_id=channel.channel_id,
        data={"channel_id": channel.channel_id, "reason": channel.off_reason, "failures": channel.failures},
        once=now.isoformat(),
    )
