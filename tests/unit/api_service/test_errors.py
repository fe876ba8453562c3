from typing import Literal

import pytest
from flask import Flask
from pydantic import Field, ValidationError

from api_service.errors import Refused, invalid_fields, refusal_of
from api_service.fields import Input, Name
from api_service.resources.accounts import AccountPatch
from metering.errors import StoreError, StoreUnavailable


class Fields(Input):
    name: Name = "x"
    width: Literal["1h", "1d"] = "1h"
    limit: int = Field(default=1, ge=1, le=9)
    scopes: list[str] = Field(default_factory=lambda: ["a"], min_length=1, max_length=2)
    wanted: bool = True


def refusal(kind: type[Input], **given: object) -> Refused:
    with pytest.raises(ValidationError) as found:
        kind.model_validate(given)
    return invalid_fields(found.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": ""}, "give at least 1 character"),
        ({"name": "x" * 101}, "give at most 100 characters"),
        ({"name": 5}, "give a text"),
        ({"width": "1w"}, "give '1h' or '1d'"),
        ({"limit": "abc"}, "give a whole number"),
        ({"limit": 1.5}, "give a whole number"),
        ({"limit": 0}, "give a number of at least 1"),
        ({"limit": 10}, "give a number of at most 9"),
        ({"scopes": []}, "give at least 1 of them"),
        ({"scopes": ["a", "b", "c"]}, "give at most 2 of them"),
        ({"scopes": "a"}, "give a list"),
        ({"wanted": "maybe"}, "give true or false"),
        ({"nme": "x"}, "there is no such field"),
    ],
    ids=str,
)
def test_each_complaint_says_what_to_give(given: dict[str, object], message: str) -> None:
    assert refusal(Fields, **given).message == message


def test_a_field_left_out_is_named() -> None:
    class Needed(Input):
        name: Name

    assert (refusal(Needed).param, refusal(Needed).message) == ("name", "this field is required")


@pytest.mark.parametrize(
    ("given", "param", "shown"),
    [
        ({"azure": {"resource": "https://x.openai.azure.com"}}, "azure.resource", "my-resource"),
        ({"azure": {"deployments": {"a b": "gpt-4o"}}}, "azure.deployments.a b", "deployment"),
        ({"azure": {"deployments": {"a": ""}}}, "azure.deployments.a", "gpt-4o"),
        ({"bedrock": {"region": "mars"}}, "bedrock.region", "us-east-1"),
        (
            {"bedrock": {"inference_profiles": {"abc": "gpt-4o"}}},
            "bedrock.inference_profiles.abc",
            "arn:aws:",
        ),
        (
            {"prices": {"overrides": [{"provider": "openai", "model": "a b", "discount_percent": 1}]}},
            "prices.overrides.0.model",
            "or * for every model",
        ),
        ({"prices": None}, "prices", "give an object"),
    ],
    ids=str,
)
def test_a_name_of_a_wrong_form_is_answered_with_an_example(
    given: dict[str, object], param: str, shown: str
) -> None:
    found = refusal(AccountPatch, **given)

    assert (found.param, len(found.details)) == (param, 1)
    assert shown in found.message


def test_a_mistake_of_ours_in_the_store_is_no_outage() -> None:
    with Flask(__name__).test_request_context():
        outage, mistake = refusal_of(StoreUnavailable()), refusal_of(StoreError("an index is missing"))

    assert (outage.status, mistake.status) == (503, 500)
    assert "index" not in mistake.message
