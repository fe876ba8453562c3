"""Single fields of an answer, read with suspicion."""

import msgspec
import pytest

from proxy_service.providers.fields import name, opened, parsed
from proxy_service.wire import Origin

NOT_UTF_8 = msgspec.Raw(b'"\xc3("')


def test_a_name_that_is_not_utf_8_is_absent() -> None:
    assert name(NOT_UTF_8) is None
    assert name(msgspec.Raw(b'"gpt-4o"')) == "gpt-4o"


def test_an_object_that_is_not_utf_8_is_absent() -> None:
    field = msgspec.Raw(b'{"scheme": "\xc3(", "host": "a", "port": 1}')

    assert opened(field, msgspec.json.Decoder(Origin)) is None


def test_a_text_that_is_not_utf_8_is_no_json() -> None:
    with pytest.raises(msgspec.DecodeError):
        parsed(msgspec.json.Decoder(str), bytes(NOT_UTF_8))
