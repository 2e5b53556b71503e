"""What was told of data is counted once, kept across restarts and federations, and never begun anew."""

from __future__ import annotations

import errno
import fcntl
import json
import multiprocessing
import os
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from bcfl.cli.node.learning import BudgetOptions
from bcfl.errors import ConfigError, DiskError
from bcfl.federation import budget as budget_module
from bcfl.federation.accountant import total
from bcfl.federation.budget import FILE, SEAL, BudgetLedger, ledger_of
from bcfl.learning import resolve
from bcfl.protocol.noise import Budget, Release

RELEASE = Release(Fraction(11, 10), Fraction(1, 4), 10)
ONE, TWO = (total([RELEASE] * count).epsilon(1e-5) for count in (1, 2))


def key(round_: int, contract: int = 1, root: int = 1) -> str:
    return f"{contract:064x}/{round_}/{root:064x}"


def ledger(path: Path, epsilon: float | None = None) -> BudgetLedger:
    return BudgetLedger(path / FILE, None if epsilon is None else Budget(f"{epsilon:.4f}"))


def test_it_refuses_what_goes_beyond_the_budget(tmp_path: Path) -> None:
    mine = ledger(tmp_path, (ONE + TWO) / 2)
    mine.require(RELEASE)
    mine.spend(key(1), RELEASE)
    with pytest.raises(ConfigError, match=r"raise --budget, or let the device rest"):
        mine.require(RELEASE)
    with pytest.raises(ConfigError):
        mine.spend(key(2), RELEASE)
    assert mine.spent().epsilon(1e-5) == pytest.approx(ONE)


def test_what_was_counted_with_an_error_is_made_safe_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has its name then, but a power cut could undo it."""
    synced = list[Path]()

    def refuse(_: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    mine = ledger(tmp_path, ONE * 3)
    with monkeypatch.context() as patch:
        patch.setattr(budget_module, "sync_folder", refuse)
        for _ in range(2):
            with pytest.raises(DiskError, match="Input/output error"):
                mine.spend(key(1), RELEASE)
    monkeypatch.setattr(budget_module, "sync_folder", synced.append)
    mine.spend(key(1), RELEASE)
    assert synced == [tmp_path]
    assert mine.spent().epsilon(1e-5) == pytest.approx(ONE)


def test_an_equal_update_costs_nothing_and_another_one_of_the_round_does(tmp_path: Path) -> None:
    mine = ledger(tmp_path, (ONE + TWO) / 2)
    for _ in range(5):
        mine.spend(key(1), RELEASE)
    with pytest.raises(ConfigError):
        mine.spend(key(1, root=2), RELEASE)


def test_it_counts_across_restarts_and_federations_with_other_parameters(tmp_path: Path) -> None:
    ledger(tmp_path).spend(key(1, contract=1), RELEASE)
    other = Release(Fraction(5, 2), Fraction(1), 1)
    ledger(tmp_path).spend(key(1, contract=2), other)
    told = ledger(tmp_path).spent().epsilon(1e-5)
    assert told == pytest.approx(total([RELEASE, other]).epsilon(1e-5))
    with pytest.raises(ConfigError):
        ledger(tmp_path, told - 0.001).spend(key(2, contract=3), Release(Fraction(1000), Fraction(1), 1))


def test_it_is_on_disk_for_its_owner_alone(tmp_path: Path) -> None:
    ledger(tmp_path).spend(key(1), RELEASE)
    assert os.stat(tmp_path / FILE).st_mode & 0o077 == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [FILE, f"{FILE}.lock"]


def sealed(content: object) -> bytes:
    data = json.dumps(content).encode()
    return data + SEAL + sha256(data).hexdigest().encode()


ENTRY: dict[str, Any] = {"update": key(1), "noise": "11/10", "rate": "1/4", "steps": 10}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        sealed({"version": 1, "releases": [ENTRY]})[:-1],
        sealed({"version": 1, "releases": [ENTRY]}).replace(b'"steps": 10', b'"steps": 11'),
        sealed([]),
        sealed({"version": 2, "releases": []}),
        sealed({"version": 1, "releases": [ENTRY, ENTRY]}),
        sealed({"version": 1, "releases": [ENTRY | {"steps": -10}]}),
        sealed({"version": 1, "releases": [ENTRY | {"steps": True}]}),
        sealed({"version": 1, "releases": [ENTRY | {"rate": "5/4"}]}),
        sealed({"version": 1, "releases": [ENTRY | {"noise": "1/0"}]}),
        sealed({"version": 1, "releases": [ENTRY | {"noise": 1.1}]}),
        sealed({"version": 1, "releases": [ENTRY | {"update": "x"}]}),
        sealed({"version": 1, "releases": [ENTRY | {"more": 1}]}),
        sealed({"version": 1, "releases": {"a": 1}}),
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_is_refused_and_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    for call in (lambda: ledger(tmp_path).spent(), lambda: ledger(tmp_path).spend(key(3), RELEASE)):
        with pytest.raises(ConfigError, match="damaged"):
            call()
    assert (tmp_path / FILE).read_bytes() == content


def test_what_a_file_is_read_as_is_what_was_written(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(sealed({"version": 1, "releases": [ENTRY]}))
    assert ledger(tmp_path).spent() == total([RELEASE])


def test_a_link_or_a_pipe_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError):
        ledger(tmp_path).spent()
    (tmp_path / FILE).unlink()
    os.mkfifo(tmp_path / FILE)
    with pytest.raises(ConfigError, match="damaged"):
        ledger(tmp_path).spent()


def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / FILE).open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ConfigError, match="damaged"):
        ledger(tmp_path).spent()


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="--budget-file"):
        BudgetLedger(tmp_path / "file" / FILE).spend(key(1), RELEASE)


def spend_ten(path: Path, contract: int) -> None:
    for number in range(1, 11):
        ledger(path).spend(key(number, contract), RELEASE)


def test_two_processes_with_the_same_data_take_turns(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=spend_ten, args=(tmp_path, contract)) for contract in (1, 2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert ledger(tmp_path).spent() == total([RELEASE] * 20)


def test_it_waits_for_a_process_that_reads_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_module, "LOCK_SECONDS", 0.1)
    with (tmp_path / f"{FILE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        with pytest.raises(ConfigError, match="another process"):
            ledger(tmp_path).spend(key(1), RELEASE)
    ledger(tmp_path).spend(key(1), RELEASE)


def test_a_folder_that_is_renamed_while_a_device_runs_is_not_begun_anew(tmp_path: Path) -> None:
    """Or its drive is away: a count that began at nothing there would allow everything again."""
    (tmp_path / "data").mkdir()
    mine = ledger(tmp_path / "data", (ONE + TWO) / 2)
    mine.spend(key(1), RELEASE)
    (tmp_path / "data").rename(tmp_path / "renamed")
    with pytest.raises(ConfigError, match="not there"):
        mine.spend(key(1), RELEASE)
    assert not (tmp_path / "data").exists()
    assert ledger(tmp_path / "renamed").spent() == total([RELEASE])


@pytest.mark.parametrize("earlier", [False, True])
def test_a_file_that_is_lost_while_a_device_runs_is_written_again(earlier: bool, tmp_path: Path) -> None:
    """Removed, or replaced by an earlier copy: what this process has seen stays counted."""
    mine = ledger(tmp_path)
    mine.spend(key(1), RELEASE)
    copy = (tmp_path / FILE).read_bytes()
    mine.spend(key(2), RELEASE)
    (tmp_path / FILE).unlink()
    if earlier:
        (tmp_path / FILE).write_bytes(copy)
    assert mine.spent() == total([RELEASE] * 2)
    mine.spend(key(1), RELEASE)
    assert ledger(tmp_path).spent() == total([RELEASE] * 2)


def test_a_drive_without_locks_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lock(*_: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", lock)
    with pytest.raises(ConfigError, match="No locks available; name another"):
        ledger(tmp_path).spend(key(1), RELEASE)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("name", ["open", "fsync"])
def test_a_disk_that_refuses_for_now_is_no_wrong_option(
    name: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device would end at its start, or sit the round out, where another try is all that it takes."""

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    mine = ledger(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, name, refuse)
        with pytest.raises(DiskError, match=f"cannot write the budget's file .*: {os.strerror(number)}"):
            mine.spend(key(1), RELEASE)
    mine.spend(key(1), RELEASE)
    assert ledger(tmp_path).spent() == total([RELEASE])


