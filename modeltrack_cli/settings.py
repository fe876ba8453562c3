"""What the command is told by its environment; docs/settings.md lists it."""

from pathlib import Path
from typing import Literal

from metering.setting_kinds import Secret
from metering.settings import Settings


class CommandSettings(Settings):
    """Where ModelTrack and the providers are, and what opens them. Field names are environment names."""

    modeltrack_url: str = "http://127.0.0.1:3001"
    modeltrack_key: Secret = Secret("")
    modeltrack_email: str = ""
    modeltrack_password: Secret = Secret("")
    modeltrack_code: Secret = Secret("")
    openai_admin_key: Secret = Secret("")
    openai_admin_url: str = "https://api.openai.com"
    anthropic_admin_key: Secret = Secret("")
    anthropic_admin_url: str = "https://api.anthropic.com"

    modeltrack_proxy_url: str = "http://127.0.0.1:8080"
    modeltrack_project: str = ""
    modeltrack_database: str = "(default)"
    firestore_emulator_host: str = ""  # as Google's tools set it
    anthropic_api_key: Secret = Secret("")
    openai_api_key: Secret = Secret("")
    requests_ca_bundle: Path | None = None  # as requests reads it by itself
    no_color: str = ""  # https://no-color.org

    enable_aws_costs: bool = False
    enable_opencost: bool = False
    enable_gpu_metrics: bool = False
    cost_explorer_granularity: Literal["DAILY", "HOURLY"] = "DAILY"
    collection_tags: str = "team,app,environment"
    aws_cost_services: str = ""
    aws_region: str = "us-east-1"
    opencost_endpoint: str = "http://opencost.opencost:9003"

    @property
    def tags(self) -> list[str]:
        """The tags of AWS, that of the team first."""
        return [each.strip() for each in self.collection_tags.split(",") if each.strip()] or ["team"]
