"""Any fields that a document may hold, and any commits that a store may be asked for."""

from datetime import UTC
from typing import Any

from hypothesis import strategies as st

from metering.stores import Create, Delete, FieldPath, Increment, Put, Update, Write

INTEGERS = st.integers(-(2**63), 2**63 - 1)
NAMES = st.sampled_from(["a", "b", "a.b", "9c", "ö`\\", "A", " "])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    INTEGERS,
    st.text(st.characters(codec="utf-8"), max_size=8),
    st.binary(max_size=8),
    st.datetimes(timezones=st.just(UTC)),
)
VALUES = st.recursive(
    SCALARS,
    lambda held: (
        st.dictionaries(NAMES, held, max_size=3)
        | st.lists(st.one_of(SCALARS, st.dictionaries(NAMES, SCALARS, max_size=2)), max_size=3)
    ),
    max_leaves=6,
)
FIELDS = st.dictionaries(NAMES, VALUES, max_size=4)
FIELD_PATHS = st.lists(NAMES, min_size=1, max_size=3).map(tuple)
IDS = st.sampled_from(["d1", "d2", "d3"])


def _without_overlap(paths: dict[FieldPath, Any]) -> dict[FieldPath, Any]:
    return {
        path: value
        for path, value in paths.items()
        if not any(path[:length] in paths for length in range(1, len(path)))
    }


@st.composite
def increments(draw: st.DrawFn) -> Increment:
    paths = _without_overlap(draw(st.dictionaries(FIELD_PATHS, VALUES, min_size=1, max_size=5)))
    amounts = {path: draw(INTEGERS | st.integers(-5, 5)) for path in list(paths)[::2]}
    return Increment(draw(IDS), amounts, {path: paths[path] for path in list(paths)[1::2]})


@st.composite
def commits(draw: st.DrawFn) -> list[Write]:
    """Writes in an order that a store may be asked for: a create first, a delete last on its document."""
    later: list[Write] = draw(
        st.lists(st.builds(Put, IDS, FIELDS) | st.builds(Update, IDS, FIELDS) | increments(), max_size=4)
    )
    first = [Create(each, draw(FIELDS)) for each in draw(st.sets(IDS, max_size=2))]
    last = [Delete(each) for each in draw(st.sets(IDS, max_size=1))]
    return [*first, *later, *last] or [Delete("d1")]
