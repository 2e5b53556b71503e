"""submissions.vy: batches, partial reveals, the way out of a device, and every refusal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bcfl.errors import Reverted
from bcfl.protocol import submissions
from bcfl.protocol.hashing import keccak
from bcfl.protocol.types import Phase, Update
from testkit.harness import TERMS, Federation, account, digest, reverts


def federation_in_reveal(devices: int = 4, miners: int = 2, **terms: int) -> Federation:
    """A federation in the reveal phase, with honest batches."""
    return Federation(devices, miners, replace(TERMS, **terms)).open().until(Phase.REVEAL)  # type: ignore[arg-type]


def test_default_behavior() -> None:
    federation = federation_in_reveal()
    federation.reveal_all()
    assert federation.clock.phase is Phase.VOTE
    assert federation.clock.updates == 4
    assert [update.device for update in federation.updates()] == [0, 2, 1, 3]
    (first, second) = federation.round_events("Revealed")
    assert first["submitter"] == federation.miner_keys[0].address
    assert second["roots"] == (digest("root", 1, 1), digest("root", 1, 3))


def test_commit_twice() -> None:
    federation = Federation().open()
    federation.commit(federation.miner_keys[0], federation.share(0))
    with reverts("submissions: already committed"):
        federation.commit(federation.miner_keys[0], federation.share(0))


def test_commit_by_a_stranger() -> None:
    federation = Federation().open()
    with reverts("submissions: neither miner nor device"):
        federation.send(federation.outsider, "commit", digest(1))


def test_a_device_may_change_its_own_commitment() -> None:
    federation = Federation().open()
    device = federation.device_keys[0]
    federation.commit(device, [federation.update(0, samples=1)])
    federation.commit(device, [federation.update(0, samples=2)])
    federation.expire()
    with reverts("submissions: not the committed batch"):
        federation.reveal(device, [federation.update(0, samples=1)])
    federation.reveal(device, [federation.update(0, samples=2)])


def test_reveal_nothing() -> None:
    federation = Federation().open()
    device = federation.device_keys[0]
    federation.send(device, "commit", bytes(32))  # the digest of no commitment
    federation.until(Phase.REVEAL)
    nothing: list[object] = [0, [], [], [], [], []]
    with reverts("submissions: nothing opened"):
        federation.send(federation.outsider, "reveal", device.address, *nothing)
    with reverts("submissions: not the committed batch"):
        federation.send(federation.outsider, "reveal", federation.outsider.address, *nothing)


def test_a_miner_without_devices_need_not_be_waited_for() -> None:
    federation = federation_in_reveal(devices=2, miners=3)
    federation.reveal(federation.miner_keys[0], federation.share(0))
    federation.reveal(federation.miner_keys[1], federation.share(1))
    assert federation.clock.phase is Phase.REVEAL
    federation.reveal(federation.miner_keys[2], [])
    assert (federation.clock.phase, federation.clock.updates) == (Phase.VOTE, 2)


def test_a_miner_whose_devices_are_silent_need_not_be_waited_for() -> None:
    federation = federation_in_reveal()
    batch = federation.share(0)
    with reverts("submissions: not the committed batch"):
        federation.reveal(federation.miner_keys[0], [])
    federation.reveal(federation.miner_keys[1], federation.share(1))
    federation.reveal(federation.miner_keys[0], batch, bits=0)
    assert (federation.clock.phase, federation.clock.updates) == (Phase.VOTE, 2)


@pytest.mark.parametrize("field", [2, 3, 4])
def test_reveal_lists_of_different_lengths(field: int) -> None:
    federation = federation_in_reveal()
    args = federation.reveal_args(federation.share(0))
    args[field] = args[field][:-1]  # type: ignore[index]
    with reverts("submissions: lists differ"):
        federation.send(federation.outsider, "reveal", federation.miner_keys[0].address, *args)


@pytest.mark.parametrize("mask", [0b01, 0b1001, 0])
def test_reveal_with_a_mask_that_does_not_fit(mask: int) -> None:
    federation = federation_in_reveal()
    args = federation.reveal_args(federation.share(0))
    with reverts("submissions: lists differ"):
        federation.send(federation.outsider, "reveal", federation.miner_keys[0].address, mask, *args[1:])


def test_bits_beyond_the_batch_say_nothing() -> None:
    federation = federation_in_reveal()
    args = federation.reveal_args(federation.share(0))
    federation.send(federation.outsider, "reveal", federation.miner_keys[0].address, 2**256 - 1, *args[1:])
    assert federation.clock.updates == 2


def test_reveal_with_a_sealed_one_too_many() -> None:
    federation = federation_in_reveal()
    args = federation.reveal_args(federation.share(0))
    with reverts("submissions: lists differ"):
        federation.send(
            federation.outsider, "reveal", federation.miner_keys[0].address, 0b111, *args[1:-1], [digest(1)]
        )


def test_a_batch_has_at_most_64() -> None:
    federation = Federation(devices=65, miners=1).open()
    federation.commit_all()
    batch = federation.share(0)
    with pytest.raises(Reverted):
        federation.reveal(federation.miner_keys[0], batch, bits=1)
    assert federation.clock.updates == 0


def test_round_is_full() -> None:
    federation = federation_in_reveal(max_updates=3)
    federation.reveal(federation.miner_keys[0], federation.share(0))
    with reverts("submissions: round is full"):
        federation.reveal(federation.miner_keys[1], federation.share(1))
    federation.reveal(federation.miner_keys[1], federation.share(1), bits=0b10)
    assert federation.clock.updates == 3


@pytest.mark.parametrize("samples", [0, TERMS.max_samples + 1, 2**32 - 1])
def test_samples_out_of_bounds(samples: int) -> None:
    federation = Federation().open()
    batch = [federation.update(0, samples=samples)]
    federation.commit(federation.miner_keys[0], batch)
    federation.expire()
    with reverts("submissions: samples out of bounds"):
        federation.reveal(federation.miner_keys[0], batch)


def test_time_beyond_the_round() -> None:
    federation = Federation(devices=2, miners=2).open()
    start = federation.clock.opened
    batches = [
        [federation.update(0, microseconds=40_000_000)],
        [federation.update(1, microseconds=40_000_001)],
    ]
    for key, batch in zip(federation.miner_keys, batches, strict=True):
        federation.commit(key, batch)
    federation.chain.warp(start + 40)
    with reverts("submissions: time beyond the round"):
        federation.reveal(federation.miner_keys[1], batches[1])
    federation.chain.warp(start + 41)
    federation.reveal(federation.miner_keys[0], batches[0])
    federation.reveal(federation.miner_keys[1], batches[1])


def test_a_batch_that_is_revealed_already_changes_nothing() -> None:
    federation = federation_in_reveal()
    batch = federation.share(0)
    first = federation.reveal(federation.miner_keys[0], batch)
    again = federation.reveal(federation.miner_keys[0], batch)
    assert [receipt.events[0].args["taken"] for receipt in (first, again)] == [0b11, 0]
    assert federation.clock.updates == 2


def test_a_device_counts_once_however_often_it_was_committed() -> None:
    federation = Federation().open()
    twice = [federation.update(0), federation.update(0, samples=99)]
    federation.commit(federation.miner_keys[0], twice)
    federation.commit(federation.miner_keys[1], [federation.update(0, samples=98)])
    federation.expire()
    federation.reveal(federation.miner_keys[0], twice, bits=0b10)
    federation.reveal(federation.miner_keys[0], twice)
    federation.reveal(federation.miner_keys[1], [federation.update(0, samples=98)])
    assert [args["taken"] for args in federation.round_events("Revealed")] == [1, 0, 0]
    assert [update.samples for update in federation.updates()] == [99]


def test_what_others_revealed_is_skipped_amid_a_batch() -> None:
    """What is taken are the places that nobody had opened, and these alone count."""
    federation = Federation(devices=6, miners=2).open()
    batch = federation.share(0)
    federation.commit(federation.miner_keys[0], batch)
    federation.commit(federation.miner_keys[1], [batch[1]])
    federation.reveal(federation.miner_keys[1], [batch[1]])
    receipt = federation.reveal(federation.miner_keys[0], batch)
    assert receipt.events[0].args["taken"] == 0b101
    assert federation.clock.updates == 3
    assert [update.device for update in federation.updates()] == [2, 0, 4]


def test_a_commitment_that_was_kept_back_costs_a_miner_its_batch_and_no_stake() -> None:
    """It opens nothing in a later round, and blocks the sender's own of that round."""
    federation = Federation(devices=8).open()
    key = federation.miner_keys[0]
    late = submissions.batch_digest(map(federation.commitment, federation.share(0)))
    federation.finish()
    federation.send(key, "commit", late)
    with reverts("submissions: already committed"):
        federation.commit(key, federation.share(0))
    stakes = federation.contract.call("staked")
    federation.commit(federation.miner_keys[1], federation.share(1))
    federation.expire()
    with reverts("submissions: not the committed batch"):
        federation.reveal(key, federation.share(0))
    federation.reveal(federation.miner_keys[1], federation.share(1))
    federation.expire()
    federation.finish()
    assert federation.contract.call("staked") == stakes
    assert [block.round for block in federation.history().blocks[1:]] == [1, 2]


