"""What a release consists of: two services and the functions, in the order in which they are replaced.

What reads goes before what writes, so that nothing meets documents or journal lines of a newer version than
its own: functions, then the API, then the proxy.
"""

from dataclasses import dataclass
from typing import Final, Literal

Image = Literal["proxy", "api"]
IMAGES: Final[tuple[Image, ...]] = ("proxy", "api")

# The targets of api_service/functions/jobs.py; tests/release holds the two together.
TARGETS: Final = (
    "recover",
    "reap",
    "seed",
    "compact",
    "retain",
    "erase",
    "check",
    "alert",
    "report",
    "deliver",
    "measure",
)


@dataclass(frozen=True)
class Service:
    """One Cloud Run service, and the image it runs. The scheduled ones are called by the scheduler only."""

    name: str
    image: Image
    is_scheduled: bool = False


API: Final = Service("modeltrack-api", "api")
PROXY: Final = Service("modeltrack-proxy", "proxy")
FUNCTIONS: Final = tuple(Service(f"modeltrack-{target}", "api", is_scheduled=True) for target in TARGETS)
ALL: Final = (*FUNCTIONS, API, PROXY)
