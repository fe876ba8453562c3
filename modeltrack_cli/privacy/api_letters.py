"""What is sent to the API: every operation of its own description, so that a new one is asked, too.

Nothing is changed by it. With what opens the account go only questions, changes of what no id names, and
bodies that the description rules out: with a field that it does not know, a list where it wants an object, or
cut. All else is asked as nobody, with keys and cookies that nobody was given.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from modeltrack_cli.privacy.canaries import Canaries, Mint, as_key
from modeltrack_cli.privacy.sending import Letter, Opens

DEPTH_MAX: Final = 4
METHODS: Final = ("get", "post", "put", "patch", "delete")
OPERATIONS_MAX: Final = 1_000
HUGE_BYTES: Final = 64 * 1024 * 1024
CUT_BYTES: Final = 4_096
REPORTS_PATH: Final = "/csp-reports"  # the only one besides that takes a body; browsers send it

# Operations whose whole body may come from anybody: what it holds is looked up, and is nobody's.
LOOKED_UP: Final = frozenset(
    {
        "/v1/login",
        "/v1/login/second-factor",
        "/v1/password-reset",
        "/v1/password-reset/confirm",
        "/v1/email/confirm",
        "/v1/email/change",
        "/v1/invites/look-up",
        "/v1/invites/sign-up",
    }
)

_SCALARS: Final = ("string", "integer", "number", "boolean")

Json = dict[str, Any]


class Operation(msgspec.Struct, frozen=True):
    """One operation of the description. `opens`: what may open it, best first."""

    method: str
    path: str
    parameters: Sequence[Json]
    body: Json | None
    opens: Sequence[Opens]

    @property
    def route(self) -> str:
        """How it is shown."""
        return f"API {self.method} {self.path}"

    @property
    def is_read(self) -> bool:
        """Whether it changes nothing."""
        return self.method == "GET"

    def named(self, where: str) -> list[str]:
        """The names of its parameters in the path or query."""
        return [each["name"] for each in self.parameters if each["in"] == where]


def operations(document: Any) -> list[Operation]:
    """What the description lists; whatever in it is not understood is left out."""
    found: list[Operation] = []
    paths = document.get("paths") if isinstance(document, dict) else None
    for path, methods in paths.items() if isinstance(paths, dict) else ():
        if not path.startswith("/"):
            continue  # behind the API's address it would name another host
        for method, told in methods.items() if isinstance(methods, dict) else ():
            if method in METHODS and isinstance(told, dict) and len(found) < OPERATIONS_MAX:
                found.append(_operation(document, path, method, told))
    return found


def _operation(document: Json, path: str, method: str, told: Json) -> Operation:
    named = [each for each in told.get("parameters", ()) if isinstance(each, dict)]
    parameters = [each for each in named if {"name", "in"} <= each.keys()]
    content = _within(told, "requestBody", "content", "application/json", "schema")
    accepted = {name for each in told.get("security") or () for name in each}
    opens: list[Opens] = [each for each in ("session", "key") if each in accepted] or ["nobody"]
    body = resolved(document, content) if content is not None else None
    return Operation(method.upper(), path, parameters, body, opens)


def resolved(document: Json, schema: Json, depth: int = 0) -> Json:
    """The schema with what it refers to in its place, some levels deep."""
    while isinstance(reference := schema.get("$ref"), str):
        schema = _within(document, *reference.removeprefix("#/").split("/")) or {}
    if depth >= DEPTH_MAX:
        return schema
    deeper = {
        name: {field: resolved(document, held, depth + 1) for field, held in schema[name].items()}
        for name in ("properties",)
        if isinstance(schema.get(name), dict)
    }
    if isinstance(schema.get("items"), dict):
        deeper["items"] = resolved(document, schema["items"], depth + 1)
    return {**schema, **deeper}


def letters(
    canaries: Canaries, listed: Sequence[Operation], *, has_session: bool, address: str = ""
) -> Iterator[Letter]:
    """All that is sent. `address` is of a person whose log-in is tried once with a wrong password."""
    for operation in listed:
        mint = canaries.of(operation.route)
        yield _as_nobody(operation, mint)
        opens: Opens = next((each for each in operation.opens if has_session or each != "session"), "nobody")
        yield from _as_somebody(operation, mint, opens)
    yield from _besides(canaries)
    if address:
        mint = canaries.of("API POST /v1/login")
        body = {"email": address, "password": mint("a wrong password for your address")}
        yield _letter("API POST /v1/login", "POST", "/v1/login", body)


def _as_nobody(operation: Operation, mint: Mint) -> Letter:
    """With all that somebody may send whom nobody knows."""
    body = None if operation.body is None else _ruled_out(operation.body, mint)
    headers = {
        "Authorization": f"Bearer {as_key(mint('key'))}",
        "Cookie": f"modeltrack_session={mint('session cookie')}; __Host-modeltrack_session={mint('session')}",
        "X-CSRF-Token": mint("CSRF token"),
        "Idempotency-Key": mint("idempotency key"),
        "User-Agent": mint("user agent"),
        "Referer": f"https://canary.invalid/{mint('referer')}",
        "Origin": f"https://{mint('origin')}.invalid",
        "X-Forwarded-For": mint("forwarded for"),
        "X-Unheard-Of": mint("value of a header"),
    }
    return _letter(operation.route, operation.method, _address(operation, mint), body, headers)


def _as_somebody(operation: Operation, mint: Mint, opens: Opens) -> Iterator[Letter]:
    to = partial(_letter, operation.route, operation.method, opens=opens)
    if operation.is_read:
        yield to(_address(operation, mint), None)
        if free := _free_texts(operation, mint):
            yield to(f"{_path_that_is(operation, mint)}?{free}", None)
        return
    if operation.body is None:
        if operation.named("path"):
            yield to(_path(operation, mint), None)
        return
    key = {"Idempotency-Key": mint("idempotency key")} if operation.method == "POST" else {}
    path = _path(operation, mint)
    if _is_strict(operation.body):
        yield to(path, _ruled_out(operation.body, mint), key)
    yield to(path, [mint("a list instead of an object")])
    cut = f'{{"a": "{mint("JSON that is cut")}'.encode()
    yield to(path, cut)
    if operation.path in LOOKED_UP:
        yield to(path, _required(operation.body, mint))


def _besides(canaries: Canaries) -> Iterator[Letter]:
    """What the description does not list: unknown addresses, browsers' reports, bodies too large or cut."""
    route = f"API POST {REPORTS_PATH}"
    mint = canaries.of(route)
    report = {
        name: f"https://canary.invalid/{mint(name)}"
        for name in ("document-uri", "referrer", "blocked-uri", "violated-directive", "script-sample")
    }
    sent = {"Content-Type": "application/csp-report"}
    yield _letter(route, "POST", REPORTS_PATH, {"csp-report": report}, sent)

    route = "API, any other address"
    mint = canaries.of(route)
    for path in ("/{}", "/v1/{}", "/static/{}", "/overview?team={}", "/login?next=/{}", "/events/{}"):
        # a page that asks to log in leads back to where one wanted to go
        yield _letter(route, "GET", path.format(mint(f"address {path}", is_told_back=True)), None)
        body = {mint("name", is_told_back=True): mint("value")}
        yield _letter(route, "POST", path.format(mint(f"address {path}")), body, opens="key")
    for promised, is_cut in ((HUGE_BYTES, False), (CUT_BYTES, True)):
        where = "a body that is cut" if is_cut else "a body that is too large"
        yield Letter(
            to="api",
            route=route,
            method="POST",
            path="/v1/budgets",
            headers={"Content-Type": "application/json"},
            body=f'{{"name": "{mint(where)}"'.encode(),
            opens="key",
            promised=promised,
            is_cut=is_cut,
        )


