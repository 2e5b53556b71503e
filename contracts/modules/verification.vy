# pragma version 0.4.3
"""
@title verification: what the miners say of the updates
@license Apache-2.0
@notice Verdicts are committed to, unveiled, and counted by weight. An update is accepted if the
        revealed weight that accepts it is more than the weight that does not; a miner's verdict on
        its own update counts for neither side. Counting is bit-sliced: one word per binary
        digit of the weight holds that digit for 256 updates at once.
"""

from interfaces import IFederation
from modules import terms
from modules import registry
from modules import rounds
from modules import submissions
from modules import election
from modules import treasury

uses: terms
uses: registry
uses: rounds
uses: submissions
uses: election
uses: treasury


MAX_VOTES: constant(uint256) = 64
MAX_WORDS: constant(uint256) = 4
MAX_VERDICTS: constant(uint256) = 256
MAX_UPDATES: constant(uint256) = 1024
DIGITS: constant(uint256) = 25  # 64 miners * 65,535 * 2 < 2**24
GROUP: constant(uint256) = 32  # updates between two checkpoints
NOT_MINE: constant(uint256) = max_value(uint256)
MASK16: constant(uint256) = 2**16 - 1
MASK24: constant(uint256) = 2**24 - 1
RECORD: constant(uint256) = 2**32 - 1

votes: bytes32
accepted: bytes32


@external
def commit_vote(digest: bytes32):
    """
    @notice Commits the sender's verdicts on all updates of the round.
    @param digest keccak of (round, miner, accepted, reasons, salt).
    """
    clock: uint256 = rounds._enter(rounds.VOTE)
    record: uint256 = 0
    bit: uint256 = 0
    record, bit = registry._seat(msg.sender, clock >> rounds.EXPECTED)
    assert bit != 0, "verification: not a miner of this round"
    assert (clock >> rounds.ACTED) & bit == 0, "verification: already committed"
    registry.records[msg.sender] = (convert(digest, uint256) & ~RECORD) | (record & RECORD)
    rounds.clock = rounds._act(clock, bit, 0)
    log IFederation.VoteCommitted(round=rounds._round(clock), miner=msg.sender, digest=digest)


