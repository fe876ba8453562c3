from xml.etree import ElementTree

from tests.system.soak.faults import Happened
from tests.system.soak.memory import Life, Sample
from tests.system.soak.plot import plot

SVG = "{http://www.w3.org/2000/svg}"
LIVES = [
    Life("proxy 1", 1, [Sample(0, 40), Sample(30, 41)]),
    Life("proxy 1", 2, [Sample(35, 38), Sample(60, 39)]),
    Life("api 1", 1, [Sample(0, 180), Sample(60, 181)]),
]
HAPPENED = [Happened("proxies", "proxy 1 is <killed>", 30, 35), Happened("store", "it is stopped", 10, 12)]


def drawn() -> ElementTree.Element:
    return ElementTree.fromstring(plot("a run", LIVES, HAPPENED, 60))  # noqa: S314 - made a moment ago


def test_each_process_has_a_line_of_its_own_from_its_start_to_its_end() -> None:
    lines = [line.attrib["points"].split() for line in drawn().iter(f"{SVG}polyline")]

    assert [len(points) for points in lines] == [2, 2, 2]
    starts = [float(points[0].partition(",")[0]) for points in lines]
    assert starts[0] < starts[1]


def test_each_fault_is_marked_and_named_as_text() -> None:
    titles = [title.text for title in drawn().iter(f"{SVG}title")]

    assert titles == ["proxy 1 is <killed>, 5.0 s", "it is stopped, 2.0 s"]


def test_nothing_lies_outside_of_the_picture() -> None:
    picture = drawn()
    width, height = float(picture.attrib["width"]), float(picture.attrib["height"])

    for shape in picture.iter(f"{SVG}rect"):
        assert float(shape.get("x", 0)) + float(shape.attrib["width"]) <= width
        assert float(shape.get("y", 0)) + float(shape.attrib["height"]) <= height


def test_a_run_that_ended_at_once_is_drawn_too() -> None:
    picture = ElementTree.fromstring(plot("nothing", [Life("proxy 1", 1)], [], 0.0))  # noqa: S314 - our own

    assert next(each.text for each in picture.iter(f"{SVG}text")) == "nothing"
