"""How slowly a caller may send a body. Pure: times are handed in."""

NEVER = float("inf")


class BodyPace:
    """Until when more of one body must have come: `deadline`.

    Bytes pay for time at the lowest rate, for the past and not ahead: however fast a body began, from then on
    it is at most `silent_seconds` behind that rate. Nothing moves the deadline past `whole_until`.
    """

    __slots__ = ("_paid_until", "_seconds_per_byte", "_silent_seconds", "_whole_until")

    def __init__(
        self, now: float, *, silent_seconds: float, bytes_per_second_min: float, whole_until: float = NEVER
    ) -> None:
        self._paid_until = now
        self._silent_seconds = silent_seconds
        self._seconds_per_byte = 1 / bytes_per_second_min
        self._whole_until = whole_until

    @property
    def deadline(self) -> float:
        """When the body counts as too slow, as things are now."""
        return min(self._paid_until + self._silent_seconds, self._whole_until)

    def came(self, size_bytes: int, now: float) -> None:
        """So many more bytes have come by now."""
        self._paid_until = min(now, self._paid_until + size_bytes * self._seconds_per_byte)
