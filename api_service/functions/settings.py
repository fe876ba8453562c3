"""What the jobs are told by their environment, read once at start (docs/settings.md)."""

from metering.settings import DeploymentSettings


class FunctionSettings(DeploymentSettings):
    """What jobs need to know besides where everything is kept. Field names are environment names."""
