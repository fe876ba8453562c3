"""What one account's calls ask of Firestore, counted: `python -m bench.firestore_operations`.

Two instances, one account, one budget that governs all of its calls, for some minutes at 1,000 calls a second
and at one; by chance, and evenly, each instance in its turn. Counted at the store's own interface under the
product's own parts (`bench.simulated_instances`), on a clock that is moved: two runs count the same. What
each instance reads of changes twice a second, whatever the traffic, stands apart.
"""

import argparse
from collections.abc import Sequence
from typing import Final

from bench.fleet import Figures, Load, measured
from proxy_service.policy import CHANGES_POLL_SECONDS

BUDGETS: Final = 1
WRITES_OF_A_THOUSAND: Final = 150  # is what the project asks for at 1,000 calls a second
WRITES_OF_ONE: Final = 2 + BUDGETS  # and at one call a second

BUSY: Final = (
    Load("1,000 a second, by chance", 2, 1, 1, 1_000, 5, 20),
    Load("1,000 a second, evenly", 2, 1, 1, 1_000, 5, 20, is_even=True),
)
SLOW: Final = (
    Load("1 a second, by chance", 2, 1, 1, 1, 60, 600),
    Load("1 a second, evenly", 2, 1, 1, 1, 60, 600, is_even=True),
)


def main() -> None:
    """Count and print."""
    argparse.ArgumentParser(prog="python -m bench.firestore_operations", description=__doc__).parse_args()
    print(table([measured(load) for load in (*BUSY, *SLOW)]))


def table(found: Sequence[Figures]) -> str:
    """A line a load: operations of 1,000 events."""
    heads = ("events", "events a commit", "writes", "of leases", "asked for", "reads", "calls that waited")
    lines = ["of 1,000 events", f"{'':<28}" + "".join(f"{head:>18}" for head in heads)]
    for each in found:
        figures = (
            f"{each.events:,}",
            f"{each.events_a_commit:.1f}",
            f"{1_000 * each.writes_an_event:,.1f}",
            f"{1_000 * each.lease_writes_an_event:,.1f}",
            f"<= {asked_for(each.load):,}",
            f"{1_000 * each.reads_an_event:,.1f}",
            f"{each.waited}",
        )
        lines.append(f"{each.load.name:<28}" + "".join(f"{figure:>18}" for figure in figures))
    lines.append(
        "reads: keys in use, once a minute; counters, when leases are renewed. Beside, each instance reads "
        f"what changed {1 / CHANGES_POLL_SECONDS:.0f} times a second."
    )
    return "\n".join(lines)


def asked_for(load: Load) -> int:
    """How many writes of 1,000 events the project asks for."""
    return WRITES_OF_A_THOUSAND if load.calls_a_second >= WRITES_OF_A_THOUSAND else 1_000 * WRITES_OF_ONE


if __name__ == "__main__":
    main()