def test_a_device_may_reveal_in_every_round() -> None:
    federation = Federation().open().finish()
    federation.until(Phase.REVEAL)
    federation.reveal_all()
    assert federation.clock.updates == 4


@pytest.mark.parametrize("device", [4, 70_000, 2**32 - 1])
def test_not_a_device(device: int) -> None:
    federation = Federation().open()
    federation.device_keys = {device: account("late", 0)}  # type: ignore[assignment]
    batch = [federation.update(device)]
    federation.commit(federation.miner_keys[0], batch)
    federation.expire()
    with reverts("submissions: not a device of this round"):
        federation.reveal(federation.miner_keys[0], batch)


def test_wrong_signature() -> None:
    federation = federation_in_reveal()
    args = federation.reveal_args(federation.share(0))
    signatures = args[4]
    for bad in ([bytes(32), bytes(32)], signatures[1], [signatures[0][1], signatures[0][0]]):  # type: ignore[index]
        args[4] = [bad, signatures[1]]  # type: ignore[index]
        with reverts("submissions: wrong signature"):
            federation.send(federation.outsider, "reveal", federation.miner_keys[0].address, *args)


@pytest.mark.parametrize("change", ["chain_id", "contract"])
def test_a_signature_for_another_chain_or_contract(change: str) -> None:
    federation = federation_in_reveal()
    domains = {"chain_id": 1, "contract": federation.outsider.address}[change]
    args = federation.reveal_args(federation.share(0))
    federation.domain = replace(federation.domain, **{change: domains})  # type: ignore[arg-type]
    args[4] = [federation.sign(update) for update in federation.share(0)]
    with reverts("submissions: wrong signature"):
        federation.send(federation.outsider, "reveal", federation.miner_keys[0].address, *args)


