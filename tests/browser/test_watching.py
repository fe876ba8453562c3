"""The watch over windows, and axe, see what they are there for: else they would let everything pass."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.axe import grave_violations
from tests.browser.watching import Watch

ORIGIN = "http://127.0.0.1:9"  # nobody is asked there: the answers are given in Chromium itself
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' http://localhost:1"

Show = Callable[[str], Page]


@pytest.fixture
def watch() -> Watch:
    return Watch({ORIGIN})


@pytest.fixture
def context(chromium: Browser, watch: Watch) -> Iterator[BrowserContext]:
    context = chromium.new_context(base_url=ORIGIN)
    watch.over(context)
    yield context
    context.close()


@pytest.fixture
def show(context: BrowserContext) -> Show:
    """Opens a page with that in its body, under a policy like ours."""

    def open_page(body: str) -> Page:
        document = (
            f"<!doctype html><html lang=en><title>A page</title><main><h1>A page</h1>{body}</main></html>"
        )
        headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": POLICY}
        context.route("**/page", lambda route: route.fulfill(body=document, headers=headers))
        context.route(
            "**/said.js", lambda route: route.fulfill(body="undefined.name", content_type="text/javascript")
        )
        page = context.new_page()
        page.goto("/page")
        return page

    return open_page


def test_of_a_page_without_fault_nothing_is_said(show: Show, watch: Watch) -> None:
    page = show("<p>All is well.</p>")

    assert not grave_violations(page)
    expect(page.get_by_role("heading")).to_have_text("A page")
    assert page.evaluate("() => [1, 2].map((each) => each * 2)") == [2, 4]
    assert not watch.complaints()


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        (
            "<script>1</script>",
            "content security policy: http://127.0.0.1:9/page: script-src-elem refused inline",
        ),
        ("<p style='color: red'>1</p>", "style-src-attr refused inline"),
        ("<img src=x onerror='1'>", "script-src-attr refused inline"),
        (
            "<img alt='' src='http://localhost:1/pixel.png'>",
            "asked another origin: http://localhost:1/pixel.png",
        ),
        ("<script src=/said.js></script>", "said by the browser: Cannot read properties of undefined"),
    ],
    ids=["script", "style", "attribute", "elsewhere", "error"],
)
def test_what_a_page_may_not_do_is_seen(show: Show, watch: Watch, body: str, seen: str) -> None:
    page = show(body)
    page.wait_for_load_state("networkidle")

    assert any(seen in each for each in watch.complaints()), watch.complaints()


def test_what_a_test_expects_in_the_console_is_no_complaint(show: Show, watch: Watch) -> None:
    watch.expected.append("of undefined")

    show("<script src=/said.js></script>").wait_for_load_state("networkidle")

    assert not watch.complaints()


def test_what_keeps_people_from_using_a_page_is_found(show: Show) -> None:
    (found,) = grave_violations(show("<input type=text>"))

    assert found.startswith("critical label: input")
