"""Every collection: where it lies and what it is found by. Paths are made here and nowhere else.

The store indexes what `INDEXED_FIELDS` lists and nothing else: SQLite reads this table; for Firestore a test
holds `firestore.indexes.json` (exemptions of everything else that is big or rises with time) against it.
"""

ACCOUNTS = "accounts"
KEYS = "keys"
POLICIES = "policies"
PEOPLE = "people"
EMAILS = "emails"
SESSIONS = "sessions"
MEMBERSHIPS = "memberships"
TOKENS = "tokens"
INVITES = "invites"
IDENTITIES = "identities"
SECOND_FACTORS = "second_factors"
SIGN_INS = "sign_ins"
CHANGES_PATH = "changes/current"
LEASES = "leases"
ACTIVE_DAYS = "active_days"
RECOVERY_PATH = "recovery/current"
SEEDINGS = "seedings"
RATES = "rates"
IDEMPOTENCY = "idempotency"
ERASURES = "erasures"
REPORT_SCHEDULES = "report_schedules"
DELIVERIES = "deliveries"
STATUS_DAYS = "status_days"

# Last part of the collection's path → the fields a Query may use there.
INDEXED_FIELDS: dict[str, tuple[str, ...]] = {
    "accounts": (),
    "keys": ("account_id",),
    "policies": (),
    "people": (),
    "emails": ("person_id",),
    "sessions": ("person_id", "expires_at"),
    "memberships": ("person_id", "account_id"),
    "tokens": ("person_id", "expires_at"),
    "invites": ("account_id", "expires_at"),
    "identities": ("person_id",),
    "second_factors": ("person_id",),
    "sign_ins": ("person_id", "expires_at"),
    "changes": (),
    "segments": ("last_at", "request_ids", "session_ids"),
    "quarters": ("starts_at",),
    "budget_periods": ("budget_id", "period"),
    "seedings": ("next_at",),
    "leases": ("account_id", "state", "expires_at"),
    "counts": ("day", "open_day"),
    "days": ("fingerprints_day",),
    "active_days": ("state",),
    "session_hours": ("hour",),
    "checks": ("day",),
    "recovery": (),
    "channels": (),
    "notices": ("created_at",),
    "deliveries": ("account_id", "channel_id", "next_at", "created_at"),
    "alerts": ("fired_at", "state"),
    "alert_looks": (),
    "reconciliations": ("starts_at",),
    "infrastructure_days": ("starts_at",),
    "namespace_maps": (),
    "report_schedules": ("account_id", "next_at"),
    "rates": ("ends_at",),
    "idempotency": ("account_id", "ends_at"),
    "audit_events": ("at",),
    "erasures": ("state", "requested_at"),
    "status_days": ("starts_at",),
}

# Collection → the field whose moment ends a document there, of those that Firestore itself may delete from
# then on (a TTL policy: usually within a day, one field a collection group, Timestamps only;
# https://cloud.google.com/firestore/docs/ttl, read 2026-11-21). It is a net below the job `retain`, which
# deletes sooner, and only where readers take for gone what is over. Not `leases`, which are folded when they
# are over, nor `rates`, whose spans are counted in the next one.
TTL_FIELDS: dict[str, str] = {
    "sessions": "expires_at",
    "tokens": "expires_at",
    "invites": "expires_at",
    "sign_ins": "expires_at",
    "idempotency": "ends_at",
}


def account_path(account_id: str) -> str:
    """Where an account is kept."""
    return f"{ACCOUNTS}/{account_id}"


def policy_path(account_id: str) -> str:
    """Where an account's compiled policy is kept."""
    return f"{POLICIES}/{account_id}"


def key_path(key_hash: str) -> str:
    """Where a key's record is kept."""
    return f"{KEYS}/{key_hash}"


def person_path(person_id: str) -> str:
    """Where a person is kept."""
    return f"{PEOPLE}/{person_id}"


def email_path(email_hash: str) -> str:
    """Where the claim on an e-mail address is kept, by the address's keyed hash."""
    return f"{EMAILS}/{email_hash}"


def session_path(session_hash: str) -> str:
    """Where a session is kept, by its id's keyed hash."""
    return f"{SESSIONS}/{session_hash}"


def membership_path(person_id: str, account_id: str) -> str:
    """Where a person's place in an account is kept."""
    return f"{MEMBERSHIPS}/{person_id}.{account_id}"


def token_path(token_hash: str) -> str:
    """Where a token that was mailed to somebody is kept, by its keyed hash."""
    return f"{TOKENS}/{token_hash}"


def invite_path(token_hash: str) -> str:
    """Where an invite to an account is kept, by the keyed hash of its link's token."""
    return f"{INVITES}/{token_hash}"


def identity_path(identity_hash: str) -> str:
    """Where it is kept whose an identity at Google or GitHub is, by the identity's keyed hash."""
    return f"{IDENTITIES}/{identity_hash}"


