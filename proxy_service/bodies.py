"""The process-wide bound on request bodies in memory, from the first byte read to the last one sent on.

Room is taken for what a request says it will send, before it has, so that whoever is let in can finish. No
account keeps the others out by sending slowly: the second half of the room is for those that hold little.
"""

from collections import Counter
from typing import Final

from metering.accounts import LOCAL_ACCOUNT_ID
from proxy_service.call import Call
from proxy_service.refusals import RequestRefused
from proxy_service.wire import BodyTooLarge

BODIES_BYTES_MAX = 256 * 1024 * 1024
FIRST_STEP_BYTES: Final = 1024 * 1024  # of a body of unknown length; its room grows by this factor
STEP_FACTOR: Final = 8
HALF, EIGHTH = 2, 8


class BodyRoom:
    """Room for the bodies of all calls together. That of a body of unknown length grows in steps.

    An account may go on taking room from the second half up to an eighth of all; a machine's own one, freely.
    """

    def __init__(self, bytes_max: int = BODIES_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._by_account: Counter[str] = Counter()
        self.bytes_taken = 0

    async def read(self, call: Call, limit_bytes: int) -> bytes:
        """The call's whole body. Its room is taken until `give_back`.

        Raises: BodyTooLarge, RequestRefused (503) when there is no room, and what reading it raises.
        """
        head = call.head
        if head.is_chunked:
            body = await self._read_in_steps(call, limit_bytes)
        else:
            expected = head.content_length or 0
            if expected > limit_bytes:
                raise BodyTooLarge
            self._take(call, expected)
            body = await call.downstream.read_body(limit_bytes)
        self._take(call, len(body))
        call.body_bytes = len(body)
        return body

    def give_back(self, call: Call) -> None:
        """The call's body is no longer held."""
        self._take(call, 0)

    async def _read_in_steps(self, call: Call, limit_bytes: int) -> bytes:
        step = min(FIRST_STEP_BYTES, limit_bytes)
        while True:
            self._take(call, step)
            try:
                return await call.downstream.read_body(step)
            except BodyTooLarge:  # nothing is lost: what has come is there for the next step
                if step >= limit_bytes:
                    raise
            step = min(STEP_FACTOR * step, limit_bytes)

    def _take(self, call: Call, size_bytes: int) -> None:
        more = size_bytes - call.room_bytes
        if not more:
            return
        account_id = call.caller.account_id if call.caller else ""
        if more > 0 and not self._has_room(account_id, more):
            raise RequestRefused(503, "too_many_bodies", "too many large requests at once; try again shortly")
        self.bytes_taken += more
        call.room_bytes = size_bytes
        self._by_account[account_id] += more
        if not self._by_account[account_id]:
            del self._by_account[account_id]

    def _has_room(self, account_id: str, more: int) -> bool:
        after = self.bytes_taken + more
        if after <= self._bytes_max // HALF or account_id == LOCAL_ACCOUNT_ID:
            return after <= self._bytes_max
        is_small = self._by_account[account_id] + more <= self._bytes_max // EIGHTH
        return is_small and after <= self._bytes_max
