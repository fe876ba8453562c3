"""One run: what is sent, what is waited for, what is looked at, in that order."""

import secrets
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from metering.clock import Clock
from modeltrack_cli.calls import Answer, json_of
from modeltrack_cli.errors import CommandFailed
from modeltrack_cli.privacy import api_letters, logs, proxy_letters, record
from modeltrack_cli.privacy.api_letters import Operation, operations
from modeltrack_cli.privacy.canaries import Canaries
from modeltrack_cli.privacy.looking import Gaze, headers_of
from modeltrack_cli.privacy.reading import Reader
from modeltrack_cli.privacy.search import REQUEST_ID, Search, Wanted
from modeltrack_cli.privacy.sending import NAMES, UNANSWERED_MAX, Letter, Post, To
from modeltrack_cli.privacy.signing_in import sign_in, sign_out

POLL_SECONDS: Final = 1.0
QUIET_SECONDS: Final = 3.0  # so long no further event has come: the last instance has stored what it held
LOGS_SECONDS: Final = 1.0  # until lines that are under way are written
TOLD_ROUTES_MAX: Final = 200

_REQUEST_IDS: Final[dict[To, str]] = {"proxy": "X-ModelTrack-Request-ID", "api": "X-Request-ID"}
_OTHER: Final[dict[To, To]] = {"proxy": "api", "api": "proxy"}
_SETTINGS: Final[dict[To, str]] = {"proxy": "MODELTRACK_PROXY_URL", "api": "MODELTRACK_URL"}
_RELAYED: Final = (
    "X-ModelTrack-Overhead-Ms"  # on what came from upstream, and on no refusal of the proxy's own
)


class Person(msgspec.Struct, frozen=True):
    """An owner or admin who logs in; without an address nobody does. `code` gives a second factor's."""

    email: str
    password: str
    code: Callable[[], str]

    def __repr__(self) -> str:
        """That there is one."""
        return "Person(…)"


class Plan(msgspec.Struct, frozen=True):
    """What is to be looked at besides, and how long one waits for the events of what was sent.

    `keep`: where what was sent is kept for `look_again`.
    """

    api_url: str
    logs: Sequence[str]
    figures: Sequence[str]
    wait_seconds: float
    keep: Path | None = None


class Outcome(msgspec.Struct, frozen=True):
    """What came of it."""

    canaries: Canaries
    post: Post
    gaze: Gaze
    events: int


def run(
    post: Post, key: str, person: Person, plan: Plan, clock: Clock, say: Callable[[str], None]
) -> Outcome:
    """Send, wait, look. Raises: CommandFailed, where nothing can be begun."""
    say("looking whether these are the API and the proxy")
    _recognize(post)
    post.doors.key = key
    say("looking at what the API says of itself")
    listed = _described(post)
    values = _sign_in(post, plan.api_url, person, say)
    own = {"your key": key, "your password": person.password}
    own |= {f"your session's cookie {at}": value for at, value in enumerate(values, 1)}
    gaze = Gaze(post, Wanted(Canaries(), own))
    begun = _Begun(gaze, listed, f"{clock.now():%Y-%m-%dT%H:%M:%SZ}")
    try:
        return _sent_and_looked(begun, person.email, plan, say)
    finally:
        if not sign_out(post):
            gaze.troubles.append("the session of this run could not be ended: end it in your profile")


def look_again(post: Post, own: Mapping[str, str], kept: Path, given: Sequence[str]) -> Outcome:
    """Look through logs for what an earlier run sent. Raises: CommandFailed, without a run or a log."""
    earlier = record.load(kept)
    canaries = earlier.canaries()
    gaze = Gaze(post, Wanted(canaries, own))
    ids: dict[To, set[bytes]] = {
        to: {each.encode() for each in told} for to, told in earlier.request_ids.items()
    }
    gaze.wanted.request_ids = set().union(*ids.values())
    read_logs(gaze, _files(given), ids, sys.stdin.buffer)
    return Outcome(canaries, post, gaze, 0)


class _Begun(msgspec.Struct, frozen=True):
    """A run that has begun, and what it knows by then."""

    gaze: Gaze
    listed: Sequence[Operation]
    since: str


