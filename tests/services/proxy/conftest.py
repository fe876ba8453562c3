"""A proxy before an upstream that says what it used, for tests of what governs calls."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.raw_upstream import RawUpstream
from tests.services.proxy.governed import Using
from tests.services.proxy.running import RunningProxy


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream(Using()) as upstream:
        yield upstream


@pytest.fixture
def proxy(tmp_path: Path, upstream: RawUpstream) -> RunningProxy:
    """It is started by the test, once the account is governed."""
    return RunningProxy(tmp_path, upstream)
