"""The process-wide bound on request bodies in memory, from the first byte read to the last one sent on."""

from proxy_service.call import Call
from proxy_service.refusals import RequestRefused
from proxy_service.wire import BodyTooLarge

BODIES_BYTES_MAX = 256 * 1024 * 1024


class BodyRoom:
    """Room for the bodies of all calls together. A body of unknown length takes the most it may have."""

    def __init__(self, bytes_max: int = BODIES_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self.bytes_taken = 0

    async def read(self, call: Call, limit_bytes: int) -> bytes:
        """The call's whole body. Its room is taken until `give_back`.

        Raises: BodyTooLarge, RequestRefused (503) when there is no room, and what reading it raises.
        """
        head = call.head
        expected = head.content_length
        if expected is None:
            expected = limit_bytes if head.is_chunked else 0
        if expected > limit_bytes:
            raise BodyTooLarge
        if self.bytes_taken + expected > self._bytes_max:
            raise RequestRefused(503, "too_many_bodies", "too many large requests at once; try again shortly")
        self._take(call, expected)
        body = await call.downstream.read_body(limit_bytes)
        self._take(call, len(body))
        call.body_bytes = len(body)
        return body

    def give_back(self, call: Call) -> None:
        """The call's body is no longer held."""
        self._take(call, 0)

    def _take(self, call: Call, size_bytes: int) -> None:
        self.bytes_taken += size_bytes - call.room_bytes
        call.room_bytes = size_bytes
