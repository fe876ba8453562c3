"""A stand-in for Terraform's Google provider: says the published schema, checks values, makes nothing.

Terraform asks a provider by gRPC and finds a running one by `TF_REATTACH_PROVIDERS`; so `terraform validate`
and `terraform apply` are Terraform's own judgement of infra/, of references, types and loops in it, where
there is neither the real provider nor Google Cloud. The stand-in itself knows no more than the schema: that
it applies says that the configuration fits together, not that Google accepts it. What Google decides is
unknown in the plan, as it is in truth, and made up afterwards: `google_pubsub_topic/journal#id`.

The messages (protocol 6, the few fields that are used; read 2026-11-21):
https://github.com/hashicorp/terraform/blob/v1.11.4/docs/plugin-protocol/tfplugin6.proto,
their values: https://github.com/hashicorp/terraform/blob/v1.11.4/docs/plugin-protocol/object-wire-format.md
"""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import msgspec

from tests.infra.schema import Argument, Body, Entity, Schema

SERVICE = "tfplugin6.Provider"
THREADS = 4
STOP_SECONDS_MAX = 5
LIST_OF_BLOCKS, SINGLE_BLOCK = 2, 1
ERROR = 1
UNKNOWN = msgspec.msgpack.Ext(0, b"\0")
# What resources are told apart by, in this order.
NAMES = (
    "account_id",
    "secret_id",
    "topic_id",
    "slo_id",
    "service_id",
    "repository_id",
    "bucket_id",
    "name",
    "display_name",
)
# What data sources answer; a project's number is digits, and so is everything else good that is made of one.
PLACEHOLDERS = {"string": "100000000001", "number": 1, "bool": False}


