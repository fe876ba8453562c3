"""Memory over time as a picture, plain SVG: a panel for each kind of process, and below what went wrong."""

from collections.abc import Iterable, Sequence
from html import escape

from tests.system.soak.faults import Happened
from tests.system.soak.memory import Life

WIDTH, LEFT, RIGHT = 1100, 70, 40
PANEL_HEIGHT, GAP, TOP, LANE_HEIGHT = 220, 46, 56, 20
COLOURS = ("#1f6feb", "#d1570a", "#1a7f37", "#8250df")
FAULT_COLOUR, GRID_COLOUR, INK = "#cf222e", "#d0d7de", "#1f2328"
TICKS = 6
LEVELS = 5
STEPS = (5, 10, 20, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1_000, 10_000, 1_000_000)
NARROWEST = 1.5  # so that a moment shows


def plot(title: str, lives: Sequence[Life], happened: Sequence[Happened], seconds: float) -> str:
    """The picture. `seconds` is how long the run took. A process that began anew begins a line anew."""
    names = list(dict.fromkeys(life.name for life in lives))
    panels = list(dict.fromkeys(name.split()[0] for name in names))
    lanes = sorted({each.lane for each in happened})
    height = TOP + len(panels) * (PANEL_HEIGHT + GAP) + len(lanes) * LANE_HEIGHT + GAP
    scale = Scale(max(seconds, 1.0))
    parts = [text(LEFT, 26, title, size=16)]
    top = TOP
    for panel in panels:
        within = [life for life in lives if life.name.split()[0] == panel]
        colours = {name: COLOURS[at] for at, name in enumerate(n for n in names if n.split()[0] == panel)}
        parts += memory_panel(panel, within, colours, scale, top)
        top += PANEL_HEIGHT + GAP
    parts += fault_lanes(lanes, happened, scale, top)
    background = f'<rect width="{WIDTH}" height="{height}" fill="white"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
        f' height="{height}" font-family="sans-serif">{background}{"".join(parts)}</svg>\n'
    )


class Scale:
    """Where a moment lies."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def x(self, at_seconds: float) -> float:
        """The distance from the left."""
        return LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, max(0.0, at_seconds / self.seconds))

    def ticks(self) -> list[tuple[float, str]]:
        """Moments to be named, with their names."""
        moments = [self.seconds * part / TICKS for part in range(TICKS + 1)]
        return [(self.x(at), f"{at / 60:.1f} min") for at in moments]


def memory_panel(
    panel: str, lives: Sequence[Life], colours: dict[str, str], scale: Scale, top: float
) -> Iterable[str]:
    """The lines of one kind of process, from 0 to a little above the most."""
    largest = max((sample.megabytes for life in lives for sample in life.samples), default=1.0)
    step = next(each for each in STEPS if each * LEVELS > largest)
    most = step * LEVELS
    bottom = top + PANEL_HEIGHT

    def y(megabytes: float) -> float:
        return bottom - PANEL_HEIGHT * megabytes / most

    yield text(LEFT, top - 10, f"{panel}: resident memory, MB", size=13)
    for level in range(0, most + 1, step):
        yield line(LEFT, y(level), WIDTH - RIGHT, y(level), GRID_COLOUR)
        yield text(LEFT - 8, y(level) + 4, f"{level}", anchor="end")
    for x, name in scale.ticks():
        yield text(x, bottom + 16, name, anchor="middle")
    for at, (name, colour) in enumerate(colours.items()):
        x = WIDTH - RIGHT - 180 + 90 * at
        yield f'<rect x="{x}" y="{top - 20}" width="12" height="12" fill="{colour}"/>'
        yield text(x + 16, top - 10, name)
    for life in lives:
        points = " ".join(f"{scale.x(s.at_seconds):.1f},{y(s.megabytes):.1f}" for s in life.samples)
        colour = colours[life.name]
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        if life.samples:
            x, height = scale.x(life.samples[0].at_seconds), y(life.samples[0].megabytes)
            yield f'<circle cx="{x:.1f}" cy="{height:.1f}" r="2.5" fill="{colour}"/>'


def fault_lanes(
    lanes: Sequence[str], happened: Sequence[Happened], scale: Scale, top: float
) -> Iterable[str]:
    """A line for each part, with what went wrong there."""
    for at, lane in enumerate(lanes):
        y = top + at * LANE_HEIGHT
        yield text(LEFT - 8, y + 11, lane, anchor="end")
        yield line(LEFT, y + 7, WIDTH - RIGHT, y + 7, GRID_COLOUR)
        for each in happened:
            if each.lane == lane:
                x = scale.x(each.began_seconds)
                width = max(NARROWEST, scale.x(each.ended_seconds) - x)
                took = each.ended_seconds - each.began_seconds
                yield (
                    f'<rect x="{x:.1f}" y="{y + 1}" width="{width:.1f}" height="12" fill="{FAULT_COLOUR}"'
                    f' fill-opacity="0.7"><title>{escape(each.name)}, {took:.1f} s</title></rect>'
                )


def line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    """A thin line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def text(x: float, y: float, said: str, *, size: int = 11, anchor: str = "start") -> str:
    """A few words."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{INK}">'
        f"{escape(said)}</text>"
    )
