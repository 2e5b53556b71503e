# pragma version 0.4.3
"""
@title verification: what the miners say of the updates
@license Apache-2.0
@notice Verdicts are committed to, unveiled, and counted by weight. An update is accepted if the
        revealed weight that accepts it is more than the weight that does not; a miner's verdict on
        its own update counts for neither side. Where the engine is RESOURCE, the votes also say which updates
        could not be had, and the tally notes what the round has shown of everybody.
"""

from interfaces import IFederation
from modules import terms
from modules import registry
from modules import rounds
from modules import submissions
from modules import election
from modules import treasury
from modules import scores
from modules import counting

uses: terms
uses: registry
uses: rounds
uses: submissions
uses: election
uses: treasury
uses: scores


MAX_VOTES: constant(uint256) = 64
MAX_WORDS: constant(uint256) = 4
MAX_VERDICTS: constant(uint256) = 512
MAX_UPDATES: constant(uint256) = 1024
GROUP: constant(uint256) = 32  # updates between two checkpoints
NOT_MINE: constant(uint256) = max_value(uint256)
MASK16: constant(uint256) = 2**16 - 1
MASK24: constant(uint256) = 2**24 - 1
RECORD: constant(uint256) = 2**32 - 1
HYBRID: constant(uint256) = 2  # the mode in which miners wish for engines
ENGINES: constant(uint256) = 4
# Voter: index (8) | spare (3) | novice (1) | wish (4) | device + 1 (16) | weight (16) | account (160).
DEVICE: constant(uint256) = 176  # shifts
WISH: constant(uint256) = 192
NOVICE: constant(uint256) = 2**196
INDEX: constant(uint256) = 200
MASK4: constant(uint256) = 2**4 - 1
MASK160: constant(uint256) = 2**160 - 1

votes: bytes32
accepted: bytes32


