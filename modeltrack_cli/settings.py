"""What the command is told by its environment; docs/settings.md lists it."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class CommandSettings(BaseSettings):
    """Where ModelTrack and the providers are, and what opens them. Field names are environment names."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    modeltrack_url: str = "http://127.0.0.1:3001"
    modeltrack_key: SecretStr = Field(default=SecretStr(""))
    openai_admin_key: SecretStr = Field(default=SecretStr(""))
    openai_admin_url: str = "https://api.openai.com"
    anthropic_admin_key: SecretStr = Field(default=SecretStr(""))
    anthropic_admin_url: str = "https://api.anthropic.com"
