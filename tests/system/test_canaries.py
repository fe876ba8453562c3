"""Prompts, answers and keys are in nothing that we keep or say, at LOG_LEVEL=debug, whatever goes wrong."""

import base64
import gzip
import json
import re
import secrets
import sqlite3
import string
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
import requests
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from metering.keys import new_key
from modeltrack_cli.spellings import PART_CHARACTERS, layers, spellings
from tests.system.battery.rig import IS_FULL
from tests.system.calls import CHAT, MESSAGES, SONNET, Body, Reply, call, chat, message, open_call
from tests.system.deployment import SETTINGS, Deployment, Tenant
from tests.system.processes import eventually

ROUNDS = 3  # through either proxy, of 47 calls each: the battery asks for 200 calls
FIRST_BYTE_SECONDS = 3  # what the second proxy waits for: more than a busy machine takes
TOO_LATE_MILLISECONDS = 4000


def places_of(canaries: dict[str, str], kept: dict[str, bytes]) -> dict[str, set[str]]:
    """By each canary's name, the names of what holds it in any spelling."""
    wanted = {name: re.compile(b"|".join(map(re.escape, spellings(each)))) for name, each in canaries.items()}
    found: dict[str, set[str]] = {name: set() for name in canaries}
    for place, data in kept.items():
        for _, layer in layers(data):
            for name, spelled in wanted.items():
                if spelled.search(layer):
                    found[name].add(place)
    return found


WAYS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "hexadecimal": lambda plain: plain.hex().encode(),
    "base64": lambda plain: base64.b64encode(b"x" + plain + b"yz"),
    "base64 for URLs": lambda plain: base64.urlsafe_b64encode(b"xy" + plain),
    "in a URL": lambda plain: quote(plain.decode(), safe="").encode(),
    "in a URL, byte by byte": lambda plain: b"".join(b"%%%02x" % each for each in plain),
    "in capitals": bytes.upper,
    "UTF-16": lambda plain: plain.decode().encode("utf-16"),
    "backwards": lambda plain: plain[::-1],
    "its end alone": lambda plain: plain[-PART_CHARACTERS:],
    "gzip": lambda plain: b"before" + gzip.compress(plain * 3) + b"after",
    "deflate": lambda plain: zlib.compress(b"in " + plain),
    "zstd": lambda plain: zstandard.compress(plain * 2),
}


@pytest.mark.battery("V1")
@pytest.mark.parametrize("written", WAYS.values(), ids=WAYS.keys())
def test_the_search_finds_a_canary_however_it_is_written(written: Callable[[bytes], bytes]) -> None:
    canary = f"canary/{secrets.token_hex(8)}"

    kept = {"here": written(canary.encode()), "there": b"nothing"}
    assert places_of({"it": canary}, kept) == {"it": {"here"}}


@pytest.mark.battery_class("canaries in any spelling")
@given(st.sampled_from(list(WAYS)), st.binary(max_size=50), st.text(string.printable, max_size=50))
def test_the_search_finds_a_canary_whatever_stands_around_it(way: str, before: bytes, behind: str) -> None:
    canary = "canary/1f8b08d41d8cd98f"

    kept = {"here": before + b" " + WAYS[way](canary.encode()) + behind.encode()}
    assert places_of({"it": canary}, kept) == {"it": {"here"}}


class Canaries:
    """Texts that must be nowhere, by what they stand for; each is unlike anything else."""

    def __init__(self, tenant: Tenant) -> None:
        self.prompt = f"canary prompt {secrets.token_hex(8)}"
        self.answer = f"canary answer {secrets.token_hex(8)}"
        self.error = f"canary error {secrets.token_hex(8)}"
        self.field = f"canary-field-{secrets.token_hex(8)}"
        self.tool_argument = f"canary argument {secrets.token_hex(8)}"
        self.reasoning = f"canary reasoning {secrets.token_hex(8)}"
        self.image = f"canary image {secrets.token_hex(8)}"
        self.unknown_key = new_key()
        self.provider_key = tenant.provider_key
        self.key = tenant.key

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(vars(self).items())

    def conversation(self) -> list[Body]:
        """Messages with an image, and with what a model thought and asked a tool."""
        image = {
            "type": "base64",
            "media_type": "image/png",
            "data": base64.b64encode(self.image.encode()).decode(),
        }
        thought = {"type": "thinking", "thinking": self.reasoning, "signature": self.reasoning}
        used = {"type": "tool_use", "id": "toolu_1", "name": "find", "input": {"of": self.tool_argument}}
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": self.answer}
        return [
            {
                "role": "user",
                "content": [{"type": "image", "source": image}, {"type": "text", "text": self.prompt}],
            },
            {"role": "assistant", "content": [thought, used]},
            {"role": "user", "content": [result]},
        ]


def _send(url: str, path: str, body: Body | bytes, headers: dict[str, str]) -> Reply | None:
    """One call that may well be refused or cut."""
    try:
        return call(url, path, body, headers)
    except (HTTPException, OSError):
        return None


