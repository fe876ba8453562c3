"""The process-wide bound on request bodies in memory, from the first byte read to the last one sent on."""

from proxy_service.refusals import RequestRefused

BODIES_BYTES_MAX = 256 * 1024 * 1024


class BodyRoom:
    """Room for the bodies of all calls together."""

    def __init__(self, bytes_max: int = BODIES_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self.bytes_taken = 0

    def take(self, size_bytes: int) -> None:
        """Take room. Raises: RequestRefused (503) when there is not enough."""
        if self.bytes_taken + size_bytes > self._bytes_max:
            raise RequestRefused(503, "too_many_bodies", "too many large requests at once; try again shortly")
        self.bytes_taken += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Give room back."""
        self.bytes_taken -= size_bytes