@external
def commit_vote(digest: bytes32):
    """
    @notice Commits the sender's verdicts on all updates of the round.
    @param digest keccak of (round, miner, accepted, reasons, wish, salt).
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
def unveil(
    miner: address, accepted: DynArray[uint256, MAX_WORDS], reasons: Bytes[512], wish: uint256, salt: bytes32
):
    """
    @notice Opens a committed vote; anybody who holds the opening may hand it in.
    @param miner Whose vote it is.
    @param accepted The updates accepted, bit i % 256 of word i // 256 for update i.
    @param reasons Four bits for each update, the first update in the high half of the first byte.
    @param wish 0, or the engine wished for the next round, plus one.
    @param salt What hid the vote; it becomes part of a race's puzzle.
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
    if wish != 0:
        assert terms.TERMS.mode == HYBRID, "verification: no wishes in this mode"
        assert wish <= ENGINES, "verification: unknown engine"
    digest: bytes32 = keccak256(abi_encode(round, miner, accepted, reasons, wish, salt))
    assert (convert(digest, uint256) ^ record) & ~RECORD == 0, "verification: not the committed vote"
    weight: uint256 = (record >> registry.WEIGHT) & MASK16
    if clock >> rounds.ENGINE == rounds.COMMITTEE:
        weight = 1
    voter: uint256 = convert(miner, uint256) | weight << 160 | wish << WISH | (record & registry.INDEX) << INDEX
    if record & registry.ALSO_DEVICE != 0:
        voter |= registry.device_index[miner] << DEVICE
    if record & registry.NOVICE != 0:
        voter |= NOVICE
    links: bytes32 = empty(bytes32)
    if (clock >> rounds.ACTED) & rounds.MASK64 != 0:
        links = self.votes
    body: bytes32 = salt
    for word: uint256 in accepted:
        body = keccak256(abi_encode(body, word))
    if clock >> rounds.ENGINE == rounds.RESOURCE:
        for word: uint256 in range(len(accepted), bound=MAX_WORDS):
            # What is accepted, or no update at all, is not missing.
            missing: uint256 = counting._missing(reasons, word) & ~accepted[word]
            if updates < (word + 1) * 256:
                missing &= (1 << (updates % 256)) - 1
            body = keccak256(abi_encode(body, missing))
    self.votes = self._link(links, voter, body)
    rounds.clock = rounds._act(clock, bit, 0)
    if wish != 0:
        log IFederation.Wished(round=round, miner=miner, engine=wish - 1)
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
    @param verdicts Their accepted updates, all words of the first voter first; where the engine is RESOURCE
           each voter's accepted updates are followed by those that it could not get.
    @param owns The positions of the voters' own updates, NOT_MINE where there is none.
    """
    clock: uint256 = rounds._enter(rounds.TALLY)
    round: uint256 = rounds._round(clock)
    count: uint256 = (clock >> rounds.UPDATES) & MASK16
    words: uint256 = (count + 255) // 256
    engine: uint256 = clock >> rounds.ENGINE
    row: uint256 = words
    if engine == rounds.RESOURCE:
        row = 2 * words
    acted: uint256 = (clock >> rounds.ACTED) & rounds.MASK64
    missing: uint256 = (clock >> rounds.EXPECTED) & ~acted & rounds.MASK64
    if missing != 0:
        self._penalize(round, missing)
    if acted == 0:
        rounds._void(round, rounds.NO_QUORUM)
        return
    assert len(updates) == count, "verification: not the updates of this round"
    assert len(salts) == len(voters) and len(owns) == len(voters), "verification: lists differ"
    assert len(verdicts) == len(voters) * row, "verification: lists differ"

    result: IFederation.Tally = IFederation.Tally(
        checkpoints=[], votes=empty(bytes32), voters=voters, matches=[], accepted=[], samples=0
    )
    weight: uint256 = 0
    entropy: bytes32 = empty(bytes32)
    for i: uint256 in range(len(voters), bound=MAX_VOTES):
        voter: uint256 = voters[i]
        body: bytes32 = salts[i]
        for word: uint256 in range(row, bound=2 * MAX_WORDS):
            body = keccak256(abi_encode(body, verdicts[i * row + word]))
        result.votes = self._link(result.votes, voter, body)
        if engine == rounds.POW:
            # Exclusive or: the order in which votes are unveiled must not move the puzzle.
            entropy ^= keccak256(abi_encode(voter, salts[i]))
        own: uint256 = 0
        if owns[i] < count:
            own = updates[owns[i]]
        self._check_own((voter >> DEVICE) & MASK16, owns[i], own, round)
        weight += (voter >> 160) & MASK16
        result.matches.append(0)
    assert result.votes == self.votes, "verification: not the votes of this round"
    if weight * 2 < self._whole(engine):
        rounds._void(round, rounds.NO_QUORUM)
        return
    puzzle: bytes32 = empty(bytes32)
    parent: bytes32 = empty(bytes32)
    if engine == rounds.POW:
        # Without the last block whoever unveils last would search before the others.
        parent = blockhash(block.number - 1)
        puzzle = keccak256(abi_encode(rounds.seed, entropy, parent))
    if terms.TERMS.mode == HYBRID:
        self._choose(voters, weight)

    passed: uint256 = 0
    matches: uint256 = 0
    for word: uint256 in range(words, bound=MAX_WORDS):
        mask: uint256 = max_value(uint256)
        if count < (word + 1) * 256:
            mask = (1 << (count % 256)) - 1
        column: DynArray[uint256, MAX_VOTES] = []
        for i: uint256 in range(len(voters), bound=MAX_VOTES):
            column.append(verdicts[i * row + word])
        bits: uint256 = counting._majority(voters, column, owns, word, weight) & mask
        result.accepted.append(bits)
        passed += counting._ones(bits)
        for i: uint256 in range(len(voters), bound=MAX_VOTES):
            matching: uint256 = counting._ones(~(column[i] ^ bits) & mask & ~counting._own_bit(owns[i], word))
            result.matches[i] += matching
            matches += matching
    links: bytes32 = empty(bytes32)
    bits: uint256 = 0
    for i: uint256 in range(count, bound=MAX_UPDATES):
        update: uint256 = updates[i]
        links = keccak256(abi_encode(links, update))
        if i & 255 == 0:
            bits = result.accepted[i >> 8]
        # A product instead of a branch: it is done for every update of the round.
        result.samples = unsafe_add(result.samples, unsafe_mul(bits & 1, update & MASK24))
        bits >>= 1
        if i & 31 == 31:
            result.checkpoints.append(links)
    if count & 31 != 0:
        result.checkpoints.append(links)
    assert links == submissions.links, "verification: not the updates of this round"
    log IFederation.Tallied(
        round=round, accepted=result.accepted, samples=result.samples, matches=matches, parent=parent
    )
    if engine == rounds.RESOURCE:
        absent: uint256 = registry.roster & rounds.MASK64
        missed: uint256[MAX_WORDS] = empty(uint256[MAX_WORDS])
        for word: uint256 in range(words, bound=MAX_WORDS):
            column: DynArray[uint256, MAX_VOTES] = []
            for i: uint256 in range(len(voters), bound=MAX_VOTES):
                column.append(verdicts[i * row + words + word])
            missed[word] = counting._majority(voters, column, owns, word, weight)
        for i: uint256 in range(len(voters), bound=MAX_VOTES):
            own: uint256 = owns[i]
            update: uint256 = 0
            taken: bool = False
            gone: bool = False
            if own != NOT_MINE:
                update = updates[own]
                taken = (result.accepted[own // 256] >> (own % 256)) & 1 == 1
                gone = (missed[own // 256] >> (own % 256)) & 1 == 1
            absent &= ~self._note(voters[i], round, own, update, taken, gone)
        self._note_absent(round, absent)
    if passed < terms.TERMS.min_updates:
        rounds._void(round, rounds.FEW_ACCEPTED)
        return
    self.accepted = keccak256(abi_encode(result))
    election._begin(clock, weight, result.samples, matches, voters, puzzle)


@internal
@view
def _whole(engine: uint256) -> uint256:
    """
    @notice The weight of all who may vote, half of which makes the quorum.
    @param engine The round's engine.
    """
    if engine == rounds.COMMITTEE:
        return rounds.committee >> 64
    return (registry.roster >> registry.TOTAL) & registry.MASK32


@internal
def _choose(voters: DynArray[uint256, MAX_VOTES], weight: uint256):
    """
    @notice Sets the engine of the next round, if more than half of the weight wishes for the same.
    @param voters Who voted.
    @param weight The sum of their weights.
    """
    wishes: uint256[ENGINES + 1] = empty(uint256[ENGINES + 1])
    for voter: uint256 in voters:
        wishes[(voter >> WISH) & MASK4] += (voter >> 160) & MASK16
    for engine: uint256 in range(ENGINES):
        if wishes[engine + 1] * 2 > weight:
            kept: uint256 = registry.roster & ~(registry.MASK8 << registry.ENGINE)
            registry.roster = kept | engine << registry.ENGINE


@internal
def _note(voter: uint256, round: uint256, own: uint256, update: uint256, taken: bool, missing: bool) -> uint256:
    """
    @notice Notes what a counted round has shown of a voter. Who is no device has nothing that could fail.
    @param voter Who voted, packed.
    @param round The running round.
    @param own The position of the voter's own update, or NOT_MINE.
    @param update The word of that update.
    @param taken Whether the majority accepts it.
    @param missing Whether the majority could not get it.
    @return The voter's bit.
    """
    shown: uint256 = scores.ON_TIME
    pace: uint256 = 0
    if (voter >> DEVICE) & MASK16 == 0:
        shown |= scores.AVAILABLE | scores.ACCEPTED
    elif own != NOT_MINE:
        if not missing:
            shown |= scores.AVAILABLE
        if taken:
            shown |= scores.ACCEPTED
            pace = max(1, (update >> submissions.PACE) & submissions.MAX_PACE)
    scores._note(convert(voter & MASK160, address), round, shown, pace)
    return 1 << (voter >> INDEX)


@internal
def _note_absent(round: uint256, absent: uint256):
    """
    @notice Notes that miners have not unveiled anything: they have shown nothing.
    @param round The running round.
    @param absent Their mask.
    """
    for index: uint256 in range(64):
        if (absent >> index) & 1 == 1:
            scores._note(registry.miners[index], round, 0, 0)


@internal
@pure
def _link(links: bytes32, voter: uint256, body: bytes32) -> bytes32:
    """
    @notice The chain of votes with one more vote.
    @param links The chain before.
    @param voter Who voted, packed.
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
