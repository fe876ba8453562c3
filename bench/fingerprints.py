"""What a prompt's fingerprint costs a call, beside reading what the call asks; and with the setting off.

python -m bench.fingerprints
"""

import json
from functools import partial
from typing import Any

from bench.prices import best_microseconds
from metering.accounts import AccountSettings, Policy
from proxy_service.fingerprints import Fingerprints
from proxy_service.providers import Route, read_ask, read_template
from proxy_service.providers.templates import BODY_BYTES_MAX, TEMPLATE_BYTES_MAX

ACCOUNT_ID = f"acct_{1:032x}"
ROUTE = Route(
    provider="openai",
    dialect="openai",
    kind="metered",
    upstream="openai",
    target=b"/v1/chat/completions",
    operation="chat_completions",
)


def _tools(count: int) -> list[dict[str, Any]]:
    properties = {f"field_{number}": {"type": "string", "description": "words " * 8} for number in range(6)}
    schema = {"type": "object", "properties": properties}
    return [
        {"name": f"tool_{number}", "description": "does things " * 40, "input_schema": schema}
        for number in range(count)
    ]


def _call(system: int, tools: int, said: int) -> bytes:
    turns = [{"role": "user", "content": "word " * (said // 5)}]
    fields = {"model": "m", "system": "rule " * (system // 5), "tools": _tools(tools), "messages": turns}
    return json.dumps(fields).encode()


def _fingerprint(prints: Fingerprints, body: bytes) -> str:
    template = read_template(ROUTE, [], body)
    return "" if template is None else prints.of(ACCOUNT_ID, template)


def main() -> None:
    """Prints one line a call."""
    prints = Fingerprints(b"s" * 32)
    settings = Policy(account_id=ACCOUNT_ID, settings=AccountSettings()).settings
    calls = {
        "a question, no template": (_call(0, 0, 400), 20_000),
        "1 kB of system prompt": (_call(1_000, 0, 4_000), 20_000),
        "20 kB of system prompt, 10 tools": (_call(20_000, 10, 20_000), 2_000),
        "an agent: 60 kB, 40 tools, 400 kB of turns": (_call(60_000, 40, 400_000), 100),
        "as much template as is read": (_call(TEMPLATE_BYTES_MAX - 10, 0, 1_000), 100),
        "as long a call as is read": (_call(1_000, 0, BODY_BYTES_MAX - 4_000), 5),
        "the dearest there is": (b'{"system":[%b1]}' % (b"[]," * (TEMPLATE_BYTES_MAX // 3 - 2)), 5),
        "the dearest there is, before the first turn": (
            b'{"messages":[{"role":"system","content":[%b1]}]}' % (b"[]," * (TEMPLATE_BYTES_MAX // 3 - 20)),
            5,
        ),
    }
    off = best_microseconds(lambda: settings.prompt_fingerprints, 100_000)
    print(f"{'off':44} {off:12.2f} µs")
    for name, (body, times) in calls.items():
        asked = best_microseconds(partial(read_ask, ROUTE, [], body), times)
        made = best_microseconds(partial(_fingerprint, prints, body), times)
        print(f"{name:44} {made:12.2f} µs, beside {asked:10.2f} µs to read what is asked")


if __name__ == "__main__":
    main()
