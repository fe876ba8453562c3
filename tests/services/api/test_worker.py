"""The worker's waiting: how long it gives a caller, and how many and how much it holds."""

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from contextvars import Context, ContextVar
from selectors import EVENT_READ, DefaultSelector
from typing import Any

import pytest

from api_service.bodies import BODY_BYTES_MAX
from api_service.callers import AHEAD_BYTES
from api_service.export_places import ExportPlace, ExportPlaces
from api_service.server import (
    ANSWER_SECONDS,
    KEEP_ALIVE_SECONDS,
    LINGER_SECONDS,
    REQUEST_SECONDS,
    Server,
    Worker,
)
from metering.stores import DocumentStore
from tests.builders import SECRET
from tests.doubles.at_once import AtOnce
from tests.doubles.clock import ManualClock
from tests.doubles.unreliable_store import UnreliableStore

PATIENCE_SECONDS = 10.0
A_MOMENT = 0.01
HALF_A_HEAD = b"GET / HTTP/1.1\r\nHost: x"
GET = HALF_A_HEAD + b"\r\n\r\n"
LAST_GET = HALF_A_HEAD + b"\r\nConnection: close\r\n\r\n"
LARGE = b"x" * (32 * 1024 * 1024)  # no socket takes this much at once


PIECE = b"y" * AHEAD_BYTES


class _Pieces:
    """An answer without an end, or with a fault in it; counts what was asked of it."""

    def __init__(self, fails_after: int | None = None) -> None:
        self.made = 0
        self.is_closed = False
        self._fails_after = fails_after

    def __iter__(self) -> Iterator[bytes]:
        while True:
            if self.made == self._fails_after:
                raise OSError
            self.made += 1
            yield PIECE

    def close(self) -> None:
        self.is_closed = True


class _Unclosable(_Pieces):
    """An answer that fails where it is given up."""

    def close(self) -> None:
        super().close()
        raise LookupError


def _answer(environ: dict[str, Any], start: Callable[..., object]) -> Iterable[bytes]:
    body = LARGE if environ["PATH_INFO"] == "/large" else b"ok"
    start("200 OK", [("Content-Length", str(len(body)))])
    return [body]


class _NoLog:
    def warning(self, *_: object) -> None: ...
    def access(self, *_: object) -> None: ...
    def debug(self, *_: object) -> None: ...


class Reception:
    """A worker with its poller and a listener, on a clock that a test moves."""

    def __init__(self, stack: ExitStack, **limits: int) -> None:
        self.clock = ManualClock()
        self._stack = stack
        self._listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        config = Server(lambda: pytest.fail("no application is loaded"), "127.0.0.1:0", 1).cfg
        self.worker = worker = Worker(0, 0, [], None, 60, config, _NoLog(), clock=self.clock, **limits)
        worker.wsgi = _answer
        worker.tpool = AtOnce()
        worker.poller = stack.enter_context(DefaultSelector())
        worker.method_queue.init()
        worker.poller.register(worker.method_queue.fileno(), EVENT_READ, worker.method_queue.run_callbacks)
        stack.callback(worker.tmp.close)
        stack.callback(worker.method_queue.close)
        stack.callback(self._give_up_everybody)

    def caller(self, sent: bytes = b"") -> socket.socket:
        """A new connection over which this is sent and has been read."""
        caller = socket.create_connection(self._listener.getsockname(), timeout=PATIENCE_SECONDS)
        self._stack.enter_context(caller)
        self.worker.accept(self._listener)
        if sent:
            self.send(caller, sent)
        return caller

    def send(self, caller: socket.socket, data: bytes) -> None:
        caller.sendall(data)
        self.turn()

    def turn(self) -> None:
        """Let the worker do what there is to do; there is something."""
        self.worker.wait_for_and_dispatch_events(PATIENCE_SECONDS)

    def _give_up_everybody(self) -> None:
        """Close every connection, an answered one included that the loop has yet to hear of."""
        self.worker.tpool = AtOnce()  # a test's own may be shut down by now
        while self.worker.nr_conns:
            self.worker.murder_keepalived(force=True)
            self.worker.wait_for_and_dispatch_events(0)

    def is_given_up_after(self, seconds: float) -> bool:
        """Whether the one caller is there until then, and is given up then."""
        self.clock.advance(seconds - A_MOMENT)
        self.worker.murder_keepalived()
        there_before = int(self.worker.nr_conns)
        self.clock.advance(A_MOMENT)
        self.worker.murder_keepalived()
        return (there_before, int(self.worker.nr_conns)) == (1, 0)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def is_open(caller: socket.socket) -> bool:
    caller.setblocking(False)
    try:
        return bool(caller.recv(1))
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False


