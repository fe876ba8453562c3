"""Which model served a call: the names tenants give to models, resolved to the names prices are known by.

- Azure serves *deployments*, named by the tenant; the account's settings say which model is behind each.
- Bedrock takes model ids, inference-profile ids and ARNs of either. An id's prefix (`us.`, `eu.`, `apac.`,
  `global.`) is part of its price and stays. An application inference profile hides its model behind an opaque
  ARN; the account's settings say which it is.
- OpenAI and Anthropic answer with the snapshot behind an alias; the answer is the truth.
"""

import re
from collections.abc import Iterable
from functools import cache
from typing import Final, get_args

from metering.accounts import AccountSettings
from metering.budgets import undated
from metering.events import Provider
from metering.model_limits import vendors_name
from metering.price_table import NameIndex, load_price_table
from metering.routing import RULE_PROVIDER, RuleProvider

OUT_OF_REACH: Final = "give a model of the provider that from_models are of: a call stays with its provider"

_ARN = "arn:"
_BEDROCK_WORD = re.compile(r"[a-z][a-z-]*\.[a-z].*", re.DOTALL)
_ARN_KINDS_THAT_NAME_A_MODEL = ("foundation-model/", "inference-profile/")


def served_model(provider: Provider, requested: str, answered: str | None, settings: AccountSettings) -> str:
    """The name of the model that serves a call, as it is recorded and priced.

    `requested` is the caller's word: the body's `model`, the path's deployment or the (decoded) Bedrock model
    id; `answered` the provider's own word, None while there is no answer. Where nothing better is known it is
    the caller's word; whether that has a price is the price table's to say.
    """
    if provider == "azure":
        return settings.azure.deployments.get(requested) or answered or requested
    if provider == "bedrock":
        # never the answer's name: it lacks the profile's region, and with it the price
        mapped = settings.bedrock.inference_profiles.get(requested)
        return mapped or priced_name(provider, requested) or requested
    return answered or requested


def known_names(provider: Provider, requested: str, settings: AccountSettings) -> frozenset[str]:
    """All that a call's model is known by: the caller's word, the mapped one, and this without its date."""
    served = served_model(provider, requested, None, settings)
    return frozenset({requested, served, _plain_name(provider, served)} - {""})


def word_for(provider: Provider, model: str, settings: AccountSettings) -> str:
    """What a call must say to be served by that model; "" where only the account's settings could tell.

    On Azure it is a deployment of that model, on Bedrock an inference profile of it, or an id as it is.
    """
    if provider == "azure":
        return _first_word(provider, settings.azure.deployments, model)
    if provider == "bedrock":
        if model.startswith(_ARN) or _BEDROCK_WORD.fullmatch(model):
            return model
        return _first_word(provider, settings.bedrock.inference_profiles, model)
    return model


def is_within_reach(provider: RuleProvider, from_models: Iterable[str], to_model: str) -> bool:
    """Whether calls of these models may be turned to that one, which no other provider serves.

    Of models that the price list does not have, nothing is known that speaks against it.
    """
    vendor = _vendor(to_model)
    if not vendor:
        return True
    if provider and not any(
        index.find(to_model) for each, index in _listed().items() if RULE_PROVIDER[each] == provider
    ):
        return False
    return all(_vendor(model) in ("", vendor) for model in from_models)


def _vendor(model: str) -> RuleProvider:
    """Whose own list has the model; "" where neither does."""
    name, vendors = vendors_name(model), get_args(RuleProvider)
    return next((vendor for vendor in vendors if vendor and _listed()[vendor].find(name)), "")


@cache
def _listed() -> dict[str, NameIndex]:
    return {provider: NameIndex(models) for provider, models in load_price_table().providers.items()}


def _first_word(provider: Provider, words: dict[str, str], model: str) -> str:
    found = (word for word, named in words.items() if model in (named, _plain_name(provider, named)))
    return min(found, default="")


def _plain_name(provider: Provider, model: str) -> str:
    """The model's name without the date of its snapshot and without what Bedrock adds."""
    return undated(vendors_name(model) if provider == "bedrock" else model)


def priced_name(provider: str, model: str) -> str:
    """The name to look a price up by; "" for an ARN that names no model (its price is not ours to guess)."""
    if provider != "bedrock" or not model.startswith(_ARN):
        return model
    resource = model.split(":", 5)[-1]
    return next(
        (resource.removeprefix(kind) for kind in _ARN_KINDS_THAT_NAME_A_MODEL if resource.startswith(kind)),
        "",
    )
