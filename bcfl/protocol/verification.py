"""Step 4: verdicts, how they are hidden and unveiled, and what the votes of a round come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bcfl.protocol.hashing import dynamic, fold, keccak, word
from bcfl.protocol.submissions import checkpoints
from bcfl.protocol.types import Engine, Opening, Tally, Verdict, Voter

NOT_MINE = 2**256 - 1  # position of the own update of a voter that has none


@dataclass(frozen=True)
class Vote:
    """One unveiled vote: who, with which weight, and what."""

    voter: Voter
    opening: Opening


def pack_accepted(accepted: Sequence[bool]) -> list[int]:
    """A bit for each update, update i at bit i % 256 of word i // 256."""
    words = [0] * ((len(accepted) + 255) // 256)
    for position, bit in enumerate(accepted):
        words[position // 256] |= int(bit) << (position % 256)
    return words


def unpack_accepted(words: Sequence[int], count: int) -> tuple[bool, ...]:
    """The bits of `count` updates."""
    return tuple(bool(words[i // 256] >> (i % 256) & 1) for i in range(count))


def accepted_of(verdicts: Sequence[Verdict]) -> list[int]:
    """The words of the updates that a vote accepts."""
    return pack_accepted([verdict is Verdict.ACCEPTED for verdict in verdicts])


def missing_of(verdicts: Sequence[Verdict]) -> list[int]:
    """The words of the updates that a voter could not get."""
    return pack_accepted([verdict is Verdict.UNAVAILABLE for verdict in verdicts])


def rows_of(verdicts: Sequence[Verdict], engine: int) -> list[int]:
    """What is counted of a vote: accepted updates and, for the resource engine, those it could not get."""
    return accepted_of(verdicts) + (missing_of(verdicts) if engine == Engine.RESOURCE else [])


def pack_reasons(verdicts: Sequence[Verdict]) -> bytes:
    """Four bits for each update, the first in the high half of the first byte."""
    padded = [*verdicts, Verdict.ACCEPTED] if len(verdicts) % 2 else list(verdicts)
    return bytes(padded[i] << 4 | padded[i + 1] for i in range(0, len(padded), 2))


def unpack_verdicts(accepted: Sequence[int], reasons: bytes, count: int) -> tuple[Verdict, ...]:
    """The verdicts that a vote's bits and reasons state; a rejection without a known reason is `OUTLIER`."""
    found = []
    for position, bit in enumerate(unpack_accepted(accepted, count)):
        code = reasons[position // 2] >> (0 if position % 2 else 4) & 15
        known = code if 0 < code <= Verdict.OUTLIER else Verdict.OUTLIER
        found.append(Verdict.ACCEPTED if bit else Verdict(known))
    return tuple(found)


def vote_digest(opening: Opening) -> bytes:
    """What a miner commits to before it unveils: keccak of the ABI encoding of the opening."""
    accepted, reasons = accepted_of(opening.verdicts), pack_reasons(opening.verdicts)
    return opened_digest(
        opening.round, opening.miner, accepted, reasons, wish_code(opening.wish), opening.salt
    )


def opened_digest(
    round_: int, miner: str, accepted: Sequence[int], reasons: bytes, wish: int, salt: bytes
) -> bytes:
    """The same of what an event shows, whatever its miner wrote for reasons."""
    padded = reasons + bytes(-len(reasons) % 32)
    words = [word(item) for item in accepted]
    encoded = dynamic(word(round_), word(int(miner, 16)), words, [padded], word(wish), salt)
    # `bytes` differs from a word array in the unit of its length.
    at = 192 + 32 * (len(words) + 1)
    return keccak(encoded[:at] + word(len(reasons)) + encoded[at + 32 :])


def wish_code(wish: Engine | None) -> int:
    """A wish as the chain has it: 0 for none, else the engine plus one."""
    return 0 if wish is None else wish + 1


def wish_of(code: int) -> Engine | None:
    """The wish that a code stands for."""
    return Engine(code - 1) if code else None


def vote_body(opening: Opening, engine: int = Engine.STAKE) -> bytes:
    """The fold of a vote's salt and what is counted of it."""
    return fold((word(item) for item in rows_of(opening.verdicts, engine)), opening.salt)


def vote_chain(votes: Sequence[Vote], engine: int = Engine.STAKE) -> bytes:
    """The digest that stands on chain for all unveiled votes in their order."""
    digest = bytes(32)
    for vote in votes:
        digest = keccak(digest + word(vote.voter.word) + vote_body(vote.opening, engine))
    return digest


def puzzle(seed: bytes, votes: Sequence[Vote], parent: bytes) -> bytes:
    """What a race starts from: the round's seed, all salts, and the hash of the block before the tally's."""
    entropy = 0
    for vote in votes:
        entropy ^= int.from_bytes(keccak(word(vote.voter.word) + vote.opening.salt), "big")
    return keccak(seed + word(entropy) + parent)


def own_position(voter: Voter, devices: Sequence[int]) -> int | None:
    """Where the voter's own update stands among the updates, `devices` being their devices."""
    if voter.device is None or voter.device not in devices:
        return None
    return list(devices).index(voter.device)


def majority(votes: Sequence[Vote], devices: Sequence[int]) -> tuple[bool, ...]:
    """The updates that more revealed weight accepts than rejects; nobody counts on its own; ties reject."""
    return _most(votes, devices, Verdict.ACCEPTED)


def matches(vote: Vote, accepted: Sequence[bool], devices: Sequence[int]) -> int:
    """How many verdicts of a vote the tally agrees with, its own update left out."""
    own = own_position(vote.voter, devices)
    return sum(
        (verdict is Verdict.ACCEPTED) == bit
        for position, (verdict, bit) in enumerate(zip(vote.opening.verdicts, accepted, strict=True))
        if position != own
    )


def unavailable(votes: Sequence[Vote], devices: Sequence[int]) -> tuple[bool, ...]:
    """The updates that more revealed weight could not get than got; nobody counts on its own."""
    return _most(votes, devices, Verdict.UNAVAILABLE)


def _most(votes: Sequence[Vote], devices: Sequence[int], verdict: Verdict) -> tuple[bool, ...]:
    """The updates of which more revealed weight says this verdict than another."""
    result = []
    for position in range(len(devices)):
        balance = 0
        for vote in votes:
            if own_position(vote.voter, devices) != position:
                said = vote.opening.verdicts[position] is verdict
                balance += vote.voter.weight if said else -vote.voter.weight
        result.append(balance > 0)
    return tuple(result)


def chosen(votes: Sequence[Vote]) -> Engine | None:
    """The engine that more than half of the revealed weight wishes for."""
    total = sum(vote.voter.weight for vote in votes)
    for engine in Engine:
        if sum(vote.voter.weight for vote in votes if vote.opening.wish is engine) * 2 > total:
            return engine
    return None


def tally(words: Sequence[int], votes: Sequence[Vote], engine: int = Engine.STAKE) -> Tally:
    """Count the votes of a round over the words of its chain of updates."""
    devices = [item >> 24 & 0xFFFF for item in words]
    accepted = majority(votes, devices)
    return Tally(
        checkpoints=checkpoints(words),
        votes=vote_chain(votes, engine),
        voters=tuple(vote.voter.word for vote in votes),
        matches=tuple(matches(vote, accepted, devices) for vote in votes),
        accepted=accepted,
        samples=sum(item & 0xFFFFFF for item, bit in zip(words, accepted, strict=True) if bit),
    )


def tally_fields(count: Tally) -> tuple[list[bytes], bytes, list[int], list[int], list[int], int]:
    """A tally in the order and form of the contract's struct."""
    return (
        list(count.checkpoints),
        count.votes,
        list(count.voters),
        list(count.matches),
        pack_accepted(count.accepted),
        count.samples,
    )


def tally_digest(count: Tally) -> bytes:
    """The accepted set of a block."""
    return keccak(tally_bytes(count))


def tally_bytes(count: Tally) -> bytes:
    """The ABI encoding of a tally, whose hash is the accepted set."""
    points, votes, voters, matching, accepted, samples = tally_fields(count)
    lists = [[word(item) for item in items] for items in (voters, matching, accepted)]
    return word(32) + dynamic(points, votes, *lists, word(samples))


def unveil_args(opening: Opening) -> tuple[str, list[int], bytes, int, bytes]:
    """The arguments of `unveil`."""
    said = accepted_of(opening.verdicts), pack_reasons(opening.verdicts)
    return opening.miner, *said, wish_code(opening.wish), opening.salt


def tally_args(
    words: Sequence[int], votes: Sequence[Vote], engine: int = Engine.STAKE
) -> tuple[list[int], list[int], list[bytes], list[int], list[int]]:
    """The arguments of `tally`: updates, voters, salts, verdicts and the voters' own positions."""
    devices = [item >> 24 & 0xFFFF for item in words]
    owns = [own_position(vote.voter, devices) for vote in votes]
    return (
        list(words),
        [vote.voter.word for vote in votes],
        [vote.opening.salt for vote in votes],
        [bits for vote in votes for bits in rows_of(vote.opening.verdicts, engine)],
        [NOT_MINE if own is None else own for own in owns],
    )


def skip_args(votes: Sequence[Vote], engine: int = Engine.STAKE) -> tuple[list[int], list[bytes]]:
    """The arguments of `skip`: who voted, and what."""
    return [vote.voter.word for vote in votes], [vote_body(vote.opening, engine) for vote in votes]
