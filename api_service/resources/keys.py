"""Keys: shown once, listed without themselves, rotated, revoked."""

from datetime import datetime
from typing import Annotated, Any, Literal

from flask import Response
from pydantic import Field

from api_service.access import (
    needs,
    owned_key,
    require_confirmed_address,
    require_no_longer_than_own,
    require_no_more_than_own,
    still_allowed,
    visitor,
)
from api_service.answers import answer, nothing
from api_service.fields import Input, Moment, Tag, View, example_of
from api_service.routing import OF_BODIES, may_refuse, routes_of
from api_service.services import services
from metering.directory import KEY_ADDRESSES_MAX, KeyTerms, terms_of, terms_of_successor
from metering.keys import SCOPES, KeyKind, KeyRecord, Scope

keys = routes_of("keys")

Network = Annotated[str, Field(min_length=2, max_length=64)]


_KEY_EXAMPLE: dict[str, Any] = {
    "id": "key_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
    "kind": "header",
    "name": "search in production",
    "hint": "7c5d",
    "status": "live",
    "scopes": ["proxy"],
    "team": "search",
    "app": "",
    "deployment": "production",
    "addresses": [],
    "created_at": "2026-11-21T09:30:00Z",
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": None,
    "replaces": None,
}
_MADE_KEY_EXAMPLE = {**_KEY_EXAMPLE, "key": "mt_… (shown this once)", "url": None}
_NEW_KEY_EXAMPLE = {
    name: _KEY_EXAMPLE[name] for name in ("kind", "name", "scopes", "team", "deployment", "expires_at")
}


class NewKey(Input):
    """What the key is to be.

    `header` keys are sent as a header; an `ingress` id stands in the address, for clients that can set no
    header: it has the scope `proxy` only and may be limited to `addresses` (networks in CIDR form). `team`
    and `app`, where given, win over what callers say.
    """

    model_config = example_of(_NEW_KEY_EXAMPLE)

    kind: KeyKind = "header"
    name: Tag = ""
    scopes: list[Scope] = Field(default=["proxy"], min_length=1, max_length=len(SCOPES))
    team: Tag = ""
    app: Tag = ""
    deployment: Tag = "default"
    addresses: list[Network] = Field(default_factory=list, max_length=KEY_ADDRESSES_MAX)
    expires_at: Moment | None = None


class KeyPath(Input):
    """Which key."""

    key_id: str = Field(
        description="The `id` that creating and listing keys show, never the key itself.",
        json_schema_extra={"example": _KEY_EXAMPLE["id"]},
    )


class KeyView(View):
    """A key without itself. `hint` is its last four characters."""

    id: str = Field(description="Names the key in this API; never the key itself.")
    kind: KeyKind = Field(description="`header`: sent as a header; `ingress`: part of the address.")
    name: str = Field(description="What its maker called it.")
    hint: str = Field(description="The key's last four characters.")
    status: Literal["live", "expired", "revoked"] = Field(description="Whether it may be used now.")
    scopes: list[Scope] = Field(
        description="What it may do: `proxy` calls, `read` and `write` here, `ingest`, `stats` of the proxy."
    )
    team: str = Field(description="Wins over the team that callers say; empty: theirs counts.")
    app: str = Field(description="Wins over the app that callers say; empty: theirs counts.")
    deployment: str = Field(description="The deployment that its calls are counted under.")
    addresses: list[str] = Field(description="Networks that may use an ingress id, in CIDR form; empty: any.")
    created_at: datetime = Field(description="When it was made.")
    expires_at: datetime | None = Field(description="When it ends by itself; null: never.")
    revoked_at: datetime | None = Field(description="When it was revoked; null: it was not.")
    last_used_at: datetime | None = Field(description="When it was last used, to the minute; null: never.")
    replaces: str | None = Field(
        description="The id of the key that it was made to replace by rotation; null: none."
    )


