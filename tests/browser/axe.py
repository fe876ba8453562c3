"""axe-core's judgement of a page: what keeps people from reading or using it."""

from pathlib import Path
from typing import Any

from playwright.sync_api import Page

GRAVE = ("serious", "critical")
_SOURCE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()
# what still fades has no colour of its own yet
COME_TO_REST = """
async () => {
  const frame = () => new Promise(requestAnimationFrame);
  await frame(); await frame();
  const ends = (each) => each.effect.getComputedTiming().endTime < Infinity;
  await Promise.allSettled(document.getAnimations().filter(ends).map((each) => each.finished));
}
"""
_OPTIONS = {"resultTypes": ["violations"], "reporter": "v1"}
_COLOURS = {**_OPTIONS, "runOnly": ["color-contrast"]}  # all that another theme may change
_RUN = "(options) => axe.run(document, options)"


def grave_violations(page: Page, *, only_colours: bool = False) -> list[str]:
    """What axe finds serious or critical on the page as it is now, one line each place."""
    page.evaluate(COME_TO_REST)
    page.evaluate(_SOURCE)
    found: list[dict[str, Any]] = page.evaluate(_RUN, _COLOURS if only_colours else _OPTIONS)["violations"]
    return [
        f"{rule['impact']} {rule['id']}: {' '.join(node['target'])} – {node['failureSummary']}"
        for rule in found
        if rule["impact"] in GRAVE
        for node in rule["nodes"]
    ]
