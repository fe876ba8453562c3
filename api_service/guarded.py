"""Changes that hold although somebody else changes the same thing at the same moment.

Whoever changes something reads it, decides, and commits on the condition that nothing that was read has
changed since. If it has, everything is done again from the reading on, a bounded number of times.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from metering.errors import AlreadyExists, DocumentMissing, RevisionChanged, StoreUnavailable
from metering.stores import DocumentStore, Write

ATTEMPTS_MAX = 8
PAUSE_SECONDS_MAX = 0.25

T = TypeVar("T")


def commit_guarded(
    store: DocumentStore,
    prepare: Callable[[], tuple[Sequence[Write], T]],
    pause: Callable[[float], None] = time.sleep,
) -> T:
    """Commit the writes that `prepare` makes, if any; gives what else it makes.

    `prepare` reads what it needs and may refuse by raising; its writes demand what it read. It runs again
    whenever somebody was faster, so it keeps nothing from an earlier run.
    Raises: StoreUnavailable, also when others kept changing the same thing; nothing has happened then.
    """
    for attempt in range(ATTEMPTS_MAX):
        writes, outcome = prepare()
        if not writes:
            return outcome
        try:
            store.commit(writes)
        except (RevisionChanged, AlreadyExists, DocumentMissing):
            pause(secrets.SystemRandom().uniform(0, min(PAUSE_SECONDS_MAX, 0.01 * 2**attempt)))
        else:
            return outcome
    raise StoreUnavailable("others kept changing the same; nothing was changed")