def _make_every_kind_of_call(
    deployment: Deployment, url: str, tenant: Tenant, canaries: Canaries
) -> list[Reply]:
    """Calls that go well and calls that go wrong, all of them full of canaries; gives what we said."""
    base = {
        "authorization": f"Bearer {tenant.provider_key}",
        "anthropic-version": "2023-06-01",
        "content-type": "application/json",
        "x-modeltrack-no-cache": "true",
        **tenant.headers,
    }
    asked = canaries.prompt
    remembered = {name: value for name, value in base.items() if name != "x-modeltrack-no-cache"}
    converse = {"messages": [{"role": "user", "content": [{"text": asked}]}]}
    ingress = deployment.ingress_path(tenant)
    said = {"text": canaries.answer}
    packed = base | {"content-encoding": "gzip"}
    keyed = f"{MESSAGES}?key={canaries.provider_key}"
    calls: list[tuple[str, Body | bytes, dict[str, str], Body]] = [
        (MESSAGES, message(asked), remembered, said),
        (MESSAGES, message(asked), remembered, {}),  # answered from memory
        (MESSAGES, message(asked, stream=True), base, said),
        (MESSAGES, message(asked, system=asked, tools=[]), base, said | {"encoding": "gzip"}),
        (CHAT, chat(asked), base, said),
        (CHAT, chat(asked, stream=True), base, said),
        ("/v1/responses", {"model": "gpt-5", "input": asked, "stream": True}, base, said),
        ("/v1/embeddings", {"model": "text-embedding-3-small", "input": asked}, base, {}),
        ("/v1/images/generations", {"prompt": asked}, base, {}),
        ("/v1/messages/count_tokens", message(asked), base, {}),
        ("/azure/openai/deployments/chat-production/chat/completions", chat(asked), base, said),
        (f"/bedrock/model/{SONNET}/converse", converse, base, said),
        (f"/bedrock/model/{SONNET}/converse-stream", converse, base, said),
        ("/bedrock/v1/messages", message(asked, model="us.anthropic.claude-nowhere"), base, {}),
        ("/bedrock/v1/messages", message(asked, **{canaries.field: asked}), base, {}),
        (f"{ingress}/v1/messages", message(asked), base, said),
        (MESSAGES, message(messages=canaries.conversation()), base, said),
        # what goes wrong
        (MESSAGES, message(asked), base, {"status": 500, "text": canaries.error}),
        (MESSAGES, message(asked), base, {"status": 429, "text": canaries.error}),
        (MESSAGES, message(asked, model="claude-nowhere"), base, {}),
        (MESSAGES, message(asked), base, said | {"cut-at-byte": 30}),
        (MESSAGES, message(asked, stream=True), base, said | {"cut-at-frame": 4}),
        (MESSAGES, message(asked, stream=True), base, said | {"error-at-frame": 3}),
        (MESSAGES, message(asked), base, {"reset": True}),
        (MESSAGES, message(asked), base, said | {"usage": "null"}),
        (MESSAGES, f'{{"model": "claude-sonnet-4-6", "{asked}'.encode(), base, {}),
        (MESSAGES, f'["{asked}"]'.encode(), base, {}),
        (MESSAGES, asked.encode(), base, {}),
        (CHAT, chat(asked, stream=asked, stream_options=asked, n=asked), base, {}),
        (f"/{quote(asked)}/nowhere", message(asked), base, {}),
        (f"/v1/{quote(asked)}", message(asked), base, {}),
        (keyed, message(asked), base, said),
        (keyed, message(asked), base, {"status": 400, "text": canaries.error}),
        (keyed, message(asked), base, {"status": 503, "text": canaries.error}),
        (keyed, message(asked), base, {"reset": True}),
        (MESSAGES, message(asked), base, said | {"delay-ms": TOO_LATE_MILLISECONDS}),
        (MESSAGES, gzip.compress(json.dumps(message(asked)).encode()), packed, said),
        (MESSAGES, b"\x1f\x8b\x08" + asked.encode(), packed, said),
        (MESSAGES, message(asked), base | {"X-ModelTrack-Key": canaries.unknown_key}, {}),
        (MESSAGES, message(asked), base | {"X-ModelTrack-Key": canaries.provider_key}, {}),
        (MESSAGES, message(asked), base | {"X-ModelTrack-Team": canaries.provider_key}, said),
        (MESSAGES, message(asked), base | {"X-ModelTrack-App": f"Bearer {canaries.key}"}, said),
        (f"/ws/{canaries.key}/v1/messages", message(asked), base, {}),
        (f"/ws/{quote(asked)}/v1/messages", message(asked), base, {}),
    ]
    replies = []
    for path, body, headers, answer in calls:
        deployment.script(tenant, answer)
        replies.append(_send(url, path, body, headers))
    for read in (b"", b"message_start"):
        deployment.script(tenant, said)
        with open_call(url, MESSAGES, message(asked, stream=True), base) as made:
            if read:
                made.read_until(read)
            made.hang_up()
    return [reply for reply in replies if reply is not None]


