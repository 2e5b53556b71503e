"""`bcfl doctor`: what it finds, and what it says to do about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bcfl.cli.node import doctor
from bcfl.errors import Unreachable


def test_doctor_tells_an_error_from_what_to_do_about_it() -> None:
    error = Unreachable("http://127.0.0.1:1: ConnectionError; is the node running and the URL right?")
    found = doctor._failed("node", error)
    assert found.found == "http://127.0.0.1:1: ConnectionError"
    assert found.advice == "is the node running and the URL right?"


@pytest.mark.parametrize(
    ("ahead", "own", "expected"),
    [
        (0, False, "ok"),
        (-30, False, "ok"),
        (100, False, "warning"),
        (-4000, False, "warning"),
        (100, True, "warning"),
    ],
)
def test_doctor_compares_the_clocks(ahead: int, own: bool, expected: str) -> None:
    found = doctor.clock(1_000_000 + ahead, 1_000_000.0, own)
    assert found.status == expected
    assert bool(found.advice) == (expected != "ok")


def test_doctor_looks_at_disk_and_store(tmp_path: Path) -> None:
    assert doctor.disk(tmp_path / "not" / "there").check == "disk"
    assert doctor._store(str(tmp_path / "store"), None).status == "ok"
    assert doctor._store("ipfs:nonsense", None).status == "failed"
