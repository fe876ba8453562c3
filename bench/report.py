"""The printed comparison: medians of all rounds, ratios, and beside them what the project asks of itself.

A benchmark passes nothing and fails nothing: what is asked stands in words beside what was measured.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Final

from bench.answers import Wanted
from bench.gateways import DIRECT, FIRESTORE, LITELLM, NGINX, PORTKEY, SQLITE, UNGOVERNED
from bench.rows import RATE, STREAMS, Row

PLAIN, OVER_TLS = "plain", "over TLS"
Figures = dict[str, float]
Medians = dict[str, dict[str, float]]  # by gateway
Measured = dict[str, dict[str, dict[str, list[Figures]]]]  # row, plain or over TLS, gateway, rounds


_NAME_WIDTH: Final = 27
_WIDTH: Final = 13
_CORE_PERCENT: Final = 100


class Results:
    """Of one run: figures of every round, starts by gateway, and how records compare with what was served."""

    def __init__(self) -> None:
        self.measured: Measured = {}
        self.starts: dict[str, Figures] = {}
        self.audits: list[str] = []

    def add(self, row: str, side: str, gateway: str, figures: Figures) -> None:
        """What one round came to."""
        by_gateway = self.measured.setdefault(row, {}).setdefault(side, {})
        by_gateway.setdefault(gateway, []).append(figures)


def ending(results: Results) -> str:
    """What stands below the rows: starts, and what was recorded of them all."""
    starts = [starts_table(results.starts)] if results.starts else []
    return "\n".join([*starts, "", *results.audits])


def saved(results: Results) -> dict[str, object]:
    """The medians, for a program: `rows` by row, side and gateway; `starts` by gateway."""
    rows = {
        row: {side: medians(by_gateway) for side, by_gateway in sides.items()}
        for row, sides in results.measured.items()
    }
    return {"rows": rows, "starts": results.starts}


def share_of_others(results: Results) -> float:
    """How much of the gateway's core neither it nor an idle machine had; the median. Interrupts count."""
    shares = [
        figures["others"]
        for sides in results.measured.values()
        for by_gateway in sides.values()
        for gateway, rounds in by_gateway.items()
        if gateway != DIRECT
        for figures in rounds
    ]
    return statistics.median(shares) if shares else 0.0


def medians(by_gateway: Mapping[str, Sequence[Figures]]) -> Medians:
    """Of each gateway's rounds, each figure's median."""
    return {
        gateway: {label: statistics.median(each[label] for each in rounds) for label in rounds[0]}
        for gateway, rounds in by_gateway.items()
        if rounds
    }


def table(row: Row, measured: Mapping[str, Mapping[str, Sequence[Figures]]]) -> str:
    """One row, plain and over TLS side by side, and what was asked of it."""
    sides = {side: medians(by_gateway) for side, by_gateway in measured.items() if by_gateway}
    names = list(dict.fromkeys(name for side in sides.values() for name in side))
    heads, cells = _COLUMNS[row.kind]
    title = "".join(f"{f'upstream {side}':>{_WIDTH * len(heads)}}" for side in sides)
    lines = [
        f"\n{row.title}",
        f"{'':<{_NAME_WIDTH}}{title}",
        f"{'':<{_NAME_WIDTH}}" + "".join(f"{head:>{_WIDTH}}" for head in heads) * len(sides),
    ]
    for name in names:
        shown = (cells(name, side) if name in side else ("",) * len(heads) for side in sides.values())
        lines.append(
            f"  {name:<{_NAME_WIDTH - 2}}" + "".join(f"{cell:>{_WIDTH}}" for row_ in shown for cell in row_)
        )
    for side, by_name in sides.items():
        broken = [
            f"{name} broke {each['broken']:,.0f} calls" for name, each in by_name.items() if each["broken"]
        ]
        lines += [f"  {side}: {said}" for said in (*asked(row, by_name), *broken)]
    return "\n".join(lines)


def _saturated(name: str, side: Medians) -> tuple[str, str, str]:
    figures, base = side[name], side.get(NGINX, {}).get("cpu", 0.0)
    per_second = "" if name == FIRESTORE else f"{figures['rate']:,.0f}"
    if name == DIRECT:
        return "", "", per_second
    return f"{figures['cpu']:,.0f}", f"{figures['cpu'] / base:,.1f}" if base else "", per_second


