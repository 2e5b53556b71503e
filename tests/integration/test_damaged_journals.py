"""Journals that are damaged while a round runs: nobody loses stake, and the round ends as it would have."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from bcfl.protocol.types import Phase
from tests.local_federation import LocalFederation


def damage(folder: Path, seed: int) -> int:
    """Change one byte of every record in a folder; returns how many there are."""
    random = Random(seed)
    files = [file for file in folder.rglob("*") if file.is_file() and file.suffix != ".jsonl"]
    for file in files:
        data = bytearray(file.read_bytes())
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        file.write_bytes(data)
    return len(files)


@pytest.mark.parametrize("phase", [Phase.REVEAL, Phase.VOTE, Phase.UNVEIL, Phase.PROPOSE])
def test_all_journals_are_damaged(phase: Phase, tmp_path: Path) -> None:
    """A vote that is lost is judged again, and is the one on chain; updates are opened by who still can."""
    local = LocalFederation(tmp_path, on_disk=True)
    local.play()
    stakes = [member.stake for member in local.history.miners.values()]
    local.until(phase)
    assert damage(tmp_path / "journal", phase) > 0
    second = local.restart()
    number = max(second.history.rounds)
    second.play(2)
    assert [member.stake for member in second.history.miners.values()] == stakes
    assert second.history.rounds[number].status == ("void" if phase is Phase.REVEAL else "finalized")


def exchange(folder: Path, is_among_accounts: bool) -> None:
    """Put the records in one another's place: of the same name among accounts, else of one account."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.suffix != ".jsonl"]
    groups: dict[str, list[Path]] = {}
    for file in files:
        groups.setdefault(file.name if is_among_accounts else file.parent.name, []).append(file)
    for group in groups.values():
        contents = [file.read_bytes() for file in group]
        for file, content in zip(group, contents[1:] + contents[:1], strict=True):
            file.write_bytes(content)


@pytest.mark.parametrize("is_among_accounts", [True, False])
@pytest.mark.parametrize("phase", [Phase.COMMIT, Phase.REVEAL, Phase.VOTE, Phase.UNVEIL])
def test_all_records_are_in_a_wrong_place(phase: Phase, is_among_accounts: bool, tmp_path: Path) -> None:
    """Each is whole, and says what its party has never done: it is made again, as a damaged one."""
    local = LocalFederation(tmp_path, on_disk=True)
    local.play()
    stakes = [member.stake for member in local.history.miners.values()]
    local.until(phase)
    exchange(tmp_path / "journal", is_among_accounts)
    second = local.restart()
    number = max(second.history.rounds)
    second.play(2)
    assert [member.stake for member in second.history.miners.values()] == stakes
    assert second.history.rounds[number].status == ("void" if phase is Phase.REVEAL else "finalized")


def test_a_vote_that_the_journal_has_lost_is_judged_again(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, on_disk=True)
    local.until(Phase.UNVEIL)
    damage(tmp_path / "journal", 3)
    second = local.restart()
    second.play()
    assert {vote.voter.account for vote in second.history.rounds[1].votes} == {
        account.address for account in second.miner_accounts
    }