@pytest.mark.parametrize("change", ["root", "cid", "samples", "microseconds", "salt", "round"])
def test_what_is_revealed_is_what_was_committed(change: str) -> None:
    federation = federation_in_reveal()
    batch = federation.share(0)
    other = digest("other") if change in ("root", "cid") else 7
    batch_ = [replace(batch[0], **{change: other}), batch[1]]  # type: ignore[arg-type]
    reason = "not the committed batch" if change != "round" else "wrong signature"
    with reverts(f"submissions: {reason}"):
        federation.reveal(federation.miner_keys[0], batch_)


def test_order_and_completeness_of_a_batch() -> None:
    federation = federation_in_reveal()
    batch = federation.share(0)
    for other in (batch[::-1], batch[:1], [*batch, federation.update(1)]):
        with reverts("submissions: not the committed batch"):
            federation.reveal(federation.miner_keys[0], other)


def test_nobody_reveals_without_having_committed() -> None:
    federation = Federation().open()
    federation.commit(federation.miner_keys[0], federation.share(0))
    federation.expire()
    for key in (federation.miner_keys[1], federation.device_keys[1], federation.outsider):
        with reverts("submissions: not the committed batch"):
            federation.reveal(key, federation.share(1))


def test_partial_reveals_add_up() -> None:
    federation = Federation(devices=3, miners=1).open().until(Phase.REVEAL)
    key, batch = federation.miner_keys[0], federation.share(0)
    federation.reveal(federation.outsider, batch, bits=0b010, submitter=key)
    assert federation.clock.phase is Phase.REVEAL  # others do not end a miner's part
    federation.reveal(federation.outsider, batch, bits=0b001, submitter=key)
    federation.reveal(key, batch, bits=0b100)
    assert [update.device for update in federation.updates()] == [1, 0, 2]
    assert Phase(federation.clock.phase) is Phase.VOTE


