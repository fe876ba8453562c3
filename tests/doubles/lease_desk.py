"""A real lease desk over a store in memory, whose syncs are done at once."""

from metering.clock import Clock
from metering.ids import new_instance_name
from metering.stores import DocumentStore
from proxy_service.desk import Desk
from tests.doubles.at_once import AtOnce
from tests.doubles.model_store import ModelStore


def make_desk(clock: Clock, store: DocumentStore | None = None) -> Desk:
    """A desk of a fresh instance; what the store refuses fails the test."""
    return Desk(store or ModelStore(), clock, new_instance_name(), threads=AtOnce(), on_fault=_fail)


def _fail(error: BaseException) -> None:
    raise AssertionError from error
