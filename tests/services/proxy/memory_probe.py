"""The proxy, with somebody in its process who looks through its memory: one line in, one answer out.

Whatever line comes on standard input, the answer on standard output is how many live objects hold a text or
bytes with `MARK` in them. Only what is more than the mark itself counts: this module holds that.
"""

import gc
import sys
import threading

from proxy_service.main import main

MARK = b"-kept-by-nobody-"


def holders() -> int:
    """How many live objects have the mark in them."""
    gc.unfreeze()  # what was made at start holds things too
    gc.collect()
    found = 0
    seen: set[int] = set()
    waiting: list[object] = gc.get_objects()
    while waiting:
        for held in gc.get_referents(waiting.pop()):
            if id(held) not in seen:
                seen.add(id(held))
                found += _is_marked(held)
                if not gc.is_tracked(held):  # a tuple of bytes, say: the collector does not list it
                    waiting.append(held)
    return found


def _is_marked(thing: object) -> bool:
    if isinstance(thing, str):
        thing = thing.encode("utf-8", "surrogatepass")
    if isinstance(thing, bytearray):
        thing = bytes(thing)
    return isinstance(thing, bytes) and MARK in thing and thing != MARK and __doc__.encode() != thing


def answer_questions() -> None:
    """Answer each line until there are no more."""
    for _ in sys.stdin:
        sys.stdout.write(f"{holders()}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    threading.Thread(target=answer_questions, daemon=True).start()
    main()