def _kept_in_files(folder: Path) -> dict[str, bytes]:
    """Every file of the deployment but the demo provider's own log: logs, journal, database, secrets."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "provider.log")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def _kept_in_sqlite(folder: Path) -> dict[str, bytes]:
    """Every value of every row, whole, even where the file holds it in pieces."""
    kept = {}
    for path in folder.rglob("*.db"):
        with closing(sqlite3.connect(path)) as connection:
            names = [
                row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
            ]
            for name in names:
                rows = connection.execute(f"SELECT * FROM {name}").fetchall()  # noqa: S608 - our own names
                for number, row in enumerate(rows):
                    kept[f"{path.name}:{name}:{number}"] = b"\n".join(
                        value if isinstance(value, bytes) else str(value).encode() for value in row
                    )
    return kept


def _kept_in_firestore(store_url: str, emulator: str, account_id: str) -> dict[str, bytes]:
    """Every document of the project, as the emulator's REST interface shows it; bytes out of their base64."""
    project = store_url.removeprefix("firestore://")
    root = f"http://{emulator}/v1/projects/{project}/databases/(default)/documents"
    kept: dict[str, bytes] = {}
    waiting = [root]
    while waiting:
        parent = waiting.pop()
        listed = requests.post(
            f"{parent}:listCollectionIds", headers={"Authorization": "Bearer owner"}, json={}, timeout=30
        ).json()
        for name in listed.get("collectionIds", []):
            page = requests.get(
                f"{parent}/{name}?pageSize=300&showMissing=true",
                headers={"Authorization": "Bearer owner"},
                timeout=30,
            ).json()
            for document in page.get("documents", []):
                text = json.dumps(document)
                blobs = re.findall(r'"bytesValue": "([^"]+)"', text)
                kept[document["name"]] = text.encode() + b"".join(map(base64.b64decode, blobs))
                waiting.append(f"http://{emulator}/v1/{document['name']}")
    assert any(account_id in name for name in kept)
    return kept


@pytest.mark.battery("V1", "V3", "V5")
@pytest.mark.timeout(300)  # it searches all that the tests before it have left, too
def test_no_canary_is_kept_or_said(request: pytest.FixtureRequest, deployment: Deployment) -> None:
    tenant = deployment.tenant(msgspec.structs.replace(SETTINGS, prompt_fingerprints=True))
    canaries = Canaries(tenant)

    quiet = deployment.start_proxy(
        {"LOG_LEVEL": "info", "UPSTREAM_FIRST_BYTE_TIMEOUT_SECONDS": str(FIRST_BYTE_SECONDS)},
        data=f"quiet-{secrets.token_hex(4)}",
    )
    urls = (deployment.proxy.url, quiet.url)
    replies = [
        reply
        for url in urls * (ROUNDS if IS_FULL else 1)
        for reply in _make_every_kind_of_call(deployment, url, tenant, canaries)
    ]

    own = [reply for reply in replies if reply.status >= 400 and not _is_from_provider(reply)]
    eventually(lambda: len(deployment.ask_api(tenant, "/v1/events?limit=100")["data"]) >= 20)
    kept = {f"refusal {at}": reply.body for at, reply in enumerate(own)}
    kept |= {f"headers {at}": repr(reply.headers).encode() for at, reply in enumerate(replies)}
    kept |= {
        url + path: requests.get(url + path, headers=_stats_key(tenant), timeout=10).content
        for url in urls
        for path in ("/metrics", "/stats", "/cache/stats", "/healthz", "/readyz")
    }
    quiet.stop()
    kept["events"] = json.dumps(deployment.ask_api(tenant, "/v1/events?limit=100"), default=str).encode()
    kept |= _kept_in_files(deployment.folder)
    if deployment.store_url.startswith("firestore"):
        emulator = request.getfixturevalue("emulator")
        kept |= _kept_in_firestore(deployment.store_url, emulator, tenant.account_id)
    else:
        kept |= _kept_in_sqlite(deployment.folder)
    assert len(own) >= 8
    assert {200, 400, 401, 404, 429, 500, 502, 503, 504} <= {reply.status for reply in replies}
    assert _fingerprints(deployment, tenant) > {""}
    assert places_of(dict(canaries), kept) == {name: set() for name, _ in canaries}


def _fingerprints(deployment: Deployment, tenant: Tenant) -> set[str]:
    """Those of the tenant's calls."""
    return {
        event["prompt_fingerprint"] for event in deployment.ask_api(tenant, "/v1/events?limit=100")["data"]
    }


def _stats_key(tenant: Tenant) -> dict[str, str]:
    return {"Authorization": f"Bearer {tenant.key}"}


def _is_from_provider(reply: Reply) -> bool:
    return any(value.startswith("req_demo") for _, value in reply.headers)
