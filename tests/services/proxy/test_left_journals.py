"""What a killed proxy left in its journal is said by the next one, once."""

import json
from pathlib import Path

from tests.services.proxy.test_process import END_SECONDS_MAX, started


def test_a_journal_left_by_a_crash_is_said_once_at_the_next_start(tmp_path: Path) -> None:
    left = tmp_path / f"cost_events-{'d' * 32}.jsonl"
    left.write_bytes(b"one\ntwo\nthree\n")

    with started(tmp_path, LOG_LEVEL="info") as (process, _):
        assert process.stderr is not None
        told = json.loads(process.stderr.readline())
        process.terminate()
        _, rest = process.communicate(timeout=END_SECONDS_MAX)

    assert (told["level"], told["files"], told["size_bytes"]) == ("warn", 1, 14)
    assert "recovery" in told["event"]
    assert [json.loads(line)["event"] for line in rest.splitlines()] == ["stopping", "stopped"]
    assert left.exists()
