"""Exact timers call back in the order in which they are due, those of the past soon."""

import asyncio

from bench.timers import Timers


def test_what_is_due_is_called_in_order_whatever_the_order_of_asking() -> None:
    async def called() -> list[int]:
        timers, order, done = Timers(), list[int](), asyncio.Event()
        for due in (3, 1, 2):
            timers.call_at(due, lambda due=due: order.append(due))  # type: ignore[misc]
        timers.call_at(4, done.set)
        await done.wait()
        timers.close()
        return order

    assert asyncio.run(called()) == [1, 2, 3]


def test_a_callback_may_ask_for_another() -> None:
    async def called() -> bool:
        timers, done = Timers(), asyncio.Event()
        timers.call_at(1, lambda: timers.call_at(2, done.set))
        await done.wait()
        timers.close()
        return True

    assert asyncio.run(called())
