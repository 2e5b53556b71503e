"""What a party has its store keep: what was touched, for so many rounds; the last model for good."""

from __future__ import annotations

from pathlib import Path

import pytest

from bcfl.errors import StoreError
from bcfl.protocol.types import Phase
from bcfl.roles.archive import Archive
from bcfl.roles.journal import Journal
from bcfl.roles.keeper import RECORD, Keeper
from tests.village import Village


class Pinned:
    """The pins of a store, which can be away."""

    def __init__(self) -> None:
        self.cids: set[str] = set()
        self.away = False

    def pin(self, cid: str) -> None:
        if self.away:
            raise StoreError("the store is away")
        self.cids.add(cid)

    def unpin(self, cid: str) -> None:
        if self.away:
            raise StoreError("the store is away")
        self.cids.remove(cid)  # never what is not pinned


def keeper(village: Village, pins: Pinned, rounds: int = 2) -> Keeper:
    """One that keeps what the parties of a village touch, which share an archive."""
    return Keeper(village.archive, Journal(village.path / "pins"), pins.pin, pins.unpin, rounds)


def tidy(found: Keeper, village: Village) -> None:
    while found.act(village.history):
        pass


def update_cids(village: Village, round_: int) -> set[str]:
    lanes = village.terms.lane_bits
    submissions = village.history.rounds[round_].submissions
    return {village.archive.cid_of(item.update.cid, lanes) for item in submissions}


def model_cids(village: Village) -> list[str]:
    return [village.archive.cid_of(block.cid) for block in village.history.blocks]


def test_default_behavior(tmp_path: Path) -> None:
    village, pins = Village(tmp_path), Pinned()
    found = keeper(village, pins)
    for number in range(1, 7):
        village.play()
        tidy(found, village)
        village.archive.forget()
        kept = range(max(1, number - 1), number + 1)  # two rounds, and the one that is open now
        assert set().union(*(update_cids(village, round_) for round_ in kept)) <= pins.cids
        assert set(model_cids(village)[-2:]) <= pins.cids
        assert len(pins.cids) <= 5 * (4 + 1) + 1
    assert not update_cids(village, 1) & pins.cids  # verification looks two rounds back, which is a touch
    assert found.act(village.history) is None


def test_bytes_that_were_verified_are_pinned_from_the_vote_on(tmp_path: Path) -> None:
    village, pins = Village(tmp_path), Pinned()
    found = keeper(village, pins)
    village.until(Phase.UNVEIL)
    tidy(found, village)
    assert update_cids(village, 1) <= pins.cids


def test_a_store_that_is_away_is_asked_again(tmp_path: Path) -> None:
    village, pins = Village(tmp_path), Pinned()
    found = keeper(village, pins)
    village.play()
    pins.away = True
    with pytest.raises(StoreError):
        found.act(village.history)
    village.archive.forget()  # the round is over, and what was touched in it is not forgotten
    pins.away = False
    tidy(found, village)
    assert update_cids(village, 1) <= pins.cids


def test_a_killed_process_lets_go_of_what_it_had_pinned(tmp_path: Path) -> None:
    village, pins = Village(tmp_path), Pinned()
    village.play()
    first = keeper(village, pins)
    for device in range(4):
        village.archive.update(village.history.rounds[1].submissions[device])
    village.archive.forget()
    village.archive.update(village.history.rounds[1].submissions[0])
    tidy(first, village)
    assert pins.cids
    for _ in range(4):
        village.play()
    again = Keeper(
        Archive(village.store, village.archive.layout, village.terms),
        Journal(tmp_path / "pins"), pins.pin, pins.unpin, 2,
    )  # fmt: skip
    pins.cids |= set(again._pins)
    tidy(again, village)
    assert pins.cids == set()


def test_the_last_model_stays_however_long_it_is_the_last(tmp_path: Path) -> None:
    village, pins = Village(tmp_path), Pinned()
    found = keeper(village, pins)
    village.play()
    tidy(found, village)
    village.dead(*village.homes)
    for _ in range(5):  # without devices all rounds are void
        village.play()
        village.archive.forget()
        tidy(found, village)
    assert village.history.head.round == 1
    assert pins.cids == {model_cids(village)[-1]}


def test_for_good(tmp_path: Path) -> None:
    village, pins = Village(tmp_path), Pinned()
    found = keeper(village, pins, rounds=0)
    for _ in range(3):
        village.play()
        found.end(village.history)
        village.archive.forget()
    assert set().union(*(update_cids(village, number) for number in (1, 2, 3))) <= pins.cids


def test_the_record_is_small(tmp_path: Path) -> None:
    """What is written down does not grow with the rounds."""
    village, pins, sizes = Village(tmp_path), Pinned(), []
    found = keeper(village, pins)
    for _ in range(8):
        village.play()
        tidy(found, village)
        village.archive.forget()
        sizes.append(len(Journal(tmp_path / "pins").read(RECORD) or b""))
    assert sizes[-1] <= max(sizes[:4])