class MadeKeyView(KeyView):
    """A key just made: `key` is never to be had again. `url` is an ingress id's base address."""

    model_config = example_of(_MADE_KEY_EXAMPLE)

    key: str = Field(description="The key itself, shown this once.")
    url: str | None = Field(
        description="The base address for clients, of an ingress id; null for other keys."
    )


class KeysView(View):
    """All keys that are known of the account, newest first."""

    model_config = example_of({"data": [_KEY_EXAMPLE], "has_more": False, "next_page": None})

    data: list[KeyView] = Field(description="The keys, newest first.")
    has_more: bool = Field(description="Always false: all keys are on one page.")
    next_page: str | None = Field(description="Always null.")


@keys.get("/v1/keys", responses={200: KeysView})
@needs("read")
def list_keys() -> Response:
    """List the keys, without themselves."""
    known = services()
    now = known.clock.now()
    data = [
        KeyView.model_validate(_shown(each, now)) for each in known.directory.keys_of(visitor().account_id)
    ]
    return answer(KeysView(data=data, has_more=False, next_page=None))


@keys.post("/v1/keys", responses={201: MadeKeyView, **may_refuse(409, *OF_BODIES)})
@needs("keys")
def create_key(body: NewKey) -> Response:
    """Create a key. The answer is the only place where it is ever shown.

    Hosted, a person has confirmed their e-mail address before.
    """
    known = services()
    require_confirmed_address(visitor())
    terms = KeyTerms(
        kind=body.kind,
        name=body.name,
        scopes=tuple(dict.fromkeys(body.scopes)),
        team=body.team,
        app=body.app,
        deployment=body.deployment,
        addresses=tuple(body.addresses),
        expires_at=body.expires_at,
    )
    require_no_more_than_own(visitor(), terms)
    require_no_longer_than_own(visitor(), terms.expires_at)
    return _made(*known.directory.create_key(visitor().account_id, terms, still_allowed()))


@keys.post("/v1/keys/<key_id>/rotate", responses={201: MadeKeyView, **may_refuse(404, 409)})
@needs("keys")
def rotate_key(path: KeyPath) -> Response:
    """Replace a key by a new one on the same terms. The old one works one hour longer."""
    known = services()
    key = _manageable_key(path.key_id)
    require_no_longer_than_own(visitor(), terms_of_successor(key, known.clock.now()).expires_at)
    return _made(*known.directory.rotate_key(visitor().account_id, key.key_id, still_allowed()))


@keys.delete("/v1/keys/<key_id>", responses={204: None, **may_refuse(404)})
@needs("keys")
def revoke_key(path: KeyPath) -> Response:
    """Revoke a key at once, together with any older key that it replaced."""
    key = _manageable_key(path.key_id)
    services().directory.revoke_key(visitor().account_id, key.key_id, still_allowed())
    return nothing()


def _manageable_key(key_id: str) -> KeyRecord:
    key = owned_key(services().directory.keys_of(visitor().account_id), key_id)
    require_no_more_than_own(visitor(), terms_of(key))
    return key


def _made(plain: str, record: KeyRecord) -> Response:
    known = services()
    url = f"{known.settings.proxy_public_url.rstrip('/')}/ws/{plain}" if record.kind == "ingress" else None
    return answer(
        MadeKeyView.model_validate({**_shown(record, known.clock.now()), "key": plain, "url": url}), 201
    )


def _shown(record: KeyRecord, now: datetime) -> dict[str, object]:
    return {
        "id": record.key_id,
        "kind": record.kind,
        "name": record.name,
        "hint": record.hint,
        "status": _status(record, now),
        "scopes": list(record.scopes),
        "team": record.team,
        "app": record.app,
        "deployment": record.deployment,
        "addresses": list(record.addresses),
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "revoked_at": record.revoked_at,
        "last_used_at": record.last_used_at,
        "replaces": record.replaces or None,
    }


def _status(record: KeyRecord, now: datetime) -> Literal["live", "expired", "revoked"]:
    if record.revoked_at is not None:
        return "revoked"
    return "live" if record.is_live(now) else "expired"
