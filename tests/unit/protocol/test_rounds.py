"""The history read from a federation's events is what the contract itself says."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from bcfl.errors import Reverted
from bcfl.protocol import verification
from bcfl.protocol.accounts import Account
from bcfl.protocol.events import take_in
from bcfl.protocol.rewards import block_hash, weighted_matches
from bcfl.protocol.rounds import History, Round, Submission
from bcfl.protocol.types import Opening, Phase, Update, Verdict, Voter
from bcfl.protocol.verification import Vote
from tests.local_federation import ETHER, LocalFederation

NOBODY = "0x" + "00" * 20


def compare(local: LocalFederation) -> None:
    """Compare the running round as read with the contract's own values."""
    call, history = local.ledger.contract.call, local.history
    clock = local.ledger.clock()
    assert history.current is not None
    assert (history.current.number, history.current.opened) == (clock.round, clock.opened)
    credits = call("turn_credits")
    assert {seat: credits[seat] for seat in history.credits} == history.credits
    mask = total = 0
    for member in history.voters():
        mask, total = mask | 1 << member.index, total + member.weight
    assert (mask, total) == call("active_miners")
    for account, member in history.miners.items():
        try:
            index, weight, stake, *_ = call("miner", account)
        except Reverted:  # it has left, and its place is free
            assert member.exit_round
            continue
        assert member.stake == stake
        assert member.exit_round or (member.index, member.weight) == (index, weight)
    for device, account in enumerate(history.devices):
        assert call("device_of", account) == device == history.device_index(account)
        assert call("binding", device) == history.binding(device)
        _, since, until = call("device", device)
        assert (
            (device in history.expected_devices())
            is (since <= clock.round < until)
            is history.takes_part(device)
        )
    for block in history.blocks:
        assert block_hash(block) == call("ledger", block.round)
    assert (history.head.root, history.head.cid) == call("model")
    for block in history.blocks[1:]:
        round_ = history.rounds[block.round]
        count = round_.tally(local.ledger.domain)
        assert (verification.tally_digest(count), block_hash(block)) == (block.accepted, round_.block_hash)
        assert (count.samples, weighted_matches(count), count.accepted) == (
            round_.samples,
            round_.matches,
            round_.accepted,
        )


def shuffle(local: LocalFederation, rng: random.Random, newcomers: list[Account]) -> None:
    """Change the membership by chance; the contract refuses what is not allowed."""
    contract, miner = local.ledger.contract, rng.choice(local.miner_accounts)
    changes: list[Callable[[], object]] = [
        lambda: contract.send(miner, "top_up", value=rng.randrange(1, 2 * ETHER)),
        lambda: contract.send(miner, "leave_miner"),
        lambda: contract.send(miner, "release_stake"),
        lambda: contract.send(local.owner, "leave_device", rng.choice(local.device_accounts).address),
        lambda: contract.send(local.owner, "register_devices", [newcomers.pop().address]),
        lambda: contract.send(miner, "register_miner", value=3 * ETHER),
        lambda: local.leave_in(
            rng.choice(list(Phase)[:8]), rng.choice(local.miner_parties), rng.choice(local.device_parties)
        ),
    ]
    with contextlib.suppress(Reverted, IndexError):
        rng.choice(changes)()


@pytest.mark.parametrize("seed", range(2))
def test_the_reading_is_what_the_contract_says(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    local = LocalFederation(
        tmp_path, devices=5, miners=5, stakes=(ETHER, 2 * ETHER, 2 * ETHER, 3 * ETHER, 7 * ETHER // 2)
    )
    newcomers = [Account.derive(9, "late", i) for i in range(9)]
    for _ in range(5):
        for _ in range(rng.randrange(3)):
            shuffle(local, rng, newcomers)
        local.play()
        compare(local)
    empty = History.under(local.terms)
    history = take_in(empty, local.ledger.contract.events())
    assert history == local.history


def test_a_lead_is_read_while_it_lasts(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    local.until(Phase.PROPOSE)
    call, current = local.ledger.contract.call, local.history.current
    leader, turn, weight, *_ = call("lead_now")
    assert current is not None
    assert (leader, turn) == (current.leader, current.elections[-1].turn)
    assert weight == current.electorate.whole == sum(member.weight for member in local.history.voters())
    assert next(voter.account for voter in current.leader_order()) == leader
    assert current.status == "running"


def test_whoever_commits_again_has_its_later_place(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    first, second = local.device_accounts[:2]
    for account, digest in ((first, b"\1"), (second, b"\2"), (first, b"\3")):
        local.send(account, "commit", digest * 32)
    current = local.history.current
    assert current is not None
    assert current.commits == {second.address: b"\2" * 32, first.address: b"\3" * 32}
    assert list(current.commits) == [second.address, first.address]


def test_the_transactions_of_a_round_are_those_that_it_took(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    round_ = local.play()
    contract = local.ledger.contract
    gas = [contract.gas_of(transaction) for transaction in round_.transactions]
    transactions = {event.transaction for event in contract.events() if event.args.get("round") == 1}
    opening = next(e.transaction for e in contract.events(name="RoundOpened") if e.args["round"] == 1)
    assert set(round_.transactions) == transactions - {opening}
    assert min(gas) > 21_000


def verdict_of(*pairs: tuple[int, Verdict], accepted: bool = False) -> Verdict:
    """Return the verdict of a round on one update, from weights and verdicts of its votes."""
    update = Update(1, 0, bytes(32), bytes(32), 1, 1, 0)
    votes = [
        Vote(Voter(NOBODY, weight), Opening(1, NOBODY, (verdict,), bytes(32))) for weight, verdict in pairs
    ]
    return Round(
        1, 0, submissions=[Submission(0, update, NOBODY)], votes=votes, levels=(int(accepted),)
    ).verdict(0)


def test_the_reason_is_what_most_of_the_weight_against_says() -> None:
    assert verdict_of((1, Verdict.TIME), (5, Verdict.ACCEPTED), accepted=True) is Verdict.ACCEPTED
    assert verdict_of((2, Verdict.QUALITY), (3, Verdict.TIME), (2, Verdict.ACCEPTED)) is Verdict.TIME
    assert verdict_of((2, Verdict.QUALITY), (1, Verdict.TIME), (1, Verdict.TIME)) is Verdict.TIME
    assert verdict_of((1, Verdict.ACCEPTED), (1, Verdict.DUPLICATE)) is Verdict.DUPLICATE
    assert verdict_of() is Verdict.OUTLIER


def test_a_void_round_leaves_the_model(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    local.leave_in(Phase.COMMIT, *local.device_parties)
    local.play()
    round_ = local.play()
    assert local.history.model_before(2) == local.history.blocks[0]
    assert round_.block is not None
    assert round_.block.parent == block_hash(local.history.blocks[0])
    assert local.history.trained[0] == [
        round_.submissions[[i.update.device for i in round_.submissions].index(0)].update
    ]