def test_a_withheld_device_reveals_out_of_its_miners_batch() -> None:
    federation = Federation(devices=2, miners=1, terms=replace(TERMS, grace=60)).open()
    federation.commit_all()
    federation.expire()
    key, batch = federation.miner_keys[0], federation.share(0)
    federation.reveal(key, batch, bits=0b01)
    federation.reveal(federation.device_keys[1], batch, bits=0b10, submitter=key)
    assert federation.clock.updates == 2


def test_a_device_submits_alone() -> None:
    federation = Federation(devices=3, miners=1, terms=replace(TERMS, grace=60)).open()
    batch = [federation.update(2)]
    federation.commit(federation.device_keys[2], batch)
    federation.commit(federation.miner_keys[0], federation.share(0)[:2])
    federation.expire()
    federation.reveal(federation.device_keys[2], batch)
    federation.reveal(federation.miner_keys[0], federation.share(0)[:2])
    federation.expire()
    assert federation.clock.phase is Phase.VOTE
    federation.finish()
    assert federation.clock.round == 2


def test_last_rounds_lone_commitment_is_no_good() -> None:
    federation = Federation().open()
    batch = [federation.update(0)]
    federation.commit(federation.device_keys[0], batch)
    federation.push()
    federation.expire()
    with reverts("submissions: wrong signature"):
        federation.reveal(federation.device_keys[0], batch)


def test_a_copied_commitment_cannot_be_opened_by_the_copier() -> None:
    """A copied CID earns nothing: the copier's device is another, and its signature too."""
    federation = Federation(devices=2, miners=2).open()
    honest = federation.update(0)
    federation.commit(federation.miner_keys[0], [honest])
    federation.commit(federation.miner_keys[1], [honest])  # the same digest, seen on chain
    federation.reveal(federation.miner_keys[0], [honest])
    with reverts("submissions: not the committed batch"):
        federation.reveal(federation.miner_keys[1], [replace(honest, device=1)])
    copied = federation.reveal(federation.miner_keys[1], [honest])
    assert copied.events[0].args["taken"] == 0
    assert federation.clock.updates == 1


def test_250_devices_use_two_slots_of_marks() -> None:
    federation = Federation(devices=250, miners=4).open().until(Phase.REVEAL)
    federation.reveal_all()
    assert federation.clock.updates == 250
    federation.vote_all()
    federation.tally()
    assert federation.clock.phase is Phase.PROPOSE


def test_hash_is_that_of_eip_712() -> None:
    federation = Federation()
    update = Update(3, 2, digest("r"), digest("c"), 5, 7, 11)
    assert federation.contract.call("update_hash", *vars(update).values()) == federation.commitment(update)
    assert federation.contract.call("domain_separator") == federation.domain.separator
    assert submissions.batch_digest([]) == bytes(32)
    assert submissions.batch_digest([digest(1)]) == keccak(bytes(32) + digest(1))


@pytest.mark.evm("a node that changes its chain ID")
def test_after_a_fork_signatures_are_bound_to_the_new_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    federation = federation_in_reveal()
    batch = federation.share(0)
    old = [federation.miner_keys[0].address, *federation.reveal_args(batch)]
    monkeypatch.setattr(type(federation.chain._evm), "chain_id", 99)
    with reverts("submissions: wrong signature"):
        federation.contract.call("reveal", *old)
    federation.domain = replace(federation.domain, chain_id=99)
    assert federation.contract.call("domain_separator") == federation.domain.separator
    with reverts("submissions: not the committed batch"):  # the commitments are of the old chain
        federation.contract.call("reveal", federation.miner_keys[0].address, *federation.reveal_args(batch))
