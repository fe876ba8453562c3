"""The bill of a million calls: one formula for all gateways, with the prices of `infra/bill.py`."""

import pytest

from bench.cost import GATEWAYS, Gateway, Saved, as_measured, bill, table
from bench.fleet import Figures, Load, measured
from infra.bill import (
    CALL_SECONDS,
    INSTANCE_GIB,
    INSTANCE_VCPU,
    LOGGED,
    REQUEST_LOG_BYTES,
    UTILIZATION,
    WRITES,
)


@pytest.fixture(scope="module")
def traffic() -> Figures:
    return measured(Load("a few accounts", 2, 3, 3, 5.0, 10, 20))


def test_a_second_of_a_processor_a_call_costs_what_a_hand_reckons(traffic: Figures) -> None:
    found = bill(Gateway("slow", 1e6, 1e6, 2_048), traffic, is_bound_by_open_calls=False)

    seconds = 1e6 / UTILIZATION
    assert found.processors == pytest.approx(seconds * INSTANCE_VCPU.usd)
    assert found.memory == pytest.approx(2 * seconds * INSTANCE_GIB.usd)
    assert found.logs == pytest.approx(1e6 * REQUEST_LOG_BYTES / LOGGED.per * LOGGED.usd)
    assert (found.operations, found.stored, found.journal) == (0, 0, 0)
    assert found.total == found.processors + found.memory + found.logs


def test_where_open_calls_bind_a_quick_gateway_costs_as_many_instances_as_a_slower_one(
    traffic: Figures,
) -> None:
    quick, slower = (
        bill(Gateway("", cpu, cpu, 100), traffic, is_bound_by_open_calls=True) for cpu in (100, 1_000)
    )

    assert quick.processors == slower.processors
    assert quick.processors == pytest.approx(1e6 * CALL_SECONDS / 1_000 / UTILIZATION * INSTANCE_VCPU.usd)


def test_firestore_costs_what_the_traffic_writes(traffic: Figures) -> None:
    found = bill(GATEWAYS[0], traffic, is_bound_by_open_calls=False)

    writes = 1e6 * traffic.writes_an_event / WRITES.per * WRITES.usd
    assert writes < found.operations < 2 * writes
    assert min(found.stored, found.journal) > 0


def test_what_a_bench_saved_counts_and_else_what_is_written_down() -> None:
    saved = Saved({"json": {"plain": {"ModelTrack": {"cpu": 1.0}}, "over TLS": {"ModelTrack": {"cpu": 2.0}}}})

    ours, own, *peers = as_measured(GATEWAYS, saved)

    assert ours.json_cpu_us == own.json_cpu_us == 2.0
    assert ours.stream_cpu_us == GATEWAYS[0].stream_cpu_us
    assert peers == list(GATEWAYS[2:])


def test_the_table_names_each_gateway(traffic: Figures) -> None:
    shown = table(GATEWAYS, traffic)

    assert all(each.name in shown for each in GATEWAYS)