def _letter(
    route: str,
    method: str,
    path: str,
    body: object | None,
    headers: Mapping[str, str] | None = None,
    *,
    opens: Opens = "nobody",
) -> Letter:
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    told = {"Content-Type": "application/json"} if content is not None else {}
    sent = {**told, **(headers or {})}
    return Letter(to="api", route=route, method=method, path=path, headers=sent, body=content, opens=opens)


def _path(operation: Operation, mint: Mint) -> str:
    path = operation.path
    for name in operation.named("path"):
        if f"{{{name}}}" in path:
            path = path.replace(f"{{{name}}}", quote(mint(name), safe=""))
    return path


def _path_that_is(operation: Operation, mint: Mint) -> str:
    """The path with the first of what the description lists for it. Of questions alone."""
    path = operation.path
    for each in operation.parameters:
        choices = (each.get("schema") or {}).get("enum") if each["in"] == "path" else None
        if isinstance(choices, list) and choices:
            path = path.replace(f"{{{each['name']}}}", quote(str(choices[0]), safe=""))
    return _path(msgspec.structs.replace(operation, path=path), mint)


def _address(operation: Operation, mint: Mint) -> str:
    """The path, with a canary in every parameter and one more that nobody knows."""
    named = [(name, mint(name)) for name in operation.named("query")]
    named.append((mint("name in the query", is_told_back=True), mint("value in the query")))
    return f"{_path(operation, mint)}?{urlencode(named)}"


def _free_texts(operation: Operation, mint: Mint) -> str:
    """Parameters that take any text: the question is a right one."""
    named = []
    for each in operation.parameters:
        schema = each.get("schema")
        if each["in"] == "query" and isinstance(schema, dict) and _takes_text(schema):
            named.append((each["name"], mint(f"{each['name']} that may be")))
    return urlencode(named)


def _takes_text(schema: Json) -> bool:
    held = schema.get("items") if schema.get("type") == "array" else schema
    if not isinstance(held, dict) or held.get("type") != "string":
        return False
    # a text that is something unless said otherwise, such as UTC, is not any text
    return not held.get("default") and not held.keys() & {"enum", "format", "pattern", "const"}


def _ruled_out(schema: Json, mint: Mint) -> Json:
    """A body with a canary in every field, and one more field, which makes it none that is taken."""
    held = _filled(schema, mint, "", DEPTH_MAX)
    body = held if isinstance(held, dict) else {}
    name = mint("a name that is no field", is_told_back=True)
    # no value that a map of texts takes either
    return {**body, name: {mint("a name within", is_told_back=True): mint("a value within")}}


def _is_strict(schema: Json) -> bool:
    """Whether the description rules such a body out."""
    others = schema.get("additionalProperties")
    return others is False or (isinstance(others, dict) and others.get("type") in _SCALARS)


def _filled(schema: Json, mint: Mint, where: str, depth: int) -> Any:
    fields = schema.get("properties")
    if isinstance(fields, dict) and depth:
        return {
            name: _filled(held, mint, f"{where}.{name}" if where else name, depth - 1)
            for name, held in fields.items()
            if isinstance(held, dict)
        }
    items = schema.get("items")
    if isinstance(items, dict) and depth:
        return [_filled(items, mint, f"{where}[]", depth - 1)]
    canary = mint(where or "value")
    return f"{canary}@canary.invalid" if schema.get("format") == "email" else canary


def _required(schema: Json, mint: Mint) -> Json:
    """A body with what is demanded alone."""
    fields = schema.get("properties") or {}
    return {
        name: _filled(fields.get(name) or {}, mint, f"{name} that is nobody's", 1)
        for name in schema.get("required") or ()
    }


def _within(value: Any, *names: str) -> Json | None:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else None