def test_a_disk_that_cannot_be_read_for_now_is_no_wrong_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger(tmp_path).spend(key(1), RELEASE)

    def refuse(*_: object) -> os.stat_result:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", refuse)
        with pytest.raises(DiskError, match="cannot read the budget's file"):
            ledger(tmp_path).require(RELEASE)
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).mkdir()
    with pytest.raises(ConfigError, match=r"cannot read the budget's file .*: Is a directory"):
        ledger(tmp_path).require(RELEASE)


def test_a_disk_too_full_for_the_folder_of_the_count_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(DiskError, match="No space left"):
        ledger_of(True, None, Budget("8"), tmp_path / "new" / "mine", "test")


def test_a_folder_of_data_is_not_made_for_the_count(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not there"):
        ledger_of(True, tmp_path / "misspelt", Budget("8"), None, "test")
    assert not (tmp_path / "misspelt").exists()
    ledger_of(True, None, Budget("8"), tmp_path / "new" / "mine", "test")
    assert (tmp_path / "new").is_dir()


def test_where_it_is_kept(tmp_path: Path) -> None:
    budget = Budget("8")
    in_data = ledger_of(True, tmp_path, budget, None, "test")
    assert in_data == BudgetLedger(tmp_path / FILE, budget)
    named = ledger_of(True, tmp_path, None, tmp_path / "other", "test")
    assert named == BudgetLedger(tmp_path / "other", None)
    assert ledger_of(True, None, None, None, "test") is None
    assert ledger_of(False, tmp_path, None, None, "test") is None


def test_a_budget_that_nothing_keeps_to_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="adds no noise"):
        ledger_of(False, tmp_path, Budget("8"), None, "test")
    with pytest.raises(ConfigError, match="--budget-file"):
        ledger_of(True, None, Budget("8"), None, "test")


def test_the_options_of_a_device_name_its_budget_and_its_file(tmp_path: Path) -> None:
    noisy = resolve("digits").with_agreement((("noise", "level=participant,noise=1,clip=1"),))
    budget = Budget("8", "1e-6")
    in_data = BudgetOptions("epsilon=8.0,delta=1e-6").ledger(noisy, tmp_path, "test")
    assert in_data == BudgetLedger(tmp_path / FILE, budget)
    named = BudgetOptions("epsilon=8,delta=1e-6", tmp_path / "mine").ledger(noisy, None, "test")
    assert named == BudgetLedger(tmp_path / "mine", budget)
    with pytest.raises(ConfigError, match="must be epsilon=X"):
        BudgetOptions("8").ledger(noisy, tmp_path, "test")
    with pytest.raises(ConfigError, match="adds no noise"):
        BudgetOptions("epsilon=8").ledger(resolve("digits"), tmp_path, "test")


def test_a_damaged_file_is_found_before_anything_begins(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"?")
    with pytest.raises(ConfigError, match="damaged"):
        ledger_of(True, tmp_path, None, None, "test")