def _steady(name: str, side: Medians) -> tuple[str, str, str, str]:
    figures, base = side[name], side.get(DIRECT)
    labels = ("whole p50", "whole p99", "first p50", "first p99")
    if base is None or name == DIRECT:
        shown = [f"{figures[label]:.2f}" for label in labels]
    else:
        shown = [f"{figures[label] - base[label]:+.2f}" for label in labels]
    return shown[0], shown[1], shown[2], shown[3]


def _streaming(name: str, side: Medians) -> tuple[str, str, str, str]:
    figures = side[name]
    if name == DIRECT:
        return f"{figures['whole']:,.0f}", f"{figures['gap max']:.0f}", "", ""
    return (
        f"{figures['whole']:,.0f}",
        f"{figures['gap max']:.0f}",
        f"{figures['resident']:.0f}",
        f"{figures['core'] * _CORE_PERCENT:.0f}",
    )


_COLUMNS = {
    "saturate": (("CPU us/call", "x nginx", "calls/s"), _saturated),
    "rate": (("whole p50 ms", "p99 ms", "first p50", "p99 ms"), _steady),
    "streams": (("whole", "longest gap", "MB", "% of core"), _streaming),
}


def asked(row: Row, side: Medians) -> list[str]:
    """What was asked of a row beside what was measured, a sentence each; of those gateways that took part."""
    ours = side.get(SQLITE)
    if ours is None:
        return []
    if row.kind == "rate":
        return _asked_latency(ours, side)
    if row.kind == "streams":
        return [
            f"{ours['whole']:,.0f} of {STREAMS:,} whole, longest gap {ours['gap max']:.0f} ms"
            f" (asked: all, at most 150), {ours['resident']:.0f} MB (120),"
            f" {ours['core'] * _CORE_PERCENT:.0f} % of the core (55)"
        ]
    said = []
    is_stream = row.wanted.chunks > 0
    if NGINX in side:
        most = {Wanted(): " (asked: at most 4.0)", Wanted(chunks=50): " (asked: at most 3.5)"}
        wanted = most.get(row.wanted, "") if row.is_for_all else ""
        said.append(f"{ours['cpu'] / side[NGINX]['cpu']:.1f} x nginx{wanted}")
    if UNGOVERNED in side:
        more = ours["cpu"] / side[UNGOVERNED]["cpu"] - 1
        said.append(f"governing adds {more:+.0%} (asked: at most +40%)")
    for name, least in ((LITELLM, 150), (PORTKEY, 12 if is_stream else 18)):
        if name in side:
            said.append(f"{name} x{side[name]['cpu'] / ours['cpu']:,.0f} (asked: at least x{least})")
    return ["; ".join(said)] if said else []


def _asked_latency(ours: Figures, side: Medians) -> list[str]:
    base = side.get(DIRECT)
    if base is None:
        return []
    p50, p99 = (ours[label] - base[label] for label in ("whole p50", "whole p99"))
    first_p50, first_p99 = (ours[label] - base[label] for label in ("first p50", "first p99"))
    return [
        f"at {RATE} calls/s ModelTrack adds {p50:.2f} ms at p50 (asked: at most 0.6), {p99:.2f} at p99 (2.5);"
        f" to the first byte {first_p50:.2f} and {first_p99:.2f}"
    ]


def starts_table(starts: Mapping[str, Figures]) -> str:
    """From starting a process to its first proxied byte, and its memory before any load."""
    lines = ["\nprocess start to first proxied byte, and resident memory idle after one call"]
    for name, figures in starts.items():
        start = f"{figures['start']:>9.0f} ms" if "start" in figures else f"{'':>12}"
        idle = f"{figures['idle']:>9.0f} MB" if "idle" in figures else ""
        lines.append(f"  {name:<{_NAME_WIDTH - 2}}{start}{idle}")
    return "\n".join([*lines, "  asked of ModelTrack, Firestore configured: at most 400 ms and 80 MB"])
