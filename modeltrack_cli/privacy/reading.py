"""What the deployment tells afterwards: the full export, every question of the API, figures, pages."""

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from modeltrack_cli.calls import Answer, json_in
from modeltrack_cli.errors import CommandFailed
from modeltrack_cli.privacy.api_letters import Operation
from modeltrack_cli.privacy.looking import EXPORT_BYTES_MAX, Gaze, headers_of
from modeltrack_cli.privacy.sending import Opens, reason_of

EXPORT: Final = "/v1/account/export"
EXPORT_SOURCE: Final = "the account's export"
NEXT_PAGES_MAX: Final = 20
IDS_MAX: Final = 2  # of each kind, whose own answers are read, too
PAGES_MAX: Final = 150
PAGES_ALIKE_MAX: Final = 2  # of one address with another query
LINKS_OF_PAGE_MAX: Final = 500

FIGURES: Final = ("/metrics", "/stats", "/cache/stats", "/routing/stats", "/health", "/readyz", "/")
OPEN_PAGES: Final = (
    "/",
    "/login",
    "/sign-up",
    "/forgot-password",
    "/status",
    "/security",
    "/.well-known/security.txt",
)
FIRST_PAGE: Final = "/overview"
LOG_IN: Final = "/login"
NOT_FOLLOWED: Final = ("/v1/", "/static/", "/openapi.json")

_LINK: Final = re.compile(rb'href="(/[^"#]{0,500})["#]')
_ID: Final = re.compile(r"\b[a-z]+_[0-9a-f]{32}\b")
_LAST_LINE: Final = b'{"kind":"end"'


