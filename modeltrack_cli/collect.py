"""`modeltrack collect`: read what infrastructure cost, of every source that is switched on, and post it."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from modeltrack_cli.aws_costs import aws_rows
from modeltrack_cli.errors import CommandFailed
from modeltrack_cli.gpu_metrics import gpu_rows
from modeltrack_cli.infrastructure_rows import post_rows
from modeltrack_cli.opencost import opencost_rows
from modeltrack_cli.settings import CommandSettings

Say = Callable[[str], None]
MakeClient = Callable[[str, str], Any]  # service, region → boto3's client of it

_DAY = timedelta(days=1)


def collect(settings: CommandSettings, days: int, now: datetime, say: Say, make_client: MakeClient) -> None:
    """Post what is there of today so far and the `days` days before, of each source.

    It may run as often as one likes, and at the same time: each row is about its span, whenever collected.
    Raises: CommandFailed; what was posted by then is posted.
    """
    key = settings.modeltrack_key.get_secret_value()
    if not key:
        raise CommandFailed("set MODELTRACK_KEY to a key of yours with the scope ingest")
    if not (settings.enable_aws_costs or settings.enable_opencost or settings.enable_gpu_metrics):
        raise CommandFailed("set ENABLE_AWS_COSTS, ENABLE_OPENCOST or ENABLE_GPU_METRICS to true")
    url = settings.modeltrack_url.rstrip("/")
    hour = now.replace(minute=0, second=0, microsecond=0)
    today = hour.replace(hour=0)
    first, region = today - days * _DAY, settings.aws_region
    if settings.enable_aws_costs:
        tag, granularity = settings.tags[0], settings.cost_explorer_granularity
        explorer = make_client("ce", region)
        rows = _asked_of_aws(
            lambda: aws_rows(explorer, _services(settings), tag, granularity, (first, today + _DAY))
        )
        say(f"aws: {post_rows(url, key, rows)} rows posted")
    if settings.enable_opencost:
        rows = opencost_rows(settings.opencost_endpoint.rstrip("/"), first, hour)
        say(f"opencost: {post_rows(url, key, rows)} rows posted")
    if settings.enable_gpu_metrics:
        watch = make_client("cloudwatch", region)
        rows = _asked_of_aws(lambda: gpu_rows(watch, region, first, hour))
        say(f"gpu metrics: {post_rows(url, key, rows)} rows posted")


def aws_client(service: str, region: str) -> Any:
    """boto3's client, which finds AWS's credentials by itself. Raises: CommandFailed, where it is missing."""
    try:
        import boto3  # noqa: PLC0415 - wanted for AWS alone
    except ImportError:
        raise CommandFailed("AWS is read through boto3, which is not installed: pip install boto3") from None
    return boto3.client(service, region_name=region)


def _asked_of_aws(ask: Callable[[], Any]) -> Any:
    import botocore.exceptions  # noqa: PLC0415 - comes with boto3

    try:
        return ask()
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        code = getattr(error, "response", {}).get("Error", {}).get("Code", type(error).__name__)
        raise CommandFailed(f"AWS: {code}") from None


def _services(settings: CommandSettings) -> Sequence[str]:
    """What is asked of AWS. OpenCost divides up what EC2 costs: with it, EC2 would be counted twice."""
    given = [each.strip() for each in settings.aws_cost_services.split(",") if each.strip()]
    return given or (["SageMaker"] if settings.enable_opencost else ["SageMaker", "EC2"])
