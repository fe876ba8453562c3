"""Passwords: hashed with Argon2id, a few at a time, and as slow for a stranger as for a member.

One hash takes `MEMORY_KIB` of memory, so at most `CONCURRENT_MAX` run at once, whatever the number of
log-ins that come; a few others wait a little, and the rest are asked to come back at once: who waits holds a
thread, and threads are for everybody.
"""

import base64
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from api_service.errors import Refused

MEMORY_KIB = 64 * 1024  # OWASP ASVS 5.0 appendix C asks for 46 MiB or more
PASSES = 2
CONCURRENT_MAX = 2
WAITING_MAX = 6  # with those that run, half of the threads there are (API_THREADS)
WAIT_SECONDS_MAX = 5.0
PASSWORD_CHARACTERS_MIN = 10
PASSWORD_CHARACTERS_MAX = 200
SALT_BYTES = 16
HASH_BYTES = 32


class Passwords:
    """Hashes and checks passwords. Safe to share between threads.

    Raises from `hashed` and `matches`: Refused (503) when too many wait already.
    """

    def __init__(
        self, *, memory_kib: int = MEMORY_KIB, passes: int = PASSES, wait_seconds: float = WAIT_SECONDS_MAX
    ) -> None:
        self._hasher = PasswordHasher(
            time_cost=passes,
            memory_cost=memory_kib,
            parallelism=1,
            hash_len=HASH_BYTES,
            salt_len=SALT_BYTES,
            type=Type.ID,
        )
        self._wait_seconds = wait_seconds
        self._places = threading.BoundedSemaphore(CONCURRENT_MAX)
        self._room = threading.BoundedSemaphore(CONCURRENT_MAX + WAITING_MAX)
        self._nobodys = _hash_of_nothing(memory_kib, passes)

    def hashed(self, password: str) -> str:
        """The password's hash, with its own salt and its parameters."""
        with self._place():
            return self._hasher.hash(password)

    def matches(self, stored: str | None, password: str) -> bool:
        """Whether the password is the one that was hashed. None stands for nobody: as slow, and never so."""
        with self._place():
            try:
                return self._hasher.verify(stored or self._nobodys, password) and stored is not None
            except (VerifyMismatchError, InvalidHashError):
                return False

    def is_outdated(self, stored: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    @contextmanager
    def _place(self) -> Iterator[None]:
        if not self._room.acquire(blocking=False):
            raise _busy()
        try:
            if not self._places.acquire(timeout=self._wait_seconds):
                raise _busy()
            try:
                yield
            finally:
                self._places.release()
        finally:
            self._room.release()


def _busy() -> Refused:
    return Refused(
        503, "busy", "too many people are logging in; try again in a moment", retry_after_seconds=5
    )


def _hash_of_nothing(memory_kib: int, passes: int) -> str:
    """A well-formed hash that no password is known for, made without the work of making one."""
    salt, digest = secrets.token_bytes(SALT_BYTES), secrets.token_bytes(HASH_BYTES)
    return f"$argon2id$v=19$m={memory_kib},t={passes},p=1${_unpadded(salt)}${_unpadded(digest)}"


def _unpadded(raw: bytes) -> str:
    return base64.b64encode(raw).decode().rstrip("=")
