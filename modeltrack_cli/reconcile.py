"""`modeltrack reconcile`: fetch the providers' cost reports and post what each day cost by model."""

import getpass
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from metering.money import usd_text
from modeltrack_cli.amounts import nanodollars
from modeltrack_cli.calls import Credential, post
from modeltrack_cli.cost_reports import DayCosts, Provider, anthropic_costs, openai_costs
from modeltrack_cli.errors import CommandFailed
from modeltrack_cli.settings import CommandSettings

PROVIDERS: Final[tuple[Provider, ...]] = ("openai", "anthropic")
DAYS_MAX: Final = 31
DAYS_DEFAULT: Final = 7
DAYS_A_POST: Final = 5
MODELS_A_DAY_MAX: Final = 200

Say = Callable[[str], None]

_READERS: Final = {"openai": openai_costs, "anthropic": anthropic_costs}


def reconcile(
    settings: CommandSettings, providers: Sequence[Provider], days: int, until: date, say: Say
) -> None:
    """Post what the `days` days before `until` cost at those providers; without any, at those with a key.

    Days are posted whole and replace what was posted of them, so that it may run as often as one likes.
    Raises: CommandFailed; what was posted by then is posted.
    """
    key = _modeltrack_key(settings)
    chosen = providers or [each for each in PROVIDERS if _kept_key(settings, each)]
    if not chosen:
        raise CommandFailed("set OPENAI_ADMIN_KEY or ANTHROPIC_ADMIN_KEY, or name one with --provider")
    first = until - timedelta(days=days)
    for provider in chosen:
        url = settings.openai_admin_url if provider == "openai" else settings.anthropic_admin_url
        admin_key = _admin_key(settings, provider)
        costs = _READERS[provider](url.rstrip("/"), admin_key, first, until)
        _post(settings, key, provider, costs)
        total = sum(nanodollars(usd) for models in costs.values() for usd in models.values())
        say(f"{provider}: {len(costs)} of {days} days posted, {usd_text(total)} USD")


def _post(settings: CommandSettings, key: str, provider: Provider, costs: DayCosts) -> None:
    url = f"{settings.modeltrack_url.rstrip('/')}/v1/reconciliations"
    days = [{"day": day.isoformat(), "models": _lines(models)} for day, models in costs.items()]
    for start in range(0, len(days), DAYS_A_POST):
        body = {"provider": provider, "days": days[start : start + DAYS_A_POST]}
        post("ModelTrack", url, body, credential=Credential("Authorization", f"Bearer {key}"))


def _lines(models: Mapping[str, Decimal]) -> list[dict[str, str]]:
    """The dearest models of a day; what is beyond as many as may be posted is of none."""
    costs = {model: nanodollars(usd) for model, usd in models.items()}
    unnamed = costs.pop("", 0)
    dearest = sorted(costs, key=lambda model: (-costs[model], model))
    unnamed += sum(costs[model] for model in dearest[MODELS_A_DAY_MAX - 1 :])
    lines = [{"model": each, "cost_usd": usd_text(costs[each])} for each in dearest[: MODELS_A_DAY_MAX - 1]]
    return [*lines, {"model": "", "cost_usd": usd_text(unnamed)}] if unnamed else lines


def _modeltrack_key(settings: CommandSettings) -> str:
    key = settings.modeltrack_key.get_secret_value()
    if not key:
        raise CommandFailed("set MODELTRACK_KEY to a key of yours with the scope ingest")
    return key


def _kept_key(settings: CommandSettings, provider: Provider) -> str:
    kept = settings.openai_admin_key if provider == "openai" else settings.anthropic_admin_key
    return kept.get_secret_value()


def _admin_key(settings: CommandSettings, provider: Provider) -> str:
    kept = _kept_key(settings, provider)
    if kept:
        return kept
    if not sys.stdin.isatty():
        raise CommandFailed(f"set {provider.upper()}_ADMIN_KEY, or run this where it can be asked for")
    return getpass.getpass(f"Admin key of {provider} (it is sent there alone): ").strip()
