"""Pack, hide and unveil verdicts, and count the votes of a round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bcfl.protocol.hashing import abi_encode, fold, keccak, word
from bcfl.protocol.limits import TOP_LEVEL
from bcfl.protocol.submissions import checkpoints, claim_cap
from bcfl.protocol.types import Electorate, Engine, Opening, Tally, Verdict, Voter

NOT_MINE = 2**256 - 1  # own position of a voter that has no update
IN_WORD = 64  # verdicts
BOUND_BYTES = 4  # of the digest of a vote that name the chain of updates


@dataclass(frozen=True)
class Vote:
    """An unveiled vote: the voter with its weight, and its verdicts."""

    voter: Voter
    opening: Opening


def verdict_codes(opening: Opening) -> list[int]:
    """Return an opening's verdicts as the chain has them: a level, or 4 more than the reason."""
    pairs = zip(opening.levels, opening.verdicts, strict=True)
    return [level or TOP_LEVEL + verdict for level, verdict in pairs]


def verdict_words(opening: Opening) -> list[int]:
    """Return an opening's verdicts, 64 in a word."""
    return pack_codes(verdict_codes(opening))


def pack_codes(codes: Sequence[int]) -> list[int]:
    """Pack four bits for each update: update i from bit 4 * (i % 64) of word i // 64 on."""
    words = [0] * ((len(codes) + IN_WORD - 1) // IN_WORD)
    for position, code in enumerate(codes):
        words[position // IN_WORD] |= code << 4 * (position % IN_WORD)
    return words


def unpack_codes(words: Sequence[int], count: int) -> tuple[int, ...]:
    """Return the four bits of each of `count` updates."""
    return tuple(words[i // IN_WORD] >> 4 * (i % IN_WORD) & 15 for i in range(count))


def unpack_verdicts(words: Sequence[int], count: int) -> tuple[tuple[Verdict, ...], tuple[int, ...]]:
    """Return the verdicts and the levels behind words; raises ValueError for a verdict that there is not."""
    return verdicts_of(unpack_codes(words, count))


def verdicts_of(codes: Sequence[int]) -> tuple[tuple[Verdict, ...], tuple[int, ...]]:
    """Return the verdicts and the levels behind codes; raises ValueError for one that there is not."""
    verdicts = tuple(Verdict(max(0, code - TOP_LEVEL)) for code in codes)
    return verdicts, tuple(code if code <= TOP_LEVEL else 0 for code in codes)


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
    wish = wish_code(opening.wish)
    return vote_hash(opening.round, opening.miner, verdict_words(opening), wish, opening.salt)


def vote_hash(round_: int, miner: str, verdicts: Sequence[int], wish: int, salt: bytes) -> bytes:
    """Return the digest of a vote from the arguments of `unveil`."""
    words = [word(item) for item in verdicts]
    start = word(round_) + word(int(miner, 16)) + word(160) + word(wish) + salt
    return keccak(start + word(len(words)) + b"".join(words))


def wish_code(wish: Engine | None) -> int:
    """Return a wish as the chain has it: 0 for none, else the engine plus one."""
    return 0 if wish is None else wish + 1


def wish_of(code: int) -> Engine | None:
    """Return the wish that a code stands for."""
    return Engine(code - 1) if code else None


def vote_body(opening: Opening) -> bytes:
    """Return the fold of a vote's salt and its verdicts."""
    return fold((word(item) for item in verdict_words(opening)), opening.salt)


def vote_chain(votes: Sequence[Vote]) -> bytes:
    """Return the digest that stands on chain for all unveiled votes in their order."""
    digest = bytes(32)
    for vote in votes:
        digest = keccak(digest + word(vote.voter.word) + vote_body(vote.opening))
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


def levels_in_force(votes: Sequence[Vote], updates: int, electorate: Electorate) -> tuple[int, ...]:
    """Return the level of each update: the highest that as much as decides gives at least, whoever is absent.

    0 is none: the update is rejected.
    """
    return tuple(_level(votes, electorate, position) for position in range(updates))


def _level(votes: Sequence[Vote], electorate: Electorate, position: int) -> int:
    weights = [0] * (TOP_LEVEL + 1)  # by level
    for vote in votes:
        weights[vote.opening.levels[position]] += vote.voter.weight
    return next((level for level in range(TOP_LEVEL, 0, -1) if electorate.decides(sum(weights[level:]))), 0)


def mean_weights(count: Tally, claims: Sequence[int]) -> tuple[int, ...]:
    """Return what each accepted update weighs in the mean: its claim up to the cap, times its level squared.

    `claims`: the samples of all updates of the round.
    """
    pairs = zip(claims, count.levels, strict=True)
    return tuple(min(claim, count.cap) * level**2 for claim, level in pairs if level)


def matches(vote: Vote, accepted: Sequence[bool], devices: Sequence[int]) -> int:
    """Count the verdicts of a vote that the tally agrees with, the voter's own update left out."""
    own_place = own_position(vote.voter, devices)
    return sum(
        (verdict is Verdict.ACCEPTED) == bit
        for position, (verdict, bit) in enumerate(zip(vote.opening.verdicts, accepted, strict=True))
        if position != own_place
    )


def refused(votes: Sequence[Vote], updates: int, electorate: Electorate) -> tuple[bool, ...]:
    """Return which updates more than half of all active weight rejects."""
    return _against(votes, updates, electorate, lambda verdict: verdict is not Verdict.ACCEPTED)


def unavailable(votes: Sequence[Vote], updates: int, electorate: Electorate) -> tuple[bool, ...]:
    """Return which updates more than half of all active weight could not get."""
    return _against(votes, updates, electorate, lambda verdict: verdict is Verdict.UNAVAILABLE)


def _against(
    votes: Sequence[Vote],
    updates: int,
    electorate: Electorate,
    speaks_against: Callable[[Verdict], bool],
) -> tuple[bool, ...]:
    weights = [0] * updates
    for vote in votes:
        for position, verdict in enumerate(vote.opening.verdicts):
            if speaks_against(verdict):
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


def tally(words: Sequence[int], votes: Sequence[Vote], electorate: Electorate) -> Tally:
    """Count the votes of a round over the words of its chain of updates."""
    devices = [item >> 24 & 0xFFFF for item in words]
    claims = [item & 0xFFFFFF for item in words]
    levels, cap = levels_in_force(votes, len(words), electorate), claim_cap(claims)
    accepted = [level > 0 for level in levels]
    return Tally(
        checkpoints=checkpoints(words),
        votes=vote_chain(votes),
        voters=tuple(vote.voter.word for vote in votes),
        matches=tuple(matches(vote, accepted, devices) for vote in votes),
        levels=levels,
        cap=cap,
        samples=sum(min(claim, cap) * level for claim, level in zip(claims, levels, strict=True)),
    )


def tally_fields(count: Tally) -> tuple[list[bytes], bytes, list[int], list[int], list[int], int, int]:
    """Return a tally in the order and form of the contract's struct."""
    return (
        list(count.checkpoints),
        count.votes,
        list(count.voters),
        list(count.matches),
        pack_codes(count.levels),
        count.cap,
        count.samples,
    )


def tally_digest(count: Tally) -> bytes:
    """Return the hash of a tally: the accepted set of a block."""
    return keccak(tally_bytes(count))


def tally_bytes(count: Tally) -> bytes:
    """Return the ABI encoding of a tally, whose hash is the accepted set."""
    return fields_bytes(*tally_fields(count))


def fields_bytes(
    points: Sequence[bytes],
    votes: bytes,
    voters: Sequence[int],
    matching: Sequence[int],
    levels: Sequence[int],
    cap: int,
    samples: int,
) -> bytes:
    """Return the ABI encoding of the contract's struct."""
    lists = [[word(item) for item in items] for items in (voters, matching, levels)]
    return word(32) + abi_encode(list(points), votes, *lists, word(cap), word(samples))


def unveil_args(opening: Opening) -> tuple[str, list[int], int, bytes]:
    """Return the arguments of `unveil`."""
    return opening.miner, verdict_words(opening), wish_code(opening.wish), opening.salt


def tally_args(
    words: Sequence[int], votes: Sequence[Vote]
) -> tuple[list[int], list[int], list[bytes], list[int], list[int], int]:
    """Return the arguments of `tally`: updates, voters, salts, verdicts, voters' own positions, the cap."""
    devices = [item >> 24 & 0xFFFF for item in words]
    positions = [own_position(vote.voter, devices) for vote in votes]
    return (
        list(words),
        [vote.voter.word for vote in votes],
        [vote.opening.salt for vote in votes],
        [item for vote in votes for item in verdict_words(vote.opening)],
        [NOT_MINE if position is None else position for position in positions],
        claim_cap([item & 0xFFFFFF for item in words]),
    )


def skip_args(votes: Sequence[Vote]) -> tuple[list[int], list[bytes]]:
    """Return the arguments of `skip`: the voters, and the bodies of their votes."""
    return [vote.voter.word for vote in votes], [vote_body(vote.opening) for vote in votes]
