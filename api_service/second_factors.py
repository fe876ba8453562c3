"""The second factor: codes that an app on somebody's phone shows (TOTP, RFC 6238), and codes on paper.

A person enrols by scanning a secret and showing one code of it; from then on each log-in asks for a code. The
secret is kept sealed, recovery codes as keyed hashes. Every code is good once, on all instances together: a
commit that uses one demands that nobody used any since it was read.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from api_service.errors import Complaint, Refused
from api_service.guarded import commit_guarded
from metering.accounts import Account
from metering.clock import Clock
from metering.collections import second_factor_path
from metering.errors import Conflict
from metering.sealing import Sealer
from metering.stores import Create, Delete, Document, DocumentStore, Put, Update, Write

STEP_SECONDS: Final = 30
STEPS_APART_MAX: Final = 1  # between the phone's clock and ours
SECRET_BYTES: Final = 20  # as long as what RFC 4226 asks for
RECOVERY_CODES: Final = 10
RECOVERY_CODE_BYTES: Final = 14  # from 112 bits on, a fast hash is enough (OWASP ASVS 5.0, 6.5.2)
ENROLMENT_SECONDS: Final = 900
ISSUER: Final = "ModelTrack"

Means = Literal["app", "recovery_code"]


class SecondFactor(msgspec.Struct, frozen=True, kw_only=True):
    """A person's second factor; it counts once it is `confirmed_at`.

    `last_step` is the 30 seconds of the last code that was used: no earlier one is good any more.
    """

    person_id: str
    sealed: bytes
    made_at: datetime
    confirmed_at: datetime | None = None
    last_step: int = 0
    recovery_hashes: tuple[str, ...] = ()


class Enrolment(msgspec.Struct, frozen=True):
    """What the app is to be told, shown once."""

    secret: str
    otpauth_url: str


class SecondFactors:
    """The second factors in a store. Every method raises StoreUnavailable."""

    def __init__(self, store: DocumentStore, clock: Clock, secret: bytes) -> None:
        self._store = store
        self._clock = clock
        self._sealer = Sealer(secret, "second factor")
        self._key = hmac.new(secret, b"modeltrack api: recovery codes", hashlib.sha256).digest()

    def of(self, person_id: str) -> SecondFactor | None:
        """The person's second factor, None where none counts."""
        document = self._store.get(second_factor_path(person_id))
        found = None if document is None else _factor(document)
        return found if found is not None and found.confirmed_at is not None else None

    def people_with(self, person_ids: Iterable[str]) -> set[str]:
        """Those of the people who have a second factor that counts."""
        found = self._store.get_many([second_factor_path(each) for each in person_ids])
        factors = map(_factor, found.values())
        return {each.person_id for each in factors if each.confirmed_at is not None}

    def is_owed(self, account: Account, person_id: str) -> bool:
        """Whether the account requires a second factor that the person, a member, does not have."""
        return account.second_factor_required_at is not None and self.of(person_id) is None

    def enrol(self, person_id: str, email: str) -> Enrolment:
        """A new secret, to be confirmed by one of its codes; an earlier one that was not is void.

        Raises: Conflict when one counts already.
        """
        import pyotp  # noqa: PLC0415 - seldom needed

        path, plain = second_factor_path(person_id), pyotp.random_base32(SECRET_BYTES * 8 // 5)
        factor = SecondFactor(
            person_id=person_id,
            sealed=self._sealer.sealed(plain.encode(), _place(path)),
            made_at=self._clock.now(),
        )

        def prepare() -> tuple[list[Write], Enrolment]:
            document = self._store.get(path)
            if document is not None and _factor(document).confirmed_at is not None:
                raise Conflict("you have a second factor already; switch it off first")
            write: Write = Create(path, _fields(factor))
            if document is not None:
                write = Put(path, _fields(factor), if_revision=document.revision)
            uri = pyotp.TOTP(plain).provisioning_uri(name=email, issuer_name=ISSUER)
            return [write], Enrolment(plain, uri)

        return commit_guarded(self._store, prepare)

    def confirm(self, person_id: str, code: str) -> tuple[str, ...]:
        """Let the enrolled secret count, by one of its codes: the recovery codes, never to be had again.

        Raises: Conflict (nothing is being enrolled), Refused (422).
        """
        codes = _recovery_codes()

        def prepare() -> tuple[list[Write], tuple[str, ...]]:
            document = self._store.get(second_factor_path(person_id))
            factor = None if document is None else _factor(document)
            is_open = factor is not None and factor.confirmed_at is None and self._is_recent(factor)
            if document is None or factor is None or not is_open:
                raise Conflict("no second factor is being set up, or that took too long; begin again")
            step = self._step_of(factor, document.path, code)
            if step is None:
                raise code_wrong()
            hashes = [self._hash(person_id, each) for each in codes]
            fields = {"confirmed_at": self._clock.now(), "last_step": step, "recovery_hashes": hashes}
            return [Update(document.path, fields, if_revision=document.revision)], codes

        return commit_guarded(self._store, prepare)

    def use(self, person_id: str, code: str) -> Means:
        """Use up a code of the app, or a recovery code. Raises: Refused (422) for one that is not good."""

        def prepare() -> tuple[list[Write], Means]:
            document, factor = self._counting(person_id)
            fields, means = self._use_of(factor, document.path, code)
            return [Update(document.path, fields, if_revision=document.revision)], means

        return commit_guarded(self._store, prepare)

    def renew_recovery_codes(self, person_id: str, code: str) -> tuple[str, ...]:
        """New recovery codes in place of all earlier ones, for a code. Raises: Refused (422)."""
        codes = _recovery_codes()

        def prepare() -> tuple[list[Write], tuple[str, ...]]:
            document, factor = self._counting(person_id)
            fields, _ = self._use_of(factor, document.path, code)
            fields["recovery_hashes"] = [self._hash(person_id, each) for each in codes]
            return [Update(document.path, fields, if_revision=document.revision)], codes

        return commit_guarded(self._store, prepare)

    def switch_off(self, person_id: str, code: str) -> None:
        """Ask for no codes any more, for a code. Raises: Refused (422)."""

        def prepare() -> tuple[list[Write], None]:
            document, factor = self._counting(person_id)
            self._use_of(factor, document.path, code)
            return [Delete(document.path, if_revision=document.revision)], None

        commit_guarded(self._store, prepare)

    def _counting(self, person_id: str) -> tuple[Document, SecondFactor]:
        document = self._store.get(second_factor_path(person_id))
        if document is None or (factor := _factor(document)).confirmed_at is None:
            raise Conflict("you have no second factor")
        return document, factor

    def _use_of(self, factor: SecondFactor, path: str, code: str) -> tuple[dict[str, object], Means]:
        """What changes when the code is used, and what it is."""
        step = self._step_of(factor, path, code)
        if step is not None:
            return {"last_step": step}, "app"
        given = self._hash(factor.person_id, code)
        left = [each for each in factor.recovery_hashes if not hmac.compare_digest(each, given)]
        if len(left) == len(factor.recovery_hashes):
            raise code_wrong()
        return {"recovery_hashes": left}, "recovery_code"

    def _step_of(self, factor: SecondFactor, path: str, code: str) -> int | None:
        """The 30 seconds that the code is of, None where it is of none that is good."""
        import pyotp  # noqa: PLC0415 - seldom needed

        given = "".join(code.split())
        totp = pyotp.TOTP(self._sealer.opened(factor.sealed, _place(path)).decode())
        now = int(self._clock.now().timestamp()) // STEP_SECONDS
        found = None
        for step in range(now - STEPS_APART_MAX, now + STEPS_APART_MAX + 1):
            is_it = hmac.compare_digest(totp.generate_otp(step).encode(), given.encode())
            if is_it and step > factor.last_step:
                found = step
        return found

    def _is_recent(self, factor: SecondFactor) -> bool:
        return self._clock.now() - factor.made_at < timedelta(seconds=ENROLMENT_SECONDS)

    def _hash(self, person_id: str, recovery_code: str) -> str:
        plain = "".join(each for each in recovery_code.lower() if each.isalnum())
        return hmac.new(self._key, f"{person_id}:{plain}".encode(), hashlib.sha256).hexdigest()


def code_wrong() -> Refused:
    """The refusal of a code, which does not say what is wrong with it."""
    text = "this code is wrong or was used already; wait for the next one"
    return Refused(422, "code_wrong", text, "code", [Complaint("code", text)])


def _recovery_codes() -> tuple[str, ...]:
    """Codes of 112 random bits, for people to copy: `1a2b3c4-d5e6f70-8192a3b-4c5d6e7`."""
    made = [secrets.token_hex(RECOVERY_CODE_BYTES) for _ in range(RECOVERY_CODES)]
    return tuple("-".join(each[at : at + 7] for at in range(0, len(each), 7)) for each in made)


def _place(path: str) -> str:
    return f"{path} sealed"


def _factor(document: Document) -> SecondFactor:
    return msgspec.convert(document.fields, SecondFactor)


def _fields(factor: SecondFactor) -> dict[str, object]:
    fields: dict[str, object] = msgspec.to_builtins(factor, builtin_types=(datetime, bytes))
    return fields
