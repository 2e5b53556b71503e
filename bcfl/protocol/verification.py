"""Pack, hide and unveil verdicts, and count the votes of a round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bcfl.protocol.hashing import abi_encode, fold, keccak, word
from bcfl.protocol.submissions import checkpoints
from bcfl.protocol.types import Electorate, Engine, Opening, Tally, Verdict, Voter

NOT_MINE = 2**256 - 1  # own position of a voter that has no update
BOUND_BYTES = 4  # of the digest of a vote that name the chain of updates


@dataclass(frozen=True)
class Vote:
    """An unveiled vote: the voter with its weight, and its verdicts."""

    voter: Voter
    opening: Opening


def pack_accepted(accepted: Sequence[bool]) -> list[int]:
    """Pack a bit for each update: update i at bit i % 256 of word i // 256."""
    words = [0] * ((len(accepted) + 255) // 256)
    for position, bit in enumerate(accepted):
        words[position // 256] |= int(bit) << (position % 256)
    return words


def unpack_accepted(words: Sequence[int], count: int) -> tuple[bool, ...]:
    """Return the bits of `count` updates."""
    return tuple(bool(words[i // 256] >> (i % 256) & 1) for i in range(count))


def accepted_words(verdicts: Sequence[Verdict]) -> list[int]:
    """Return the packed bits of the updates that a vote accepts."""
    return pack_accepted([verdict is Verdict.ACCEPTED for verdict in verdicts])


def missing_words(verdicts: Sequence[Verdict]) -> list[int]:
    """Return the packed bits of the updates that a voter could not get."""
    return pack_accepted([verdict is Verdict.UNAVAILABLE for verdict in verdicts])


def counted_words(verdicts: Sequence[Verdict], engine: int) -> list[int]:
    """Return the words that are counted: accepted updates and, for the resource engine, those it lacked."""
    return accepted_words(verdicts) + (missing_words(verdicts) if engine == Engine.RESOURCE else [])


def pack_reasons(verdicts: Sequence[Verdict]) -> bytes:
    """Pack four bits for each update, the first in the high half of the first byte."""
    codes = [*verdicts, Verdict.ACCEPTED] if len(verdicts) % 2 else list(verdicts)
    return bytes(codes[i] << 4 | codes[i + 1] for i in range(0, len(codes), 2))


def unpack_verdicts(accepted: Sequence[int], reasons: bytes, count: int) -> tuple[Verdict, ...]:
    """Return the verdicts behind bits and reasons; a rejection without a known reason is `OUTLIER`."""
    verdicts = []
    for position, bit in enumerate(unpack_accepted(accepted, count)):
        code = reasons[position // 2] >> (0 if position % 2 else 4) & 15
        reason = Verdict(code) if 0 < code <= Verdict.OUTLIER else Verdict.OUTLIER
        verdicts.append(Verdict.ACCEPTED if bit else reason)
    return tuple(verdicts)


def vote_digest(opening: Opening, links: bytes) -> bytes:
    """Return what a miner commits to before it unveils: keccak of the ABI encoding of its opening.

    The low 32 bits are those of `links`, the digest of the chain of updates that the vote is about.
    """
    return bound_digest(hidden_vote(opening), links)


def bound_digest(digest: bytes, links: bytes) -> bytes:
    """Return a digest of a vote with the low 32 bits of the chain of updates in place of its own."""
    return digest[:-BOUND_BYTES] + links[-BOUND_BYTES:]


def hidden_vote(opening: Opening) -> bytes:
    """Return the digest of an opening, before it is bound to a chain of updates."""
    accepted, reasons = accepted_words(opening.verdicts), pack_reasons(opening.verdicts)
    return opening_digest(
        opening.round, opening.miner, accepted, reasons, wish_code(opening.wish), opening.salt
    )


def opening_digest(
    round_: int, miner: str, accepted: Sequence[int], reasons: bytes, wish: int, salt: bytes
) -> bytes:
    """Return the digest of an opening from its fields as an event has them, whatever the reasons are."""
    tail = reasons + bytes(-len(reasons) % 32)
    words = [word(item) for item in accepted]
    encoding = abi_encode(word(round_), word(int(miner, 16)), words, [tail], word(wish), salt)
    # `bytes` differs from a word array in the unit of its length.
    start = 192 + 32 * (len(words) + 1)
    return keccak(encoding[:start] + word(len(reasons)) + encoding[start + 32 :])


def wish_code(wish: Engine | None) -> int:
    """Return a wish as the chain has it: 0 for none, else the engine plus one."""
    return 0 if wish is None else wish + 1


def wish_of(code: int) -> Engine | None:
    """Return the wish that a code stands for."""
    return Engine(code - 1) if code else None


def vote_body(opening: Opening, engine: int = Engine.STAKE) -> bytes:
    """Return the fold of a vote's salt and what is counted of it."""
    return fold((word(item) for item in counted_words(opening.verdicts, engine)), opening.salt)


def vote_chain(votes: Sequence[Vote], engine: int = Engine.STAKE) -> bytes:
    """Return the digest that stands on chain for all unveiled votes in their order."""
    digest = bytes(32)
    for vote in votes:
        digest = keccak(digest + word(vote.voter.word) + vote_body(vote.opening, engine))
    return digest


def entropy(votes: Sequence[Vote]) -> bytes:
    """Return what the salts of all votes come to, in whatever order they were unveiled."""
    value = 0
    for vote in votes:
        value ^= int.from_bytes(keccak(word(vote.voter.word) + vote.opening.salt), "big")
    return word(value)


def puzzle(head: bytes, round_: int, votes: Sequence[Vote], parent: bytes) -> bytes:
    """Return the input of a race: the hash of the last block, the round, all salts, and `parent` in one hash.

    `parent` is the hash of the chain's block before that of the tally.
    """
    return keccak(head + word(round_) + entropy(votes) + parent)


def own_position(voter: Voter, devices: Sequence[int]) -> int | None:
    """Return the position of the voter's own update, `devices` being those of the updates, or None."""
    if voter.device is None or voter.device not in devices:
        return None
    return list(devices).index(voter.device)


def majority(votes: Sequence[Vote], devices: Sequence[int], electorate: Electorate) -> tuple[bool, ...]:
    """Return which updates are accepted by as much as decides, whoever is absent.

    No vote counts on the voter's own update; half of the others, or two thirds, is enough to accept it.
    """
    result = []
    for position in range(len(devices)):
        own: int | None = None
        weight = 0
        for vote in votes:
            if own_position(vote.voter, devices) == position:
                own = vote.voter.weight
            elif vote.opening.verdicts[position] is Verdict.ACCEPTED:
                weight += vote.voter.weight
        accepted = electorate.decides(weight) if own is None else electorate.accepts_own(weight, own)
        result.append(accepted)
    return tuple(result)


def matches(vote: Vote, accepted: Sequence[bool], devices: Sequence[int]) -> int:
    """Count the verdicts of a vote that the tally agrees with, the voter's own update left out."""
    own_place = own_position(vote.voter, devices)
    return sum(
        (verdict is Verdict.ACCEPTED) == bit
        for position, (verdict, bit) in enumerate(zip(vote.opening.verdicts, accepted, strict=True))
        if position != own_place
    )


def refused(votes: Sequence[Vote], devices: Sequence[int], electorate: Electorate) -> tuple[bool, ...]:
    """Return which updates more than half of all active weight rejects, voters' own ones left out."""
    return _against(votes, devices, electorate, lambda verdict: verdict is not Verdict.ACCEPTED)


def unavailable(votes: Sequence[Vote], devices: Sequence[int], electorate: Electorate) -> tuple[bool, ...]:
    """Return which updates more than half of all active weight could not get, voters' own ones left out."""
    return _against(votes, devices, electorate, lambda verdict: verdict is Verdict.UNAVAILABLE)


def _against(
    votes: Sequence[Vote],
    devices: Sequence[int],
    electorate: Electorate,
    speaks_against: Callable[[Verdict], bool],
) -> tuple[bool, ...]:
    weights = [0] * len(devices)
    for vote in votes:
        own = own_position(vote.voter, devices)
        for position, verdict in enumerate(vote.opening.verdicts):
            if position != own and speaks_against(verdict):
                weights[position] += vote.voter.weight
    return tuple(electorate.decides(weight) for weight in weights)


def chosen_engine(votes: Sequence[Vote], electorate: Electorate, engine: Engine) -> Engine:
    """Return the engine of the next round: another one if as much wishes for it as decides.

    A committee does not choose: one that is captured must not stay by its own wish.
    """
    if electorate.is_committee:
        return engine
    for wish in Engine:
        weight = sum(vote.voter.weight for vote in votes if vote.opening.wish is wish)
        if wish is not engine and electorate.decides(weight):
            return wish
    return engine


def tally(
    words: Sequence[int], votes: Sequence[Vote], electorate: Electorate, engine: int = Engine.STAKE
) -> Tally:
    """Count the votes of a round over the words of its chain of updates."""
    devices = [item >> 24 & 0xFFFF for item in words]
    accepted = majority(votes, devices, electorate)
    return Tally(
        checkpoints=checkpoints(words),
        votes=vote_chain(votes, engine),
        voters=tuple(vote.voter.word for vote in votes),
        matches=tuple(matches(vote, accepted, devices) for vote in votes),
        accepted=accepted,
        samples=sum(item & 0xFFFFFF for item, bit in zip(words, accepted, strict=True) if bit),
    )


def tally_fields(count: Tally) -> tuple[list[bytes], bytes, list[int], list[int], list[int], int]:
    """Return a tally in the order and form of the contract's struct."""
    return (
        list(count.checkpoints),
        count.votes,
        list(count.voters),
        list(count.matches),
        pack_accepted(count.accepted),
        count.samples,
    )


def tally_digest(count: Tally) -> bytes:
    """Return the hash of a tally: the accepted set of a block."""
    return keccak(tally_bytes(count))


def tally_bytes(count: Tally) -> bytes:
    """Return the ABI encoding of a tally, whose hash is the accepted set."""
    points, votes, voters, matching, accepted, samples = tally_fields(count)
    lists = [[word(item) for item in items] for items in (voters, matching, accepted)]
    return word(32) + abi_encode(points, votes, *lists, word(samples))


def unveil_args(opening: Opening) -> tuple[str, list[int], bytes, int, bytes]:
    """Return the arguments of `unveil`."""
    accepted, reasons = accepted_words(opening.verdicts), pack_reasons(opening.verdicts)
    return opening.miner, accepted, reasons, wish_code(opening.wish), opening.salt


def tally_args(
    words: Sequence[int], votes: Sequence[Vote], engine: int = Engine.STAKE
) -> tuple[list[int], list[int], list[bytes], list[int], list[int]]:
    """Return the arguments of `tally`: updates, voters, salts, verdicts and the voters' own positions."""
    devices = [item >> 24 & 0xFFFF for item in words]
    positions = [own_position(vote.voter, devices) for vote in votes]
    return (
        list(words),
        [vote.voter.word for vote in votes],
        [vote.opening.salt for vote in votes],
        [bits for vote in votes for bits in counted_words(vote.opening.verdicts, engine)],
        [NOT_MINE if position is None else position for position in positions],
    )


def skip_args(votes: Sequence[Vote], engine: int = Engine.STAKE) -> tuple[list[int], list[bytes]]:
    """Return the arguments of `skip`: the voters, and the bodies of their votes."""
    return [vote.voter.word for vote in votes], [vote_body(vote.opening, engine) for vote in votes]
