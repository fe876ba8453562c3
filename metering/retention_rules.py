"""How long things are kept: one table, by which the job deletes, the API answers and docs/retention.md tells.

Each rule names the collections it is about. Those with a `moment` go `kept` after that field of theirs says,
by the job `retain`, which needs no more than that; what is not told by one moment alone is the business of
`metering.retention`.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import msgspec

EVENTS_STORED_MIN: Final = timedelta(days=8)  # recovery must find what it is to compare with
ERASED_WITHIN: Final = timedelta(days=30)


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """How long something is kept. `kept` None: as `until` says.

    `moment` is the indexed field from which `kept` counts, of documents below the account unless `is_shared`.
    """

    what: str
    until: str
    kept: timedelta | None = None
    collections: tuple[str, ...]
    moment: str = ""
    is_shared: bool = False


RULES: Final[Mapping[str, Rule]] = {
    "events": Rule(
        what="Cost events, one by one, and the sessions they make up",
        until="as many days after the call as the account's `events_kept_days` says, which its plan bounds;"
        " hidden then at once, and deleted, 8 days after the call at the earliest",
        collections=("segments", "session_hours"),
    ),
    "usage": Rule(
        what="Usage and costs, summed up by quarter of an hour",
        until="as long as the account; no call can be told from it",
        collections=("days",),
    ),
    "fingerprints": Rule(
        what="Prompt fingerprints in those sums, where the account has them made",
        until="as long as the events they are of, and a day more at most; the sums stay, as of calls without"
        " a fingerprint",
        collections=(),
    ),
    "shards": Rule(
        what="Sums on their way into those",
        until="8 days after they were added up",
        kept=timedelta(days=8),
        collections=("quarters", "active_days"),
    ),
    "counts": Rule(
        what="Counts of calls by instance, which show that none is missing",
        until="40 days after their day",
        kept=timedelta(days=40),
        collections=("counts",),
    ),
    "checks": Rule(
        what="Results of the nightly check",
        until="400 days after their day",
        kept=timedelta(days=400),
        collections=("checks",),
    ),
    "counters": Rule(
        what="What budgets counted in a period",
        until="400 days after the period's end",
        kept=timedelta(days=400),
        collections=("budget_periods",),
    ),
    "leases": Rule(
        what="Closed leases of budgets",
        until="9 days after they expired",
        kept=timedelta(days=9),
        collections=("leases",),
    ),
    "sessions": Rule(
        what="Sessions of people who logged in, and log-ins under way",
        until="until they expire, at most 7 days; or until they log out",
        kept=timedelta(0),
        collections=("sessions",),
        moment="expires_at",
        is_shared=True,
    ),
    "tokens": Rule(
        what="Tokens that were mailed, such as for a new password",
        until="until they are used or expire, at most 24 hours",
        kept=timedelta(0),
        collections=("tokens",),
        moment="expires_at",
        is_shared=True,
    ),
    "sign_ins": Rule(
        what="Sign-ins that are under way elsewhere, or wait for a second factor",
        until="until they are done or expire, at most 24 hours",
        kept=timedelta(0),
        collections=("sign_ins",),
        moment="expires_at",
        is_shared=True,
    ),
    "invites": Rule(
        what="Invites, with the address they were mailed to",
        until="until they are used, withdrawn or expire, at most 7 days",
        kept=timedelta(0),
        collections=("invites",),
        moment="expires_at",
        is_shared=True,
    ),
    "audit_events": Rule(
        what="The audit log: who changed what, or was refused to",
        until="90 days",
        kept=timedelta(days=90),
        collections=("audit_events",),
        moment="at",
    ),
    "repeats": Rule(
        what="Sealed answers for requests that are repeated with their Idempotency-Key",
        until="24 hours",
        kept=timedelta(0),
        collections=("idempotency",),
        moment="ends_at",
        is_shared=True,
    ),
    "rates": Rule(
        what="Counts of requests and of attempts to log in, by keyed hashes",
        until="1 hour after their window",
        kept=timedelta(hours=1),
        collections=("rates",),
        moment="ends_at",
        is_shared=True,
    ),
    "notices": Rule(
        what="Notices that were told",
        until="90 days",
        kept=timedelta(days=90),
        collections=("notices",),
        moment="created_at",
    ),
    "deliveries": Rule(
        what="What became of each delivery of a notice",
        until="90 days",
        kept=timedelta(days=90),
        collections=("deliveries",),
        moment="created_at",
        is_shared=True,
    ),
    "alerts": Rule(
        what="Alerts",
        until="400 days after they fired",
        kept=timedelta(days=400),
        collections=("alerts",),
        moment="fired_at",
    ),
    "reconciliations": Rule(
        what="What providers say they charged, by day and model",
        until="400 days after the day",
        kept=timedelta(days=400),
        collections=("reconciliations",),
        moment="starts_at",
    ),
    "infrastructure": Rule(
        what="Costs and use of infrastructure",
        until="400 days after the day",
        kept=timedelta(days=400),
        collections=("infrastructure_days",),
        moment="starts_at",
    ),
    "measurements": Rule(
        what="Measurements of the service for its status page, which are of no account",
        until="31 days",
        kept=timedelta(days=31),
        collections=("status_days",),
        moment="starts_at",
        is_shared=True,
    ),
    "account": Rule(
        what="The account itself: its people, keys, budgets, rules, settings and channels",
        until="until it is changed or deleted, or the account is erased",
        collections=(
            "accounts", "policies", "keys", "people", "emails", "identities", "second_factors", "memberships",
            "seedings", "channels", "alert_looks", "report_schedules", "namespace_maps",
        ),
    ),
    "erased_accounts": Rule(
        what="Everything of an account that was erased",
        until="nobody gets at it from that moment on; deleted within minutes, and what came late within"
        " 30 days",
        kept=ERASED_WITHIN,
        collections=(),
    ),
    "books": Rule(
        what="Of an erased account: its id and that of who asked for it, which name nobody any more, and its"
        " calls and costs by month",
        until="7 years after the erasure",
        kept=timedelta(days=7 * 366),
        collections=("erasures",),
        moment="requested_at",
        is_shared=True,
    ),
    "service": Rule(
        what="The service's own bookkeeping: which accounts changed lately, how far recovery is",
        until="as long as the service; it is rewritten in place",
        collections=("changes", "recovery"),
    ),
}  # fmt: skip