class Reader:
    """Reads all of it, with what opens it. `since` is when the run began; `own_call` one of its events."""

    def __init__(self, gaze: Gaze, *, since: str, own_call: str) -> None:
        self._gaze = gaze
        self._since = since
        self._own_call = own_call
        self._ids: dict[str, list[str]] = {}

    @property
    def _opens(self) -> Opens:
        return "session" if self._gaze.post.doors.session is not None else "key"

    def export(self, control: str) -> None:
        """The full export. It has to be whole, and to hold what is legitimately kept of this run."""
        if self._opens != "session":
            trouble = "no log-in was given (MODELTRACK_EMAIL, MODELTRACK_PASSWORD), and no key opens it"
            self._gaze.keep(self._gaze.search(EXPORT_SOURCE), trouble=trouble)
            return
        search = self._gaze.search(EXPORT_SOURCE)
        last = bytearray()

        def take(piece: bytes) -> None:
            search.feed(piece)
            last.extend(piece)
            del last[:-1024]

        trouble = ""
        try:
            answer = self._gaze.post.read("api", EXPORT, "session", take, EXPORT_BYTES_MAX)
            if answer.status != 200:
                trouble = f"it answers {answer.status}"
        except CommandFailed as error:
            trouble = reason_of(error)
        search.close()
        if not trouble and not last.rstrip(b"\n").rpartition(b"\n")[2].startswith(_LAST_LINE):
            trouble = "it is cut"
        if not trouble and control not in search.controls:
            trouble = "this run's own tag is not in it: it is another account's, or old, or is not read right"
        self._gaze.keep(search, "whole; this run's own tag stands in it", trouble)

    def operations(self, listed: Sequence[Operation]) -> None:
        """Every question of the API's description, in every format, with all pages."""
        asked = [each for each in listed if each.is_read and each.path != EXPORT]
        for operation in sorted(asked, key=lambda each: len(each.named("path"))):
            for path in self._paths(operation):
                for form in _formats(operation):
                    self._question(operation, path, form)

    def _paths(self, operation: Operation) -> Iterator[str]:
        """Its path, with ids of what is there where it wants one."""
        names = operation.named("path")
        if not names:
            yield operation.path
            return
        if len(names) > 1:
            return
        name, base = names[0], operation.path.partition("/{")[0]
        ids = [self._own_call] if name == "request_id" else self._ids.get(base, [])
        for each in ids[:IDS_MAX]:
            yield operation.path.replace(f"{{{name}}}", quote(each, safe=""))

    def _question(self, operation: Operation, path: str, form: str) -> None:
        wanted = _demanded(operation) | ({"format": form} if form else {})
        if "start_time" in operation.named("query"):
            wanted = {"start_time": self._since, **wanted}
        page, query = "", dict(wanted)
        for _ in range(NEXT_PAGES_MAX):
            content, is_read = self._answer(operation, path, {**query, **({"page": page} if page else {})})
            if not is_read and "start_time" in query:
                del query["start_time"]  # it wants another form of it, or a longer range
                content, _ = self._answer(operation, path, query)
            found = json_in(content)
            if not operation.named("path"):
                self._ids.setdefault(path, []).extend(_ids(found))
            following = found.get("next_page") if isinstance(found, dict) else None
            page = following if isinstance(following, str) else ""
            if not page or "page" not in operation.named("query"):
                return

    def _answer(self, operation: Operation, path: str, query: Mapping[str, str]) -> tuple[bytes, bool]:
        shown = f"API GET {operation.path}" + (f" ({query['format']})" if "format" in query else "")
        address = f"{path}?{urlencode(query)}" if query else path
        search, answer, content, trouble = self._gaze.read(shown, "api", address, self._opens)
        if answer is not None and answer.status == 422 and "start_time" in query:
            self._gaze.spots += search.spots.values()
            return b"", False
        trouble = trouble or self._trouble(operation, answer)
        note = "" if answer is None or answer.status == 200 else f"it answers {answer.status}"
        if not trouble and operation.path == "/metrics" and b"modeltrack_" not in content:
            trouble = "there are no figures in it"
        self._gaze.keep(search, note, trouble)
        return content, True

    def _trouble(self, operation: Operation, answer: Answer | None) -> str:
        status = answer.status if answer is not None else 0
        if status in {401, 403} and self._opens == "key":
            is_for_people = "key" not in operation.opens
            return "no log-in was given" if is_for_people else "the key needs the scopes read and stats"
        is_untold = status in {0, 401, 403, 429} or 300 <= status < 400 or status >= 500
        return f"it answers {status}" if is_untold else ""

    def figures(self, addresses: Sequence[str]) -> None:
        """Those of the proxy, and at addresses that were given."""
        for path in FIGURES:
            search, answer, content, trouble = self._gaze.read(f"proxy GET {path}", "proxy", path, "key")
            status = answer.status if answer is not None else 0
            if not trouble and status not in {200, 404}:
                trouble = f"it answers {status}" + (
                    ": the key needs the scope stats" if status in {401, 403} else ""
                )
            if not trouble and path == "/metrics" and b"modeltrack_" not in content:
                trouble = "there are no figures in it"
            self._gaze.keep(search, "", trouble)
        for address in addresses:
            host = urlsplit(address).netloc.rpartition("@")[2]  # before it, a password may stand
            search, trouble = self._gaze.search(f"figures at {host}"), ""
            try:
                answer = self._gaze.post.read_elsewhere(address)
                search.feed(answer.content + headers_of(answer))
                trouble = "" if b"modeltrack_" in answer.content else "there are no figures in it"
            except CommandFailed as error:
                trouble = reason_of(error)
            self._gaze.keep(search, "", trouble)

    def pages(self) -> None:
        """Those that anybody sees, and from the first on all that lead on from one to another."""
        for path in OPEN_PAGES:
            self._page(path, "nobody")
        if self._opens != "session":
            return
        waiting, seen = [FIRST_PAGE], {FIRST_PAGE}
        alike: dict[str, int] = {}
        while waiting and len(seen) <= PAGES_MAX:
            content = self._page(waiting.pop(0), "session")
            for link in _LINK.findall(content)[:LINKS_OF_PAGE_MAX]:
                path = html.unescape(link.decode("utf-8", "replace"))
                bare = _shown(path)
                if path in seen or path.startswith(("//", *NOT_FOLLOWED)) or "\\" in path:
                    continue
                alike[bare] = alike.get(bare, 0) + 1
                if alike[bare] <= PAGES_ALIKE_MAX:
                    seen.add(path)
                    waiting.append(path)

    def _page(self, path: str, opens: Opens) -> bytes:
        who = "anybody" if opens == "nobody" else "you"
        shown = "/…" if self._gaze.wanted.holds(_shown(path)) else _shown(path)
        search, answer, content, trouble = self._gaze.read(f"page {shown} for {who}", "api", path, opens)
        status = answer.status if answer is not None else 0
        if not trouble and (status >= 500 or (opens == "session" and _leads_out(path, answer))):
            trouble = f"it answers {status}"
        self._gaze.keep(search, "" if status == 200 else f"it answers {status}", trouble)
        return content


def _leads_out(path: str, answer: Answer | None) -> bool:
    """Whether the page is shown to nobody who is logged in as we are: nothing of it was seen then."""
    if answer is None or answer.status == 200:
        return False
    return path == FIRST_PAGE or urlsplit(answer.headers.get("Location", "")).path == LOG_IN


def _shown(path: str) -> str:
    """The page's address without what it asks for and without ids."""
    return _ID.sub("{id}", path.partition("?")[0])


def _formats(operation: Operation) -> list[str]:
    for each in operation.parameters:
        schema = each.get("schema")
        if each["name"] == "format" and isinstance(schema, dict) and isinstance(schema.get("enum"), list):
            return [str(form) for form in schema["enum"]]
    return [""]


def _demanded(operation: Operation) -> dict[str, str]:
    """The parameters that a question cannot go without, as the description's examples have them."""
    found = {}
    for each in operation.parameters:
        if each["in"] == "query" and each.get("required") is True and isinstance(each.get("schema"), dict):
            schema = each["schema"]
            choices = schema.get("enum")
            first = choices[0] if isinstance(choices, list) and choices else each["name"]
            found[str(each["name"])] = str(schema.get("example", first))
    return found


def _ids(found: Any) -> list[str]:
    """The ids of what a list tells of."""
    rows = found.get("data") if isinstance(found, dict) else None
    ids = [each.get("id", each.get("period")) for each in rows or () if isinstance(each, dict)]
    return [each for each in ids if isinstance(each, str)]
