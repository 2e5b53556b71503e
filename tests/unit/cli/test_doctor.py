"""`bcfl doctor`: what it finds, and what it says to do about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bcfl.errors import Unreachable
from bcfl.federation import diagnosis


def test_doctor_tells_an_error_from_what_to_do_about_it() -> None:
    error = Unreachable("http://127.0.0.1:1: ConnectionError; is the node running and the URL right?")
    finding = diagnosis._failed("node", error)
    assert finding.found == "http://127.0.0.1:1: ConnectionError"
    assert finding.advice == "is the node running and the URL right?"
    assert "doctor" not in diagnosis._failed("node", Unreachable("no word of advice")).advice


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
    finding = diagnosis.check_clock(1_000_000 + ahead, 1_000_000.0, own)
    assert finding.status == expected
    assert bool(finding.advice) == (expected != "ok")


def test_doctor_looks_at_disk_and_store(tmp_path: Path) -> None:
    assert diagnosis.check_disk(tmp_path / "not" / "there").check == "disk"
    assert diagnosis.check_store(str(tmp_path / "store"), None).status == "ok"
    assert diagnosis.check_store("ipfs:nonsense", None).status == "failed"


def test_doctor_minds_no_package_that_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    pins = ["web3==8.0", "flwr==1.41.*; extra == 'flower'", "vyper==0.4.3; extra == 'dev'", "torch<3,>=2"]
    versions = {"web3": "8.0", "flwr": "1.0", "vyper": "0.1"}
    monkeypatch.setattr(diagnosis, "_requirements", lambda: pins)
    monkeypatch.setattr(diagnosis, "_version", lambda name: versions.get(name, "1"))
    assert diagnosis.check_packages().status == "ok"
    versions["web3"] = "9.0"
    finding = diagnosis.check_packages()
    assert (finding.status, finding.found) == ("warning", "web3 9.0 instead of 8.0")