def test_a_caller_that_says_nothing_is_given_up_in_time(stack: ExitStack) -> None:
    reception = Reception(stack)
    caller = reception.caller()

    assert reception.is_given_up_after(KEEP_ALIVE_SECONDS)
    assert not is_open(caller)


def test_a_request_has_so_long_from_its_first_byte_however_it_trickles(stack: ExitStack) -> None:
    reception = Reception(stack)
    caller = reception.caller(HALF_A_HEAD)

    reception.clock.advance(REQUEST_SECONDS - 1)
    reception.send(caller, b"x")

    assert reception.is_given_up_after(1)
    assert not is_open(caller)


def test_a_caller_has_so_long_to_take_its_answer(stack: ExitStack) -> None:
    reception = Reception(stack)
    caller = reception.caller(GET.replace(b"/ ", b"/large "))
    reception.turn()

    reception.clock.advance(ANSWER_SECONDS - 1)
    caller.recv(65_536)  # as slowly as it likes, it gets no more time

    assert reception.is_given_up_after(1)


def test_a_caller_behind_its_last_answer_is_read_from_for_so_long(stack: ExitStack) -> None:
    reception = Reception(stack)
    caller = reception.caller(LAST_GET)
    reception.turn()
    assert b"\r\nConnection: close\r\n" in caller.recv(65_536)

    reception.send(caller, b"what nobody waits for")

    assert reception.is_given_up_after(LINGER_SECONDS)


def test_an_answered_caller_may_rest_as_long_as_a_new_one(stack: ExitStack) -> None:
    reception = Reception(stack)
    caller = reception.caller(GET)
    reception.turn()
    assert caller.recv(65_536).startswith(b"HTTP/1.1 200 ")

    assert reception.is_given_up_after(KEEP_ALIVE_SECONDS)


@pytest.mark.parametrize("excess", [0, 1])
def test_where_too_much_is_collected_the_request_that_began_first_makes_room(
    stack: ExitStack, excess: int
) -> None:
    reception = Reception(stack, collected_bytes_max=2 * len(HALF_A_HEAD))
    first, second = reception.caller(HALF_A_HEAD), reception.caller(HALF_A_HEAD + b"x" * excess)

    assert (is_open(first), is_open(second)) == (not excess, True)


def test_what_was_collected_of_a_request_is_room_again_once_it_is_answered(stack: ExitStack) -> None:
    reception = Reception(stack, collected_bytes_max=len(GET))
    first = reception.caller(HALF_A_HEAD)
    reception.send(first, GET.removeprefix(HALF_A_HEAD))
    reception.turn()

    second = reception.caller(GET[:-1])

    assert first.recv(65_536).startswith(b"HTTP/1.1 200 ")
    assert (is_open(first), is_open(second)) == (True, True)


def test_with_too_many_connections_an_idle_one_makes_room_before_one_with_a_request(
    stack: ExitStack,
) -> None:
    reception = Reception(stack, connections_max=3)
    busy, idle = reception.caller(HALF_A_HEAD), reception.caller()
    assert (is_open(busy), is_open(idle)) == (True, True)

    third = reception.caller(HALF_A_HEAD)
    assert (is_open(busy), is_open(idle), is_open(third)) == (True, False, True)
    fourth = reception.caller()

    assert (is_open(busy), is_open(third), is_open(fourth)) == (False, True, True)


