"""Take in what the devices hand in: batches as one digest each, then what is behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from bcfl.protocol.accounts import signer
from bcfl.protocol.hashing import keccak, word
from bcfl.protocol.limits import MAX_BATCH
from bcfl.protocol.submissions import commitment, packed_word, unpack_claim
from bcfl.protocol.types import ZERO_DIGEST, Phase, Update
from bcfl.specification import registry, rounds
from bcfl.specification.call import Call, bounded, require
from bcfl.specification.state import Device, RoundClock

HIDDEN: Final = 32  # low bits of a digest that a record has no room for


def commit(call: Call, digest: bytes) -> None:
    """Commit a batch: a miner for its devices, or a device for itself."""
    clock = rounds.enter(call, Phase.COMMIT)
    members = call.state.registry
    record, bit = registry.seat(call, call.sender, clock.expected)
    if record is not None and bit and not clock.acted & bit:
        members.records[call.sender] = replace(record, digest=_kept(digest))
        call.state.rounds.clock = rounds.act(call, clock, bit, call.terms.grace)
    else:
        # A miner that is a device too may, after its batch, commit its own update alone.
        is_too = record is not None and record.is_device
        require(bit == 0 or is_too, "submissions: already committed")
        require(call.sender in members.device_index, "submissions: neither miner nor device")
        call.state.submissions.lone[call.sender] = keccak(word(clock.round) + digest)
    call.log("Committed", round=clock.round, sender=call.sender, digest=digest)


def reveal(
    call: Call,
    submitter: str,
    opened: int,
    roots: Sequence[bytes],
    cids: Sequence[bytes],
    claims: Sequence[int],
    signatures: Sequence[tuple[bytes, bytes]],
    sealed: Sequence[bytes],
) -> None:
    """Open all or some of a committed batch; anybody who holds openings may hand them in.

    `opened`: the mask of the positions that are opened; the others stay sealed. A place whose device has
    revealed already is skipped, whoever opened it. A miner whose devices are silent, or that has none, opens
    nothing, so that nobody waits for it.
    """
    bounded(MAX_BATCH, roots, cids, claims, signatures, sealed)
    count = len(roots)
    is_even = len(cids) == len(claims) == len(signatures) == count
    require(is_even, "submissions: lists differ")
    clock = rounds.enter(call, Phase.REVEAL)
    bounded(MAX_BATCH, range(count + len(sealed)))
    storage = call.state.submissions
    links = storage.links if clock.updates else ZERO_DIGEST
    digest, updates, taken, rest = ZERO_DIGEST, clock.updates, 0, 0
    for position in range(count + len(sealed)):
        if not opened >> position & 1:
            require(rest < len(sealed), "submissions: lists differ")
            digest = keccak(digest + sealed[rest])
            rest += 1
            continue
        item = position - rest
        require(item < count, "submissions: lists differ")
        update = unpack_claim(clock.round, roots[item], cids[item], claims[item])
        _check_claim(call, clock, update)
        hashed = commitment(call.domain, update)
        digest = keccak(digest + hashed)
        if is_revealed(call, update.device, clock.round):
            # Somebody was quicker: the place counts once, and nobody's batch fails for it.
            continue
        updates += 1
        taken |= 1 << item
        _check_device(call, update, hashed, signatures[item])
        storage.seen[update.device] = clock.round
        links = keccak(links + word(packed_word(hashed, update, clock.engine)))
    if taken:
        require(updates <= call.terms.max_updates, "submissions: round is full")
        storage.links = links
        clock = replace(clock, updates=updates)
    call.state.rounds.clock = _close(call, clock, submitter, digest, count, rest)
    call.log(
        "Revealed", round=clock.round, submitter=submitter, roots=roots, cids=cids, claims=claims, taken=taken
    )


def _check_claim(call: Call, clock: RoundClock, update: Update) -> None:
    """Insist that a claim is within the bounds of the terms and of the round."""
    require(1 <= update.samples <= call.terms.max_samples, "submissions: samples out of bounds")
    elapsed = (call.block.timestamp - clock.opened) * 1_000_000
    require(update.microseconds <= elapsed, "submissions: time beyond the round")


def _check_device(call: Call, update: Update, hashed: bytes, signature: tuple[bytes, bytes]) -> None:
    """Insist that a device of the round has signed its update."""
    device = call.state.registry.devices.get(update.device, Device())
    is_member = device.from_round <= update.round < device.until_round
    require(is_member, "submissions: not a device of this round")
    require(signer(hashed, b"".join(signature)) == device.account, "submissions: wrong signature")


def _close(call: Call, clock: RoundClock, submitter: str, digest: bytes, count: int, rest: int) -> RoundClock:
    """Insist that what was opened was committed; returns the clock, the miner having acted if it has."""
    record, bit = registry.seat(call, submitter, clock.expected)
    if record is not None and bit and record.digest == _kept(digest):
        if submitter == call.sender or rest == 0:
            return rounds.act(call, clock, bit, call.terms.grace)
        return clock
    is_alone = keccak(word(clock.round) + digest) == call.state.submissions.lone.get(submitter, ZERO_DIGEST)
    require(is_alone and (bit == 0 or count != 0), "submissions: not the committed batch")
    require(count != 0, "submissions: nothing opened")
    return clock


def is_revealed(call: Call, device: int, round_: int) -> bool:
    """Whether a device's update of the running round is revealed."""
    return call.state.submissions.seen.get(device) == round_


def _kept(digest: bytes) -> int:
    """Return what a record keeps of a digest."""
    return int.from_bytes(digest, "big") >> HIDDEN


# The views.


def update_hash(
    call: Call, round_: int, device: int, root: bytes, cid: bytes, samples: int, microseconds: int, salt: int
) -> bytes:
    """Return the EIP-712 hash that a device signs and commits to."""
    return commitment(call.domain, Update(round_, device, root, cid, samples, microseconds, salt))


def domain_separator(call: Call) -> bytes:
    """Return the EIP-712 domain of the signatures."""
    return call.domain.separator
