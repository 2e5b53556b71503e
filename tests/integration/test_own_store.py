"""A miner whose own store fails waits and votes later; one update that makes stores fail stops nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bcfl.errors import StoreError, Unavailable
from bcfl.protocol.rounds import History, Round
from bcfl.protocol.types import Phase, Verdict
from bcfl.protocol.verification import verdicts_of
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.snapshot import LONG_SHARE
from bcfl.storage import DirectoryStore
from tests.local_federation import LocalFederation
from tests.processes import ANSWER

SECONDS = 60  # of the vote


class FailingStore:
    """A store that fails for the CIDs that `is_failing` selects, like one with a broken disk or daemon."""

    def __init__(self, store: DirectoryStore) -> None:
        self.store = store
        self.is_failing: Callable[[str], bool] = lambda _: False

    def __getattr__(self, name: str) -> object:
        return getattr(self.store, name)

    def get(self, cid: str, max_bytes: int) -> bytes:
        if self.is_failing(cid):
            raise StoreError(f"{cid}: input/output error", cid)
        return self.store.get(cid, max_bytes)


def voting_federation(tmp_path: Path) -> tuple[LocalFederation, FailingStore, list[str]]:
    """A federation in which one miner with a store of its own is to vote; and the CIDs of the updates."""
    local = LocalFederation(tmp_path)
    local.until(Phase.VOTE)
    local.miner_parties[1].act()  # from now on the phase has a deadline that does not move
    store = FailingStore(local.store)
    verifier = local.miner_parties[0].voting.verifier
    archive = Archive(store, local.archive.layout, local.terms)  # type: ignore[arg-type]
    verifier.archive = archive

    def verdicts(_: History, current: Round) -> tuple[Verdict, ...]:
        result = []
        for item in current.submissions:
            try:
                archive.update(item)
                result.append(Verdict.ACCEPTED)
            except Unavailable:
                result.append(Verdict.UNAVAILABLE)
        return tuple(result)

    verifier.verdicts = verdicts  # type: ignore[assignment,method-assign]
    current = local.history.current
    assert current is not None
    return local, store, [archive.sizes.update_cid(item) for item in current.submissions]


def warp(local: LocalFederation, share: float) -> None:
    assert local.chain is not None
    start = local.ledger.clock().deadline - SECONDS
    local.chain.warp(start + int(SECONDS * share))


def test_a_store_that_is_away_is_waited_for(tmp_path: Path) -> None:
    local, store, _ = voting_federation(tmp_path)
    miner = local.miner_parties[0]
    store.is_failing = lambda _: True
    for share in (0.1, LONG_SHARE + 0.1):
        warp(local, share)
        with pytest.raises(StoreError, match="input/output error"):
            miner.act()
    assert miner.account.address not in local.history.rounds[1].vote_commits
    store.is_failing = lambda _: False
    assert miner.act() == "committed its verdicts"


@pytest.mark.parametrize("place", [0, 3])
def test_one_update_that_makes_the_store_fail_does_not_keep_from_voting(tmp_path: Path, place: int) -> None:
    local, store, cids = voting_federation(tmp_path)
    miner = local.miner_parties[0]
    store.is_failing = lambda cid: cid == cids[place]
    with pytest.raises(StoreError):
        miner.act()  # it may be the store
    warp(local, LONG_SHARE + 0.05)
    assert miner.act() == "committed its verdicts"
    record = miner.voting.context.journal.read_json("vote.json") or {}
    verdicts = list(verdicts_of(record["verdicts"])[0])
    assert verdicts.pop(place) is Verdict.UNAVAILABLE
    assert set(verdicts) == {Verdict.ACCEPTED}


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_store_that_goes_while_updates_are_read_is_no_reason_against_the_others(
    tmp_path: Path, place: int
) -> None:
    """What was read before is in memory: that says nothing of the store as it is now."""
    local, store, cids = voting_federation(tmp_path)
    miner = local.miner_parties[0]
    store.is_failing = lambda cid: cid == cids[place]
    with pytest.raises(StoreError):
        miner.act()  # some updates are read
    store.is_failing = lambda _: True
    warp(local, LONG_SHARE + 0.05)
    with pytest.raises(StoreError):
        miner.act()
    assert miner.account.address not in local.history.rounds[1].vote_commits
    store.is_failing = lambda _: False
    assert miner.act() == "committed its verdicts"
    record = miner.voting.context.journal.read_json("vote.json") or {}
    assert set(verdicts_of(record["verdicts"])[0]) == {Verdict.ACCEPTED}


class SlowStore:
    """A store across a network, which searches for a while for withheld contents."""

    def __init__(self, store: DirectoryStore, cids: set[str]) -> None:
        self.store, self.withheld_cids = store, cids
        self.request_count = 0
        self.lock = threading.Lock()
        self.together = threading.Barrier(len(cids))

    def get(self, cid: str, max_bytes: int) -> bytes:
        if cid not in self.withheld_cids:
            return self.store.get(cid, max_bytes)
        with self.lock:
            self.request_count += 1
        self.together.wait(ANSWER)  # a reader that asks for one after the other would never come through
        raise Unavailable(f"nobody gave {cid}", cid)


def test_withheld_updates_cost_the_time_of_one(tmp_path: Path) -> None:
    local, _, cids = voting_federation(tmp_path)
    miner = local.miner_parties[0]
    slow = SlowStore(local.store, set(cids[1:]))
    archive = miner.voting.verifier.archive
    archive.store, archive.readers = slow, 16  # type: ignore[assignment]
    assert miner.act() == "committed its verdicts"
    record = miner.voting.context.journal.read_json("vote.json") or {}
    verdicts, _ = verdicts_of(record["verdicts"])
    assert verdicts == (Verdict.ACCEPTED, *[Verdict.UNAVAILABLE] * 3)
    assert slow.request_count == 3
    archive.store = local.store
    assert archive.update(local.history.rounds[1].submissions[1]) is not None  # it is requested again


def test_what_was_missing_when_the_store_failed_is_looked_for_again(tmp_path: Path) -> None:
    """A daemon that starts again has no peers at first, then fails, then gives everything."""
    local, store, cids = voting_federation(tmp_path)
    miner = local.miner_parties[0]
    miner.voting.verifier.archive.readers = 4

    def get(cid: str, _: int) -> bytes:
        if cid == cids[0]:
            raise Unavailable(f"nobody gave {cid}", cid)
        raise StoreError(f"{cid}: connection refused", cid)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "get", get)
        with pytest.raises(StoreError, match="connection refused"):
            miner.act()
    assert miner.act() == "committed its verdicts"
    record = miner.voting.context.journal.read_json("vote.json") or {}
    assert set(verdicts_of(record["verdicts"])[0]) == {Verdict.ACCEPTED}


def test_a_missing_update_is_requested_again_in_the_next_round(tmp_path: Path) -> None:
    local, *_ = voting_federation(tmp_path)
    archive = local.miner_parties[0].voting.verifier.archive
    item = local.history.rounds[1].submissions[0]
    archive.mark_unavailable(item)
    with pytest.raises(Unavailable, match="in vain"):
        archive.update(item)
    archive.forget()
    assert archive.update(item) is not None