def _sent_and_looked(begun: _Begun, email: str, plan: Plan, say: Callable[[str], None]) -> Outcome:
    gaze, post, canaries = begun.gaze, begun.gaze.post, begun.gaze.wanted.canaries
    control = f"privacy-check-{secrets.token_hex(8)}"
    gaze.wanted.controls.add(control)
    answers = _Answers(gaze)
    say("sending through the proxy")
    answers.send_all("proxy", proxy_letters.letters(canaries, _told_routes(post)))
    say("sending to the API")
    has_session = post.doors.session is not None
    answers.send_all(
        "api", api_letters.letters(canaries, begun.listed, has_session=has_session, address=email)
    )
    own_call = answers.send("proxy", proxy_letters.control(control))
    answers.keep()
    if plan.keep is not None:
        record.save(plan.keep, canaries, answers.request_ids)
    say("waiting for the events")
    events = _arrived(gaze, own_call, begun.since, plan.wait_seconds)
    reader = Reader(gaze, since=begun.since, own_call=own_call)
    say("reading the account's export")
    reader.export(control)
    say("reading what the API tells")
    reader.operations(begun.listed)
    say("reading figures and pages")
    reader.figures(plan.figures)
    reader.pages()
    if plan.logs:
        say("reading logs")
        time.sleep(LOGS_SECONDS)
        read_logs(gaze, _files(plan.logs), answers.request_ids, sys.stdin.buffer)
    return Outcome(canaries, post, gaze, events)


class _Answers:
    """What was answered to what was sent: looked through where the deployment itself answered."""

    def __init__(self, gaze: Gaze) -> None:
        self.request_ids: dict[To, set[bytes]] = {"proxy": set(), "api": set()}
        self._gaze = gaze
        self._searches: dict[To, Search] = {
            "proxy": gaze.search("the proxy's own answers to these requests", is_told_back=True),
            "api": gaze.search("the API's answers to these requests", is_told_back=True),
        }

    def send_all(self, to: To, letters: Iterable[Letter]) -> None:
        for letter in letters:
            self.send(to, letter)

    def send(self, to: To, letter: Letter) -> str:
        """Send it; the request's id as it was told."""
        answer = self._gaze.post.send(letter)
        if answer is None:
            return ""
        request_id = answer.headers.get(_REQUEST_IDS[to], "")
        told = request_id.encode("utf-8", "replace")
        if REQUEST_ID.fullmatch(told):
            self.request_ids[to].add(told)
            self._gaze.wanted.request_ids.add(told)
        else:
            request_id = ""
        self._searches[to].feed(_own_words(to, answer))
        return request_id

    def keep(self) -> None:
        for search in self._searches.values():
            trouble = "" if search.bytes else "nothing was answered"
            self._gaze.keep(search, "names may be told back, values may not", trouble)
        for to, unanswered in self._gaze.post.unanswered.items():
            if unanswered:
                more = " and the rest was not sent" if unanswered >= UNANSWERED_MAX else ""
                self._gaze.troubles.append(
                    f"{unanswered} requests got no answer of {NAMES[to]} in time (--timeout), or none at all"
                    + more
                )


def _own_words(to: To, answer: Answer) -> bytes:
    """What the deployment itself said: of an answer that was relayed only the headers that it added."""
    if to == "proxy" and _RELAYED in answer.headers:
        names = [name for name in answer.headers if name.lower().startswith("x-modeltrack-")]
        return headers_of(answer, names) + b"\n"
    return answer.content + headers_of(answer) + b"\n"


def _recognize(post: Post) -> None:
    """See that each address is what it should be, before a key goes there or anything is sent.

    Raises: CommandFailed, with a line for each that is not.
    """
    wrong = [line for to in NAMES if (line := _mistaken(post, to))]
    if wrong:
        raise CommandFailed("\n".join(wrong))