def second_factor_path(person_id: str) -> str:
    """Where a person's second factor is kept."""
    return f"{SECOND_FACTORS}/{person_id}"


def sign_in_path(sign_in_hash: str) -> str:
    """Where a sign-in that is under way is kept, by the keyed hash of what its browser holds."""
    return f"{SIGN_INS}/{sign_in_hash}"


def segments_collection(account_id: str) -> str:
    """The collection of an account's segments."""
    return f"{ACCOUNTS}/{account_id}/segments"


def quarters_collection(account_id: str) -> str:
    """The collection of an account's rollup shards, one or more a quarter hour."""
    return f"{ACCOUNTS}/{account_id}/quarters"


def budget_periods_collection(account_id: str) -> str:
    """The collection of an account's budgets' totals, a document a budget, period and value."""
    return f"{ACCOUNTS}/{account_id}/budget_periods"


def seeding_path(budget_id: str) -> str:
    """Where it is kept how far a budget counts what was spent before it was made."""
    return f"{SEEDINGS}/{budget_id}"


def budget_period_path(account_id: str, counter_id: str) -> str:
    """Where the totals of one budget in one period are kept."""
    return f"{budget_periods_collection(account_id)}/{counter_id}"


def lease_path(lease_id: str) -> str:
    """Where a lease is kept: beside those of all accounts, since one reaper looks after all."""
    return f"{LEASES}/{lease_id}"


def counts_collection(account_id: str) -> str:
    """The collection of what each instance admitted and stored for an account, a document a UTC day."""
    return f"{ACCOUNTS}/{account_id}/counts"


def days_collection(account_id: str) -> str:
    """The collection of an account's compacted rollups, a document or more a UTC day."""
    return f"{ACCOUNTS}/{account_id}/days"


def active_day_path(active_day_id: str) -> str:
    """Where it is noted that an account has rollups of a UTC day, for whoever compacts or deletes them."""
    return f"{ACTIVE_DAYS}/{active_day_id}"


def session_hours_collection(account_id: str) -> str:
    """The collection of an account's sessions by hour, packed."""
    return f"{ACCOUNTS}/{account_id}/session_hours"


def checks_collection(account_id: str) -> str:
    """The collection of what the nightly check of an account found, a document a UTC day."""
    return f"{ACCOUNTS}/{account_id}/checks"


def channels_path(account_id: str) -> str:
    """Where it is kept how an account is told of things, in one document: they are few."""
    return f"{ACCOUNTS}/{account_id}/channels/current"


def notices_collection(account_id: str) -> str:
    """The collection of what an account was told of."""
    return f"{ACCOUNTS}/{account_id}/notices"


def delivery_path(delivery_id: str) -> str:
    """Where the delivery of a notice to one channel is kept: beside all accounts', since one job delivers."""
    return f"{DELIVERIES}/{delivery_id}"


def alerts_collection(account_id: str) -> str:
    """The collection of an account's alerts."""
    return f"{ACCOUNTS}/{account_id}/alerts"


def rate_path(span_id: str) -> str:
    """Where it is counted what a subject, named by a keyed hash, did in a span of time."""
    return f"{RATES}/{span_id}"


def idempotency_path(claim_id: str) -> str:
    """Where the claim on an idempotency key is kept, by the keyed hash of the key and whose it is."""
    return f"{IDEMPOTENCY}/{claim_id}"


def audit_events_collection(account_id: str) -> str:
    """The collection of who changed what of an account."""
    return f"{ACCOUNTS}/{account_id}/audit_events"


def erasure_path(account_id: str) -> str:
    """Where it is kept how far the erasure of an account is, and what has to be kept after it."""
    return f"{ERASURES}/{account_id}"


def alert_look_path(account_id: str) -> str:
    """Where it is kept up to when an account's hours and forecasts were looked at for alerts."""
    return f"{ACCOUNTS}/{account_id}/alert_looks/current"


def report_schedules_path(account_id: str) -> str:
    """Where an account's schedules of reports are kept, in one document: they are few."""
    return f"{REPORT_SCHEDULES}/{account_id}"


def reconciliation_path(account_id: str, provider: str, day: str) -> str:
    """Where it is kept what a provider says a UTC day cost."""
    return f"{ACCOUNTS}/{account_id}/reconciliations/{provider}.{day}"


def infrastructure_day_path(account_id: str, day: str) -> str:
    """Where the infrastructure costs of an account's UTC day are kept."""
    return f"{ACCOUNTS}/{account_id}/infrastructure_days/{day}"


def namespace_map_path(account_id: str) -> str:
    """Where it is kept which team each of an account's namespaces is of, in one document."""
    return f"{ACCOUNTS}/{account_id}/namespace_maps/current"


def status_day_path(day: str) -> str:
    """Where it is kept what was measured of the service on a UTC day."""
    return f"{STATUS_DAYS}/{day}"