@external
def unveil(miner: address, accepted: DynArray[uint256, MAX_WORDS], reasons: Bytes[512], salt: bytes32):
    """
    @notice Opens a committed vote; anybody who holds the opening may hand it in.
    @param miner Whose vote it is.
    @param accepted The updates accepted, bit i % 256 of word i // 256 for update i.
    @param reasons Four bits for each update, the first update in the high half of the first byte.
    @param salt What hid the vote; it becomes part of the next seed.
    """
    clock: uint256 = rounds._enter(rounds.UNVEIL)
    record: uint256 = 0
    bit: uint256 = 0
    record, bit = registry._seat(miner, clock >> rounds.EXPECTED)
    assert bit != 0, "verification: nothing to unveil"
    assert (clock >> rounds.ACTED) & bit == 0, "verification: already unveiled"
    round: uint256 = rounds._round(clock)
    updates: uint256 = (clock >> rounds.UPDATES) & MASK16
    assert len(accepted) == (updates + 255) // 256, "verification: wrong length"
    assert len(reasons) == (updates + 1) // 2, "verification: wrong length"
    if updates % 256 != 0:
        assert accepted[updates // 256] >> (updates % 256) == 0, "verification: bits beyond the updates"
    digest: bytes32 = keccak256(abi_encode(round, miner, accepted, reasons, salt))
    assert (convert(digest, uint256) ^ record) & ~RECORD == 0, "verification: not the committed vote"
    voter: uint256 = convert(miner, uint256) | ((record >> registry.WEIGHT) & MASK16) << 160
    if record & registry.ALSO_DEVICE != 0:
        voter |= registry.device_index[miner] << 176
    links: bytes32 = empty(bytes32)
    if (clock >> rounds.ACTED) & rounds.MASK64 != 0:
        links = self.votes
    body: bytes32 = salt
    for word: uint256 in accepted:
        body = keccak256(abi_encode(body, word))
    self.votes = self._link(links, voter, body)
    rounds.clock = rounds._act(clock, bit, 0)
    log IFederation.Voted(round=round, miner=miner, accepted=accepted, reasons=reasons, salt=salt)


@external
def tally(
    updates: DynArray[uint256, MAX_UPDATES],
    voters: DynArray[uint256, MAX_VOTES],
    salts: DynArray[bytes32, MAX_VOTES],
    verdicts: DynArray[uint256, MAX_VERDICTS],
    owns: DynArray[uint256, MAX_VOTES],
):
    """
    @notice Counts the unveiled votes; anybody may hand in the lists.
    @param updates The round's words of the chain of updates.
    @param voters Who voted, in the order of unveiling, packed as in the chain of votes.
    @param salts Their salts.
    @param verdicts Their accepted updates, all words of the first voter first.
    @param owns The positions of the voters' own updates, NOT_MINE where there is none.
    """
    clock: uint256 = rounds._enter(rounds.TALLY)
    round: uint256 = rounds._round(clock)
    count: uint256 = (clock >> rounds.UPDATES) & MASK16
    words: uint256 = (count + 255) // 256
    acted: uint256 = (clock >> rounds.ACTED) & rounds.MASK64
    missing: uint256 = (clock >> rounds.EXPECTED) & ~acted
    if missing != 0:
        self._penalize(round, missing)
    if acted == 0:
        rounds._void(round, rounds.NO_QUORUM)
        return
    assert len(updates) == count, "verification: not the updates of this round"
    assert len(salts) == len(voters) and len(owns) == len(voters), "verification: lists differ"
    assert len(verdicts) == len(voters) * words, "verification: lists differ"

    result: IFederation.Tally = IFederation.Tally(
        checkpoints=[], votes=empty(bytes32), voters=voters, matches=[], accepted=[], samples=0
    )
    weight: uint256 = 0
    entropy: bytes32 = empty(bytes32)
    for i: uint256 in range(len(voters), bound=MAX_VOTES):
        voter: uint256 = voters[i]
        body: bytes32 = salts[i]
        for word: uint256 in range(words, bound=MAX_WORDS):
            body = keccak256(abi_encode(body, verdicts[i * words + word]))
        result.votes = self._link(result.votes, voter, body)
        # Exclusive or: the order in which votes are unveiled must not move the seed.
        entropy ^= keccak256(abi_encode(voter, salts[i]))
        own: uint256 = 0
        if owns[i] < count:
            own = updates[owns[i]]
        self._check_own(voter >> 176, owns[i], own, round)
        weight += (voter >> 160) & MASK16
        result.matches.append(0)
    assert result.votes == self.votes, "verification: not the votes of this round"
    if weight * 2 < registry.roster >> registry.TOTAL:
        rounds._void(round, rounds.NO_QUORUM)
        return
    seed: bytes32 = keccak256(abi_encode(rounds.seed, entropy))
    rounds.seed = seed

    passed: uint256 = 0
    matches: uint256 = 0
    for word: uint256 in range(words, bound=MAX_WORDS):
        mask: uint256 = max_value(uint256)
        if count < (word + 1) * 256:
            mask = (1 << (count % 256)) - 1
        column: DynArray[uint256, MAX_VOTES] = []
        for i: uint256 in range(len(voters), bound=MAX_VOTES):
            column.append(verdicts[i * words + word])
        bits: uint256 = self._majority(voters, column, owns, word, weight) & mask
        result.accepted.append(bits)
        passed += self._ones(bits)
        for i: uint256 in range(len(voters), bound=MAX_VOTES):
            matching: uint256 = self._ones(~(column[i] ^ bits) & mask & ~self._own_bit(owns[i], word))
            result.matches[i] += matching
            matches += matching
    links: bytes32 = empty(bytes32)
    bits: uint256 = 0
    for i: uint256 in range(count, bound=MAX_UPDATES):
        update: uint256 = updates[i]
        links = keccak256(abi_encode(links, update))
        if i & 255 == 0:
            bits = result.accepted[i >> 8]
        if bits & 1 == 1:
            result.samples = unsafe_add(result.samples, update & MASK24)
        bits >>= 1
        if i & 31 == 31:
            result.checkpoints.append(links)
    if count & 31 != 0:
        result.checkpoints.append(links)
    assert links == submissions.links, "verification: not the updates of this round"
    log IFederation.Tallied(
        round=round, accepted=result.accepted, samples=result.samples, matches=matches, seed=seed
    )
    if passed < terms.TERMS.min_updates:
        rounds._void(round, rounds.FEW_ACCEPTED)
        return
    self.accepted = keccak256(abi_encode(result))
    election._begin(clock, weight, result.samples, matches, voters)


@internal
@pure
def _link(links: bytes32, voter: uint256, body: bytes32) -> bytes32:
    """
    @notice The chain of votes with one more vote.
    @param links The chain before.
    @param voter Packed device + 1 (16), weight (16) and account (160).
    @param body The fold of the vote's salt and its accepted updates.
    """
    return keccak256(abi_encode(links, voter, body))


@internal
@pure
def _chain(voters: DynArray[uint256, MAX_VOTES], bodies: DynArray[bytes32, MAX_VOTES]) -> bytes32:
    """
    @notice The chain of a whole list of votes.
    @param voters Who voted, in the order of unveiling.
    @param bodies What they voted.
    """
    assert len(voters) == len(bodies), "verification: lists differ"
    links: bytes32 = empty(bytes32)
    for i: uint256 in range(len(voters), bound=MAX_VOTES):
        links = self._link(links, voters[i], bodies[i])
    return links


@internal
def _penalize(round: uint256, missing: uint256):
    """
    @notice Takes the penalty from those who committed verdicts and did not unveil them.
    @param round The running round.
    @param missing Their mask.
    """
    for index: uint256 in range(64):
        if (missing >> index) & 1 == 1:
            treasury.books += registry._penalize(round, index, terms.TERMS.vote_penalty)


@internal
@view
def _check_own(device: uint256, own: uint256, update: uint256, round: uint256):
    """
    @notice Insists that a vote comes with the position of the voter's own update, if there is one.
    @param device The voter's device index + 1, or 0.
    @param own The position given.
    @param update The word of the update at that position.
    @param round The running round.
    """
    if device == 0 or not submissions._revealed(device - 1, round):
        assert own == NOT_MINE, "verification: not the voter's update"
    else:
        assert update != 0 and (update >> 24) & MASK16 == device - 1, "verification: not the voter's update"


@internal
@pure
def _own_bit(own: uint256, word: uint256) -> uint256:
    """
    @notice The bit of the voter's own update in one word of verdicts.
    @param own Its position, or NOT_MINE.
    @param word The word.
    """
    if own // 256 != word:
        return 0
    return 1 << (own % 256)


@internal
@pure
def _majority(
    voters: DynArray[uint256, MAX_VOTES],
    column: DynArray[uint256, MAX_VOTES],
    owns: DynArray[uint256, MAX_VOTES],
    word: uint256,
    weight: uint256,
) -> uint256:
    """
    @notice The updates that more weight accepts than not, 256 at a time.
    @dev    An update passes if 2 * accepting + own > weight: a voter's own update gets half
            its weight on either side.
    @param voters Who voted.
    @param column Their verdicts on these updates.
    @param owns The positions of their own updates.
    @param word Which 256 updates.
    @param weight The sum of the voters' weights.
    """
    digits: uint256[DIGITS] = empty(uint256[DIGITS])
    for i: uint256 in range(len(voters), bound=MAX_VOTES):
        own: uint256 = self._own_bit(owns[i], word)
        yes: uint256 = column[i] & ~own
        carry: uint256 = 0
        # Accepting counts twice the weight: bit 0 is its digit k, bit 1 that of the weight itself.
        left: uint256 = ((voters[i] >> 160) & MASK16) << 1
        for k: uint256 in range(DIGITS):
            term: uint256 = 0
            if left & 1 != 0:
                term = yes
            if left & 2 != 0:
                term |= own
            half: uint256 = digits[k] ^ term
            both: uint256 = digits[k] & term
            digits[k] = half ^ carry
            carry = both | half & carry
            left >>= 1
            if left | carry == 0:
                break
    more: uint256 = 0
    equal: uint256 = max_value(uint256)
    for i: uint256 in range(DIGITS):
        k: uint256 = DIGITS - 1 - i
        if (weight >> k) & 1 == 1:
            equal &= digits[k]
        else:
            more |= equal & digits[k]
            equal &= ~digits[k]
    return more


@internal
@pure
def _ones(word: uint256) -> uint256:
    """
    @notice The number of bits that are set.
    @param word The word.
    """
    x: uint256 = word - ((word >> 1) & (max_value(uint256) // 3))
    x = (x & (max_value(uint256) // 5)) + ((x >> 2) & (max_value(uint256) // 5))
    x = (x + (x >> 4)) & (max_value(uint256) // 17)
    # Sixteen-bit sums, so that 256 ones do not wrap a byte; the product adds them up in its top lane.
    x = (x + (x >> 8)) & (max_value(uint256) // 257)
    return unsafe_mul(x, max_value(uint256) // 65_535) >> 240