def _mistaken(post: Post, to: To) -> str:
    """What is wrong with that address; "" where nothing is. No limit of requests counts `/health`."""
    try:
        answer = post.read(to, "/health", "nobody")
    except CommandFailed as failed:
        return str(failed)
    found, other = json_of(answer), _OTHER[to]
    is_well = isinstance(found, dict) and found.get("status") == "ok"
    if answer.status == 200 and is_well and _REQUEST_IDS[to] in answer.headers:
        return ""
    if answer.status == 200 and is_well and _REQUEST_IDS[other] in answer.headers:
        return f"{_SETTINGS[to]}: that is {NAMES[other]} of ModelTrack: give the address of {NAMES[to]}"
    return (
        f"{_SETTINGS[to]}: what answers there (/health: {answer.status}) is not {NAMES[to]} of ModelTrack:"
        f" give the address of {NAMES[to]}"
    )


def _described(post: Post) -> list[Operation]:
    answer = post.read("api", "/v1/account", "key")
    if answer.status != 200:
        raise CommandFailed(
            f"the API answers {answer.status} to the key: it needs the scopes proxy, read and stats"
        )
    answer = post.read("api", "/openapi.json", "nobody")
    listed = operations(json_of(answer))
    if answer.status != 200 or not listed:
        raise CommandFailed(f"the API's description could not be read (/openapi.json: {answer.status})")
    return listed


def _told_routes(post: Post) -> list[str]:
    """The routes that the proxy itself names to whoever asks for one that it does not have."""
    found = json_of(post.read("proxy", "/modeltrack-privacy-check", "nobody"))
    told = found.get("paths") if isinstance(found, dict) else None
    paths = [each for each in told or () if isinstance(each, str) and each.isprintable()]
    return [each for each in paths if each.startswith("/")][:TOLD_ROUTES_MAX]  # else it names another host


def _sign_in(post: Post, api_url: str, person: Person, say: Callable[[str], None]) -> tuple[str, ...]:
    if not person.email:
        return ()
    say("logging in")
    return sign_in(post, api_url, person.email, person.password, person.code)


def _arrived(gaze: Gaze, own_call: str, since: str, wait_seconds: float) -> int:
    """How many events of this run can be read, once the last call's can and no further ones come."""
    began = changed = time.monotonic()
    count, is_there = 0, False
    while own_call and (now := time.monotonic()) - began < wait_seconds:
        if is_there and now - changed > QUIET_SECONDS:
            break
        time.sleep(POLL_SECONDS)
        try:
            is_there = is_there or gaze.post.read("api", f"/v1/events/{own_call}", "key").status == 200
            search = gaze.search("events")
            gaze.post.read("api", f"/v1/exports/events?format=ndjson&start_time={since}", "key", search.feed)
        except CommandFailed:
            continue
        search.close()
        if len(search.request_ids) != count:
            count, changed = len(search.request_ids), now
    if not is_there:
        gaze.troubles.append(
            f"the event of this run's last call has not come within {wait_seconds:.0f} s: ask the doctor, or"
            " wait longer (--wait)"
        )
    return count


def _files(given: Sequence[str]) -> list[logs.LogFile]:
    try:
        return logs.files_of(given)
    except logs.Unread as unread:
        raise CommandFailed(str(unread)) from None


def read_logs(
    gaze: Gaze, files: Sequence[logs.LogFile], request_ids: dict[To, set[bytes]], standard_input: BinaryIO
) -> None:
    """Look through the logs. Each service's have to be among them: they tell of its requests by their ids."""
    left, seen = logs.BYTES_MAX, set[bytes]()
    for file in files:
        search, trouble = gaze.search(f"log {file.name}"), ""
        try:
            left -= logs.read(file, standard_input, search.feed, left)
        except logs.Unread as unread:
            trouble, left = str(unread), left - min(left, search.bytes)
        search.close()
        seen |= search.request_ids
        gaze.keep(search, f"tells of {len(search.request_ids)} requests of this run", trouble)
    for to, ids in request_ids.items():
        if not ids & seen:
            who = "the API" if to == "api" else "the proxy"
            gaze.troubles.append(
                f"the logs that were given do not cover {who} in this run: no id of its requests is in them"
                " (LOG_LEVEL info or debug; logs of this run, of every instance)"
            )
