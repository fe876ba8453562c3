"""What upstreams turned out not to understand of our edits. Bounded; forgotten with the process."""

from proxy_service.memory import Memory
from proxy_service.providers import Edit, PrepareSettings, refuses_include_usage
from proxy_service.wire import Origin

ORIGINS_REMEMBERED_MAX = 1024

_ON = PrepareSettings()
_OFF = PrepareSettings(inject_include_usage=False)


class UsageInjection:
    """Asking for `include_usage`, for as long as an upstream has not refused a call over it."""

    def __init__(self) -> None:
        self._refused_by: Memory[bool] = Memory(ORIGINS_REMEMBERED_MAX)

    def settings(self, origin: Origin) -> PrepareSettings:
        """How calls to that upstream are prepared."""
        return _OFF if self._refused_by.get(_name(origin)) else _ON

    def learn(self, origin: Origin, edits: tuple[Edit, ...], status: int, body: bytes) -> None:
        """An error answer has come: one that names what we added turns it off for that upstream."""
        if "include_usage" in edits and refuses_include_usage(status, body):
            self._refused_by.put(_name(origin), True)


def _name(origin: Origin) -> str:
    return f"{origin.scheme}://{origin.host}:{origin.port}{origin.prefix}"
