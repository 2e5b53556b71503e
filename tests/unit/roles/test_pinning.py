"""A party pins what was touched, for so many rounds, and the last model for good."""

from __future__ import annotations

from pathlib import Path

import pytest

from bcfl.errors import StoreError
from bcfl.protocol.types import Phase
from bcfl.roles.background.pinning import RECORD, Pinning
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.journal import Journal
from tests.local_federation import LocalFederation


class PinnedStore:
    """The pins of a store, which can be unreachable."""

    def __init__(self) -> None:
        self.cids: set[str] = set()
        self.is_away = False

    def pin(self, cid: str) -> None:
        if self.is_away:
            raise StoreError("the store is away")
        self.cids.add(cid)

    def unpin(self, cid: str) -> None:
        if self.is_away:
            raise StoreError("the store is away")
        self.cids.remove(cid)  # never what is not pinned


def pinning(local: LocalFederation, pins: PinnedStore, rounds: int = 2) -> Pinning:
    """Pins what the parties of a local federation touch, which share an archive."""
    return Pinning(local.archive, Journal(local.path / "pins"), pins.pin, pins.unpin, rounds)


def tidy(pinning_: Pinning, local: LocalFederation) -> None:
    while pinning_.act(local.history):
        pass


def update_cids(local: LocalFederation, round_: int) -> set[str]:
    submissions = local.history.rounds[round_].submissions
    return {local.archive.sizes.update_cid(item) for item in submissions}


def model_cids(local: LocalFederation) -> list[str]:
    return [local.archive.sizes.model_cid(block.round, block.cid) for block in local.history.blocks]


def test_default_behavior(tmp_path: Path) -> None:
    local, pins = LocalFederation(tmp_path), PinnedStore()
    pinning_ = pinning(local, pins)
    for number in range(1, 7):
        local.play()
        tidy(pinning_, local)
        local.archive.forget()
        rounds = range(max(1, number - 1), number + 1)  # two rounds, and the one that is open now
        assert set().union(*(update_cids(local, round_) for round_ in rounds)) <= pins.cids
        assert set(model_cids(local)[-2:]) <= pins.cids
        assert len(pins.cids) <= 5 * (4 + 1) + 1
    assert not update_cids(local, 1) & pins.cids  # verification reads two rounds back, which is a touch
    assert pinning_.act(local.history) is None


def test_bytes_that_were_verified_are_pinned_from_the_vote_on(tmp_path: Path) -> None:
    local, pins = LocalFederation(tmp_path), PinnedStore()
    pinning_ = pinning(local, pins)
    local.until(Phase.UNVEIL)
    tidy(pinning_, local)
    assert update_cids(local, 1) <= pins.cids


def test_a_store_that_is_away_is_asked_again(tmp_path: Path) -> None:
    local, pins = LocalFederation(tmp_path), PinnedStore()
    pinning_ = pinning(local, pins)
    local.play()
    pins.is_away = True
    with pytest.raises(StoreError):
        pinning_.act(local.history)
    local.archive.forget()  # the round is over, and what was touched in it is not forgotten
    pins.is_away = False
    tidy(pinning_, local)
    assert update_cids(local, 1) <= pins.cids


def test_a_killed_process_lets_go_of_what_it_had_pinned(tmp_path: Path) -> None:
    local, pins = LocalFederation(tmp_path), PinnedStore()
    local.play()
    first = pinning(local, pins)
    for device in range(4):
        local.archive.update(local.history.rounds[1].submissions[device])
    local.archive.forget()
    local.archive.update(local.history.rounds[1].submissions[0])
    tidy(first, local)
    assert pins.cids
    for _ in range(4):
        local.play()
    second = Pinning(
        Archive(local.store, local.archive.layout, local.terms),
        Journal(tmp_path / "pins"), pins.pin, pins.unpin, 2,
    )  # fmt: skip
    pins.cids |= set(second._pins)
    tidy(second, local)
    assert pins.cids == set()


def test_the_last_model_stays_however_long_it_is_the_last(tmp_path: Path) -> None:
    local, pins = LocalFederation(tmp_path), PinnedStore()
    pinning_ = pinning(local, pins)
    local.play()
    tidy(pinning_, local)
    local.remove(*local.device_parties)
    for _ in range(5):  # without devices all rounds are void
        local.play()
        local.archive.forget()
        tidy(pinning_, local)
    assert local.history.head.round == 1
    assert pins.cids == {model_cids(local)[-1]}


def test_for_good(tmp_path: Path) -> None:
    local, pins = LocalFederation(tmp_path), PinnedStore()
    pinning_ = pinning(local, pins, rounds=0)
    for _ in range(3):
        local.play()
        pinning_.end(local.history)
        local.archive.forget()
    assert set().union(*(update_cids(local, number) for number in (1, 2, 3))) <= pins.cids


def test_the_record_is_small(tmp_path: Path) -> None:
    """What is written down does not grow with the rounds."""
    local, pins, sizes = LocalFederation(tmp_path), PinnedStore(), []
    pinning_ = pinning(local, pins)
    for _ in range(8):
        local.play()
        tidy(pinning_, local)
        local.archive.forget()
        sizes.append(len(Journal(tmp_path / "pins").read(RECORD) or b""))
    assert sizes[-1] <= max(sizes[:4])
