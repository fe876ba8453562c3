"""Functions are given no secret that they do not need."""

from typing import Any

import pytest

from api_service.functions.settings import FunctionSettings
from metering.settings import DeploymentSettings, SettingsRefused


def test_a_hosted_function_needs_no_secret_where_a_service_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FunctionSettings.declared():
        monkeypatch.delenv(name.upper(), raising=False)
    hosted: dict[str, Any] = {"k_service": "check", "store_url": "firestore://demo-x"}

    assert FunctionSettings(**hosted).is_hosted
    with pytest.raises(SettingsRefused, match="MODELTRACK_SECRET"):
        DeploymentSettings(**hosted)
