"""Loaded first by each Python process that has this folder on its PYTHONPATH: writes down what it dials.

DIALLED_FILE gets a line for each address that a socket is connected or sent to, and for each name that is
looked up. uvloop does both in C, where nobody hears of it, so asyncio's own loop stands in for it; with
DIALLED_BY_UVLOOP it stays, and what it is asked to connect to is written down. What gRPC dials is not heard
of either: here that is the emulator alone.

DIALLED_PLANT is an address that each such process dials, like a library that calls home.
"""

import asyncio
import os
import socket
import sys
import threading
import types
from typing import Any

_FILE = os.open(os.environ["DIALLED_FILE"], os.O_APPEND | os.O_CREAT | os.O_WRONLY)
_TO_ADDRESS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
_OF_NAME = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}


def _note(event: str, args: tuple[Any, ...]) -> None:
    if event in _TO_ADDRESS and args[1] is not None:
        address = args[1]
        where = f"{address[0]}:{address[1]}" if isinstance(address, tuple) else f"unix:{address!r}"
        os.write(_FILE, f"dialled {where}\n".encode())
    elif event in _OF_NAME and args[0]:
        name = args[0].decode() if isinstance(args[0], bytes) else args[0]
        os.write(_FILE, f"looked-up {name}\n".encode())


def _call_home(address: str) -> None:
    host, _, port = address.rpartition(":")
    with socket.socket() as caller:
        caller.connect_ex((host, int(port)))


def _listen_to_uvloop() -> None:
    import uvloop  # noqa: PLC0415 - only where it stays

    connect = uvloop.Loop.create_connection

    def noting(loop: Any, factory: Any, host: Any = None, port: Any = None, **more: Any) -> Any:
        if host is not None:
            os.write(_FILE, f"dialled {host}:{port}\n".encode())
        return connect(loop, factory, host, port, **more)

    uvloop.Loop.create_connection = noting  # type: ignore[method-assign,assignment]


def _stand_in_for_uvloop() -> None:
    loop: Any = types.ModuleType("uvloop")
    loop.new_event_loop = asyncio.new_event_loop
    loop.run = asyncio.run
    sys.modules["uvloop"] = loop


sys.addaudithook(_note)
if "DIALLED_BY_UVLOOP" in os.environ:
    _listen_to_uvloop()
else:
    _stand_in_for_uvloop()
if "DIALLED_PLANT" in os.environ:
    threading.Thread(target=_call_home, args=(os.environ["DIALLED_PLANT"],), daemon=True).start()