@pytest.mark.parametrize(("size", "is_last"), [(2, False), (BODY_BYTES_MAX + 1, True)])
def test_an_answer_to_a_body_that_is_too_large_says_that_it_is_the_last(
    stack: ExitStack, size: int, is_last: bool
) -> None:
    reception = Reception(stack)

    caller = reception.caller(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n{}" % size)
    reception.turn()

    assert (b"\r\nConnection: close\r\n" in caller.recv(65_536)) is is_last


def in_pieces(reception: Reception, pieces: Iterable[bytes]) -> None:
    def answer(_: dict[str, Any], start: Callable[..., object]) -> Iterable[bytes]:
        start("200 OK", [])
        return pieces

    reception.worker.wsgi = answer


def test_a_long_answer_is_made_no_faster_than_its_caller_takes_it(stack: ExitStack) -> None:
    reception, pieces = Reception(stack), _Pieces()
    in_pieces(reception, pieces)
    caller = reception.caller(GET)
    caller.settimeout(PATIENCE_SECONDS)
    taken = 0
    in_sockets = 16 * 1024 * 1024  # what the machine itself keeps for both ends
    while taken < 3 * in_sockets:
        reception.worker.wait_for_and_dispatch_events(0)
        taken += len(caller.recv(AHEAD_BYTES))
        assert pieces.made * AHEAD_BYTES <= taken + in_sockets + 2 * AHEAD_BYTES

    assert not pieces.is_closed


def test_who_does_not_take_the_next_piece_is_given_up_and_what_was_held_is_given_back(
    stack: ExitStack,
) -> None:
    reception, pieces = Reception(stack), _Pieces()
    in_pieces(reception, pieces)
    caller = reception.caller(GET)
    made = -1
    while made != pieces.made:
        made = pieces.made
        reception.worker.wait_for_and_dispatch_events(0)

    assert reception.is_given_up_after(ANSWER_SECONDS)
    assert pieces.is_closed
    assert caller.fileno() > 0


def test_an_answer_that_fails_in_the_middle_is_cut_and_never_ends_well(stack: ExitStack) -> None:
    reception, pieces = Reception(stack), _Pieces(fails_after=2)
    in_pieces(reception, pieces)
    caller = reception.caller(GET)
    caller.settimeout(PATIENCE_SECONDS)
    received = b""
    while not received or not pieces.is_closed or reception.worker.poller.get_map():
        reception.worker.wait_for_and_dispatch_events(0)
        more = caller.recv(AHEAD_BYTES)
        if not more:
            break
        received += more

    assert received.count(b"y") == 2 * AHEAD_BYTES
    assert not received.endswith(b"0\r\n\r\n")
    assert b"internal_error" not in received


def test_what_is_known_of_one_caller_is_known_in_no_other_callers_request(stack: ExitStack) -> None:
    reception, who = Reception(stack), ContextVar("who", default="nobody")
    known: list[str] = []

    def pieces() -> Iterator[bytes]:
        token = who.set("ada")
        try:
            while True:
                yield PIECE
        finally:
            who.reset(token)
            known.append("over")

    def answer(_: dict[str, Any], start: Callable[..., object]) -> Iterable[bytes]:
        known.append(who.get())
        start("200 OK", [("Connection", "close")])
        return pieces() if len(known) == 1 else []

    reception.worker.wsgi = answer
    for _ in range(2):
        reception.caller(LAST_GET)
        reception.turn()  # pieces are made, and wait to be sent

    assert known == ["nobody", "nobody"]
    while not known[2:]:  # until it waits for its caller, and is given up as by another thread
        reception.worker.wait_for_and_dispatch_events(0)
        Context().run(reception.worker.murder_keepalived, force=True)
    assert known[2:] == ["over"]


def test_what_fails_where_an_answer_is_given_up_harms_nobody_else(stack: ExitStack) -> None:
    reception, pieces = Reception(stack), _Unclosable()
    in_pieces(reception, pieces)
    reception.caller(LAST_GET)

    while not pieces.is_closed:
        reception.worker.wait_for_and_dispatch_events(0)
        reception.worker.murder_keepalived(force=pieces.made > 0)

    assert reception.worker.nr_conns == 0


class _Silent:
    """A store's silence, between `begins` and `speaks`; `asked` are the threads that wait meanwhile."""

    def __init__(self) -> None:
        self.begins, self.speaks, self.waits = threading.Event(), threading.Event(), threading.Event()
        self.asked: list[threading.Thread] = []

    def __call__(self) -> None:
        if self.begins.is_set():
            self.asked.append(threading.current_thread())
            self.waits.set()
            self.speaks.wait(PATIENCE_SECONDS)


class _Placed(_Pieces):
    """An answer without an end that holds an export's place."""

    def __init__(self, place: ExportPlace) -> None:
        super().__init__()
        self._place = place

    def close(self) -> None:
        self._place.give_back()
        super().close()


def test_a_store_that_is_silent_where_an_export_is_given_up_holds_up_nobody_else(
    stack: ExitStack, sqlite_store: DocumentStore
) -> None:
    reception, silent = Reception(stack), _Silent()
    reception.worker.tpool = stack.enter_context(ThreadPoolExecutor(2))
    stack.callback(silent.speaks.set)
    places = ExportPlaces(UnreliableStore(sqlite_store, before=silent), reception.clock, SECRET)
    pieces = _Placed(places.take("acct_a"))
    in_pieces(reception, pieces)
    reception.caller(LAST_GET)
    silent.begins.set()
    while not silent.waits.is_set():
        reception.worker.wait_for_and_dispatch_events(A_MOMENT)
        reception.worker.murder_keepalived(force=pieces.made > 0)

    reception.worker.wsgi = _answer
    other = reception.caller(LAST_GET)
    reception.turn()

    assert other.recv(65_536).startswith(b"HTTP/1.1 200 ")
    assert threading.current_thread() not in silent.asked
    assert not pieces.is_closed
    silent.speaks.set()
    reception.worker.tpool.shutdown()
    assert pieces.is_closed