@contextmanager
def stand_in_provider(schema: Schema) -> Iterator[str]:
    """Serves the schema on loopback; yields what TF_REATTACH_PROVIDERS is to be set to."""
    server = grpc.server(ThreadPoolExecutor(THREADS))
    server.add_generic_rpc_handlers((_StandIn(schema).handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    address = {"Network": "tcp", "String": f"127.0.0.1:{port}"}
    found = {"Protocol": "grpc", "ProtocolVersion": 6, "Pid": os.getpid(), "Test": True, "Addr": address}
    try:
        yield json.dumps({"registry.terraform.io/hashicorp/google": found})
    finally:
        server.stop(grace=None).wait(STOP_SECONDS_MAX)


class _StandIn:
    """Answers each request with the bytes of its reply."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def handlers(self) -> grpc.GenericRpcHandler:
        answers: dict[str, Callable[[dict[int, bytes]], bytes]] = {
            "GetProviderSchema": self.describe,
            "ValidateProviderConfig": _agree,
            "ValidateResourceConfig": lambda asked: self.validate(asked, self._schema.resources),
            "ValidateDataResourceConfig": lambda asked: self.validate(asked, self._schema.data_sources),
            "ConfigureProvider": _agree,
            "UpgradeResourceState": self.read_state,
            "PlanResourceChange": self.plan,
            "ApplyResourceChange": self.apply,
            "ReadDataSource": self.read,
            "StopProvider": _agree,
        }
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                name: grpc.unary_unary_rpc_method_handler(_answering(answer))
                for name, answer in answers.items()
            },
        )

    def describe(self, asked: dict[int, bytes]) -> bytes:
        """Everything that there is, with all its arguments and blocks."""
        kinds = ((2, self._schema.resources), (3, self._schema.data_sources))
        return b"".join(
            (
                _field(1, _schema(self._schema.provider, {}, is_computed=False)),
                *(
                    _field(number, _text(1, name) + _field(2, _schema(each.body, each.computed)))
                    for number, entities in kinds
                    for name, each in entities.items()
                ),
            )
        )

    def validate(self, asked: dict[int, bytes], entities: dict[str, Entity]) -> bytes:
        """An error for each value, however it was computed, that is none of an enumeration's."""
        wrong = _wrong_choices(_value(asked[2]), entities[asked[1].decode()].body)
        return b"".join(_field(1, _number(1, ERROR) + _text(2, each)) for each in wrong)

    def read_state(self, asked: dict[int, bytes]) -> bytes:
        """The state as it was written: there is one version of the schema."""
        return _field(1, _dynamic(json.loads(_fields(asked[3])[1])))

    def plan(self, asked: dict[int, bytes]) -> bytes:
        """What was proposed; of what there is not yet, nobody knows what Google will decide."""
        entity = self._schema.resources[asked[1].decode()]
        prior, planned = _value(asked[2]), _value(asked[3])
        if prior is None:
            planned = _completed(planned, entity.body, _unknown) | {name: UNKNOWN for name in entity.computed}
        return _field(1, _dynamic(planned))

    def apply(self, asked: dict[int, bytes]) -> bytes:
        """What was planned, with something made up for what was not known."""
        type, planned = asked[1].decode(), _value(asked[3])
        entity = self._schema.resources[type]
        made = _settled(planned)
        named = next((made[name] for name in NAMES if made.get(name)), "")
        if made is not None:
            made |= {name: _made_up(type, named, name, kind) for name, kind in entity.computed.items()}
        return _field(1, _dynamic(made))

    def read(self, asked: dict[int, bytes]) -> bytes:
        """What was asked for, and a placeholder for everything else."""
        entity = self._schema.data_sources[asked[1].decode()]
        state = _completed(_value(asked[2]), entity.body, _placeholder)
        return _field(
            1, _dynamic(state | {name: _placeholder(type) for name, type in entity.computed.items()})
        )


def _agree(asked: dict[int, bytes]) -> bytes:
    return b""


def _answering(answer: Callable[[dict[int, bytes]], bytes]) -> Callable[[bytes, Any], bytes]:
    return lambda request, _context: answer(_fields(request))


def _unknown(type: str) -> msgspec.msgpack.Ext:
    return UNKNOWN


def _completed(value: Any, body: Body, filling: Callable[[str], Any]) -> Any:
    """The value of a block with that in place of every null that the provider may choose."""
    if not isinstance(value, dict):
        return value
    completed = dict(value)
    for name, argument in body.arguments.items():
        if value.get(name) is None and not argument.is_required and not _is_write_only(name):
            completed[name] = filling(argument.type)
    for name, block in body.blocks.items():
        if isinstance(value.get(name), list):
            completed[name] = [_completed(each, block.body, filling) for each in value[name]]
    return completed


def _settled(value: Any) -> Any:
    """Arguments that nobody has set stay unset: what Google would choose for them, nobody here knows."""
    if isinstance(value, msgspec.msgpack.Ext):
        return None
    if isinstance(value, dict):
        return {name: _settled(each) for name, each in value.items()}
    return [_settled(each) for each in value] if isinstance(value, list) else value


def _made_up(type: str, named: str, attribute: str, kind: str) -> Any:
    if (type, attribute) in (("google_service_account", "email"), ("google_service_account", "member")):
        email = f"{named}@modeltrack-example.iam.gserviceaccount.com"
        return email if attribute == "email" else f"serviceAccount:{email}"
    return f"{type}/{named}#{attribute}" if kind == "string" else _placeholder(kind)


def _placeholder(type: str) -> Any:
    if type.startswith("list"):
        return []
    return {} if type.startswith("map") else PLACEHOLDERS.get(type)


def _wrong_choices(value: Any, body: Body) -> Iterator[str]:
    if not isinstance(value, dict):
        return
    for name, argument in body.arguments.items():
        given = value.get(name)
        if argument.choices and isinstance(given, str) and given not in argument.choices:
            yield f'{name} is to be one of {", ".join(argument.choices)}, not "{given}"'
    for name, block in body.blocks.items():
        inner = value.get(name)
        for each in inner if isinstance(inner, list) else ():
            yield from _wrong_choices(each, block.body)


def _is_write_only(name: str) -> bool:
    return name.endswith("_wo")


def _schema(body: Body, computed: dict[str, str], *, is_computed: bool = True) -> bytes:
    read_only = b"".join(
        _field(2, _text(1, name) + _field(2, _type(type)) + _number(6, 1)) for name, type in computed.items()
    )
    return _field(2, _block(body, is_computed=is_computed) + read_only)


def _block(body: Body, *, is_computed: bool) -> bytes:
    arguments = (_argument(name, each, is_computed) for name, each in body.arguments.items())
    blocks = (
        _text(1, name)
        + _field(2, _block(each.body, is_computed=is_computed))
        + _number(3, SINGLE_BLOCK if name == "timeouts" else LIST_OF_BLOCKS)
        + _number(4, int(each.is_required and name != "timeouts"))
        + _number(5, int(not each.repeats and name != "timeouts"))
        for name, each in body.blocks.items()
    )
    return b"".join((*(_field(2, each) for each in arguments), *(_field(3, each) for each in blocks)))


def _argument(name: str, argument: Argument, is_computed: bool) -> bytes:
    """What may be left out may be anything afterwards: the schema does not say what the provider fills in."""
    may_be_left_out = _number(5, 1) + _number(6, int(is_computed and not _is_write_only(name)))
    flags = _number(4, 1) if argument.is_required else may_be_left_out
    return _text(1, name) + _field(2, _type(argument.type)) + flags + _number(11, int(_is_write_only(name)))


def _type(type: str) -> bytes:
    outer, _, inner = type.rstrip(")").partition("(")
    return json.dumps([outer, inner] if inner else outer).encode()


def _value(dynamic: bytes) -> Any:
    """What a message with a value holds: Python's own values, and Ext for what is unknown."""
    return msgspec.msgpack.decode(_fields(dynamic)[1])


def _dynamic(value: Any) -> bytes:
    return _field(1, msgspec.msgpack.encode(value))


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*encoded, number))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _number(number: int, value: int) -> bytes:
    """A field of a small number or a flag; nothing is sent for nought."""
    return _varint(number << 3) + _varint(value) if value else b""


def _fields(message: bytes) -> dict[int, bytes]:
    """The fields of a message by number; of one that comes twice the last, of plain numbers none."""
    fields: dict[int, bytes] = {}
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        length, at = _read_varint(message, at)
        if key & 7 == 2:
            fields[key >> 3] = message[at : at + length]
            at += length
    return fields


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        number |= (message[at] & 0x7F) << shift
        if message[at] < 0x80:
            return number, at + 1
        at, shift = at + 1, shift + 7
