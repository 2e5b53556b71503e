"""What a failed test shows of its processes, and how long it waits for them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import conftest, processes


def test_what_each_process_said_last_is_found_wherever_it_is(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "miner-1.log").write_text("early\n" + "x" * processes.TAIL)
    (tmp_path / "err").write_text("error: no\n")
    (tmp_path / "silent.log").write_text("\n")
    (tmp_path / "model").write_text("no words")
    assert dict(processes.said(tmp_path)) == {"err": "error: no", "logs/miner-1.log": "x" * processes.TAIL}


def test_it_goes_into_the_report_of_a_failure(tmp_path: Path) -> None:
    (tmp_path / "party.log").write_text("last words")
    item: Any = SimpleNamespace(funcargs={"tmp_path": tmp_path, "folder": tmp_path, "number": 1})
    for failed, sections in ((True, [("said in party.log", "last words")]), (False, [])):
        made = conftest.pytest_runtest_makereport(item)
        next(made)
        with pytest.raises(StopIteration) as ended:
            made.send(SimpleNamespace(failed=failed, sections=[]))  # type: ignore[arg-type]
        assert ended.value.value.sections == sections


def test_waiting_ends(tmp_path: Path) -> None:
    assert processes.until(tmp_path.exists)
    assert not processes.until(lambda: False, seconds=0.1)
