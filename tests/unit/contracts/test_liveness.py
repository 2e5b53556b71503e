"""Each role absent in each phase: the round still ends, and the next one works."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bcfl.protocol.types import Phase
from testkit.harness import ETHER, TERMS, Federation

POW = replace(TERMS, engine=1, pow_target=2**252)


@pytest.mark.parametrize(
    ("phase", "engine"),
    # Only the race has a phase of its own, and only after it is anything different.
    [(Phase(number), 0) for number in (0, 1, 2, 3, 4, 6, 7)] + [(Phase(number), 1) for number in (5, 6, 7)],
)
def test_everybody_leaves_at(phase: Phase, engine: int) -> None:
    terms = replace(POW, engine=engine, reward=0, vote_penalty=0, leader_penalty=0)
    federation = Federation(terms=terms).open().finish()
    federation.until(phase).push()
    assert federation.clock.round == 3
    federation.finish()
    assert federation.clock.round == 4


@pytest.mark.parametrize("absent", range(4))
def test_one_device_is_absent(absent: int) -> None:
    federation = Federation(devices=4, miners=2).open()
    batches = [[u for u in federation.share(index) if u.device != absent] for index in range(2)]
    for key, batch in zip(federation.miner_keys, batches, strict=True):
        federation.commit(key, batch)
    for key, batch in zip(federation.miner_keys, batches, strict=True):
        federation.reveal(key, batch)
    federation.finish()
    assert len(federation.tallies[1].accepted) == 3


def test_one_device_commits_and_never_reveals() -> None:
    federation = Federation(devices=4, miners=2).open().until(Phase.REVEAL)
    federation.reveal(federation.miner_keys[0], federation.share(0), bits=0b10)
    federation.reveal(federation.miner_keys[1], federation.share(1))
    federation.finish()
    assert len(federation.tallies[1].accepted) == 3


@pytest.mark.parametrize("first_missing", ["commit", "reveal", "commit_vote", "unveil", "attest"])
def test_one_miner_is_absent(first_missing: str) -> None:
    """The last of four miners makes no call from `first_missing` on."""
    federation = Federation(devices=6, miners=4, stakes=(9 * ETHER,) * 4).open()
    calls = ["commit", "reveal", "commit_vote", "unveil", "attest"]
    absence = calls.index(first_missing)

    def miner_count(position: int) -> int:
        return 4 if position < absence else 3

    for index in range(miner_count(0)):
        federation.commit(federation.miner_keys[index], federation.share(index))
    reach(federation, Phase.REVEAL)
    for index in range(miner_count(1)):
        federation.reveal(federation.miner_keys[index], federation.share(index))
    reach(federation, Phase.VOTE)
    openings = [federation.opening(index) for index in range(4)]
    for opening in openings[: miner_count(2)]:
        federation.commit_vote(opening)
    reach(federation, Phase.UNVEIL)
    for opening in openings[: miner_count(3)]:
        federation.unveil(opening)
    reach(federation, Phase.TALLY)
    federation.tally()
    last = federation.miner_keys[3].address
    if federation.leader().address == last:
        federation.expire()
        federation.send(federation.outsider, "skip", *federation.skip_args())
    federation.propose()
    for key in federation.miner_keys[:3]:
        if key is not federation.leader() and not federation.attested():
            federation.send(key, "attest", federation.proposal_digest())
    federation.finalize()
    assert federation.clock.round == 2


def reach(federation: Federation, phase: Phase) -> None:
    """Let deadlines pass until `phase` is due."""
    while federation.clock.phase is not phase:
        federation.expire()
        federation.send(federation.outsider, "advance")


def test_no_miner_at_all() -> None:
    federation = Federation(devices=2, miners=0).open()
    batch = [federation.update(0)]
    federation.commit(federation.device_keys[0], batch)
    federation.push()
    assert federation.clock.round == 2
    assert federation.contract.call("active_miners") == (0, 0)
    federation.push()


def test_no_miner_but_enough_updates() -> None:
    federation = Federation(devices=2, miners=0).open()
    for device in range(2):
        federation.commit(federation.device_keys[device], [federation.update(device)])
    federation.expire()
    for device in range(2):
        federation.reveal(federation.device_keys[device], [federation.update(device)])
    federation.push()
    assert federation.clock.round == 2


def test_all_miners_leave_and_others_come() -> None:
    federation = Federation(miners=2, terms=replace(TERMS, exit_rounds=1)).open()
    for key in federation.miner_keys:
        federation.send(key, "leave_miner")
    federation.finish()
    assert federation.contract.call("active_miners") == (0, 0)
    federation.push()
    for key in federation.miner_keys:
        federation.send(key, "release_stake")
    for key in federation.miner_keys:
        federation.send(key, "register_miner", value=ETHER)
    federation.push()
    federation.finish()
    balance, stakes, owed, pool = federation.money()
    assert balance == stakes + owed + pool


def test_the_owner_is_gone_after_the_start() -> None:
    federation = Federation().open()
    federation.owner = None  # type: ignore[assignment]
    for _ in range(3):
        federation.finish()
    assert federation.clock.round == 4


def test_a_chain_that_stood_still_for_a_year() -> None:
    federation = Federation().open().until(Phase.REVEAL)
    federation.wait(365 * 86_400)
    federation.push()
    federation.finish()
