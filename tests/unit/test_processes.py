"""The output of processes in the report of a failed test, and waiting for them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import conftest, processes


def test_the_last_output_of_each_process_is_found_in_any_folder(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "miner-1.log").write_text("early\n" + "x" * processes.TAIL)
    (tmp_path / "err").write_text("error: no\n")
    (tmp_path / "silent.log").write_text("\n")
    (tmp_path / "model").write_text("no words")
    assert dict(processes.last_outputs(tmp_path)) == {
        "err": "error: no",
        "logs/miner-1.log": "x" * processes.TAIL,
    }


def test_it_goes_into_the_report_of_a_failure(tmp_path: Path) -> None:
    (tmp_path / "party.log").write_text("last words")
    item: Any = SimpleNamespace(funcargs={"tmp_path": tmp_path, "folder": tmp_path, "number": 1})
    for is_failure, sections in ((True, [("last output in party.log", "last words")]), (False, [])):
        hook = conftest.pytest_runtest_makereport(item)
        next(hook)
        with pytest.raises(StopIteration) as stop:
            hook.send(SimpleNamespace(failed=is_failure, sections=[]))  # type: ignore[arg-type]
        assert stop.value.value.sections == sections


def test_waiting_ends(tmp_path: Path) -> None:
    assert processes.until(tmp_path.exists)
    assert not processes.until(lambda: False, seconds=0.1)
