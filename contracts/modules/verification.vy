# pragma version 0.4.3
"""
@title verification: what the miners say of the updates
@license Apache-2.0
@notice Verdicts are committed to, unveiled, and counted by weight. An update is accepted by more than half of
        all active weight, or by two thirds of a committee, whoever is absent; a miner's own update
        is judged by the others, of whom half, or two thirds, is enough. Where the engine is RESOURCE, the votes also say which updates
        could not be had, and the tally notes what the round has shown of everybody.
"""

from interfaces import IFederation
from modules import constants
from modules import packing
from modules import terms
from modules import registry
from modules import rounds
from modules import submissions
from modules import election
from modules import absence
from modules import committees
from modules import scores
from modules import counting

uses: terms
uses: registry
uses: rounds
uses: submissions
uses: election
uses: absence
uses: committees
uses: scores


MAX_VOTES: constant(uint256) = constants.MAX_MINERS
MAX_WORDS: constant(uint256) = 4
MAX_VERDICTS: constant(uint256) = 512
MAX_UPDATES: constant(uint256) = constants.MAX_UPDATES
NOT_MINE: constant(uint256) = max_value(uint256)
ENGINES: constant(uint256) = 4

votes: bytes32
accepted: bytes32


@external
def commit_vote(digest: bytes32):
    """
    @notice Commits the sender's verdicts on all updates of the round. A vote on other updates, or on the same in
            another order, reverts: it was meant for another fork.
    @param digest keccak of (round, miner, accepted, reasons, wish, salt); its low 32 bits are those of the
           chain of updates.
    """
    clock: uint256 = rounds._enter(constants.VOTE)
    different: uint256 = (convert(digest, uint256) ^ convert(submissions.links, uint256)) & registry.RECORD
    assert different == 0, "verification: not on these updates"
    record: uint256 = 0
    bit: uint256 = 0
    record, bit = registry._seat(msg.sender, clock >> rounds.EXPECTED)
    assert bit != 0, "verification: not a miner of this round"
    assert (clock >> rounds.ACTED) & bit == 0, "verification: already committed"
    registry.records[msg.sender] = (convert(digest, uint256) & ~registry.RECORD) | (record & registry.RECORD)
    rounds.clock = rounds._act(clock, bit, 0)
    log IFederation.VoteCommitted(round=rounds._round(clock), miner=msg.sender, digest=digest)


@external
def unveil(
    miner: address, accepted: DynArray[uint256, MAX_WORDS], reasons: Bytes[512], wish: uint256, salt: bytes32
):
    """
    @notice Opens a committed vote; anybody who holds the opening may hand it in. One that is open already stays.
    @param miner Whose vote it is.
    @param accepted The updates accepted, bit i % 256 of word i // 256 for update i.
    @param reasons Four bits for each update, the first update in the high half of the first byte.
    @param wish 0, or the engine wished for the next round, plus one.
    @param salt What hid the vote; it becomes part of a race's puzzle.
    """
    clock: uint256 = rounds._enter(constants.UNVEIL)
    record: uint256 = 0
    bit: uint256 = 0
    record, bit = registry._seat(miner, clock >> rounds.EXPECTED)
    assert bit != 0, "verification: nothing to unveil"
    if (clock >> rounds.ACTED) & bit != 0:
        return
    round: uint256 = rounds._round(clock)
    updates: uint256 = (clock >> rounds.UPDATES) & constants.MASK16
    assert len(accepted) == (updates + 255) // 256, "verification: wrong length"
    assert len(reasons) == (updates + 1) // 2, "verification: wrong length"
    if updates % 256 != 0:
        assert accepted[updates // 256] >> (updates % 256) == 0, "verification: bits beyond the updates"
    if wish != 0:
        assert terms.TERMS.mode == constants.HYBRID, "verification: no wishes in this mode"
        assert wish <= ENGINES, "verification: unknown engine"
    digest: bytes32 = keccak256(abi_encode(round, miner, accepted, reasons, wish, salt))
    assert (convert(digest, uint256) ^ record) & ~registry.RECORD == 0, "verification: not the committed vote"
    weight: uint256 = (record >> registry.WEIGHT) & registry.MAX_WEIGHT
    if rounds._is_committee(clock):
        weight = 1
    voter: uint256 = convert(miner, uint256) | weight << packing.WEIGHT | wish << packing.WISH
    voter |= (record & registry.INDEX) << packing.SEAT
    if record & registry.ALSO_DEVICE != 0:
        voter |= registry.device_index[miner] << packing.DEVICE
    links: bytes32 = empty(bytes32)
    if (clock >> rounds.ACTED) & constants.MASK64 != 0:
        links = self.votes
    body: bytes32 = salt
    for word: uint256 in accepted:
        body = keccak256(abi_encode(body, word))
    if clock >> rounds.ENGINE == constants.RESOURCE:
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
    clock: uint256 = rounds._enter(constants.TALLY)
    round: uint256 = rounds._round(clock)
    count: uint256 = (clock >> rounds.UPDATES) & constants.MASK16
    words: uint256 = (count + 255) // 256
    engine: uint256 = clock >> rounds.ENGINE
    row: uint256 = words
    if engine == constants.RESOURCE:
        row = 2 * words
    acted: uint256 = (clock >> rounds.ACTED) & constants.MASK64
    unopened: uint256 = (clock >> rounds.EXPECTED) & ~acted & constants.MASK64
    if acted == 0:
        rounds._void(round, constants.NO_QUORUM)
        return
    absence._settle(round, rounds._electors(clock), acted, unopened)
    assert len(updates) == count, "verification: not the updates of this round"
    assert len(salts) == len(voters) and len(owns) == len(voters), "verification: lists differ"
    assert len(verdicts) == len(voters) * row, "verification: lists differ"

    result: IFederation.Tally = IFederation.Tally(
        checkpoints=[], votes=empty(bytes32), voters=voters, matches=[], accepted=[], samples=0
    )
    is_committee: bool = rounds._is_committee(clock)
    whole: uint256 = rounds._whole(clock)
    draws: bool = engine == constants.POW or engine == constants.COMMITTEE or terms.TERMS.mode == constants.HYBRID
    weight: uint256 = 0
    entropy: bytes32 = empty(bytes32)
    for i: uint256 in range(len(voters), bound=MAX_VOTES):
        voter: uint256 = voters[i]
        body: bytes32 = salts[i]
        for word: uint256 in range(row, bound=2 * MAX_WORDS):
            body = keccak256(abi_encode(body, verdicts[i * row + word]))
        result.votes = self._link(result.votes, voter, body)
        if draws:
            # Exclusive or: the order in which votes are unveiled must not move what is drawn.
            entropy ^= keccak256(abi_encode(voter, salts[i]))
        own: uint256 = 0
        if owns[i] < count:
            own = updates[owns[i]]
        self._check_own((voter >> packing.DEVICE) & constants.MASK16, owns[i], own, round)
        weight += packing._weight(voter)
        result.matches.append(0)
    assert result.votes == self.votes, "verification: not the votes of this round"
    if not rounds._decides(weight, whole, is_committee):
        rounds._void(round, constants.NO_QUORUM)
        return
    puzzle: bytes32 = empty(bytes32)
    parent: bytes32 = empty(bytes32)
    if engine == constants.POW:
        # Without the last block whoever unveils last would search before the others.
        parent = blockhash(block.number - 1)
        puzzle = keccak256(abi_encode(rounds.head, round, entropy, parent))
    next_engine: uint256 = (registry.roster >> registry.ENGINE) & constants.MASK8
    if terms.TERMS.mode == constants.HYBRID and not is_committee:
        # A committee decides on updates and models alone: one that is captured must not stay by its own wish.
        next_engine = self._choose(voters, whole, next_engine)
    if next_engine == constants.COMMITTEE and not is_committee and unopened == 0:
        committees._draw(entropy)

    passed: uint256 = 0
    matches: uint256 = 0
    for word: uint256 in range(words, bound=MAX_WORDS):
        mask: uint256 = max_value(uint256)
        if count < (word + 1) * 256:
            mask = (1 << (count % 256)) - 1
        column: DynArray[uint256, MAX_VOTES] = []
        for i: uint256 in range(len(voters), bound=MAX_VOTES):
            column.append(verdicts[i * row + word])
        bits: uint256 = 0
        tied: uint256 = 0
        bits, tied = counting._majority(voters, column, owns, word, whole, is_committee)
        bits = (bits | tied) & mask
        result.accepted.append(bits)
        passed += counting._ones(bits)
        for i: uint256 in range(len(voters), bound=MAX_VOTES):
            matching: uint256 = counting._ones(~(column[i] ^ bits) & mask & ~counting._own_bit(owns[i], word))
            result.matches[i] += matching
            matches += matching * packing._weight(voters[i])
    links: bytes32 = empty(bytes32)
    bits: uint256 = 0
    for i: uint256 in range(count, bound=MAX_UPDATES):
        update: uint256 = updates[i]
        links = keccak256(abi_encode(links, update))
        if i & 255 == 0:
            bits = result.accepted[i >> 8]
        # A product instead of a branch: it is done for every update of the round.
        result.samples = unsafe_add(result.samples, unsafe_mul(bits & 1, update & constants.MASK24))
        bits >>= 1
        if i & 31 == 31:
            result.checkpoints.append(links)
    if count & 31 != 0:
        result.checkpoints.append(links)
    assert links == submissions.links, "verification: not the updates of this round"
    log IFederation.Tallied(
        round=round, accepted=result.accepted, samples=result.samples, matches=matches, parent=parent
    )
    if engine == constants.RESOURCE:
        # Only more than half of all active weight speaks against a miner here: a minority that keeps an update out,
        # or decides while others are away, must not decide who leads.
        refused: uint256[MAX_WORDS] = empty(uint256[MAX_WORDS])
        missed: uint256[MAX_WORDS] = empty(uint256[MAX_WORDS])
        nobodys: DynArray[uint256, MAX_VOTES] = []
        for i: uint256 in range(len(voters), bound=MAX_VOTES):
            nobodys.append(NOT_MINE)
        for word: uint256 in range(words, bound=MAX_WORDS):
            against: DynArray[uint256, MAX_VOTES] = []
            missing: DynArray[uint256, MAX_VOTES] = []
            for i: uint256 in range(len(voters), bound=MAX_VOTES):
                others: uint256 = ~counting._own_bit(owns[i], word)
                against.append(~verdicts[i * row + word] & others)
                missing.append(verdicts[i * row + words + word] & others)
            tied: uint256 = 0
            refused[word], tied = counting._majority(voters, against, nobodys, word, whole, False)
            missed[word], tied = counting._majority(voters, missing, nobodys, word, whole, False)
        shown: DynArray[uint256, MAX_VOTES] = []
        for i: uint256 in range(len(voters), bound=MAX_VOTES):
            own: uint256 = owns[i]
            update: uint256 = 0
            taken: bool = False
            gone: bool = False
            if own != NOT_MINE:
                update = updates[own]
                taken = (refused[own // 256] >> (own % 256)) & 1 == 0
                gone = (missed[own // 256] >> (own % 256)) & 1 == 1
            shown.append(self._shown(voters[i], own, update, taken, gone))
        self._note(round, voters, shown)
    if passed < terms.TERMS.min_updates:
        rounds._void(round, constants.FEW_ACCEPTED)
        return
    self.accepted = keccak256(abi_encode(result))
    election._begin(clock, result.samples, matches, voters, puzzle)


@internal
def _choose(voters: DynArray[uint256, MAX_VOTES], whole: uint256, engine: uint256) -> uint256:
    """
    @notice Sets the engine of the next round, if so much weight wishes for the same as accepts an update.
    @param voters Who voted.
    @param whole The weight of all who may vote.
    @param engine The engine until now.
    @return The engine of the next round.
    """
    wishes: uint256[ENGINES + 1] = empty(uint256[ENGINES + 1])
    for voter: uint256 in voters:
        wishes[(voter >> packing.WISH) & constants.MASK4] += packing._weight(voter)
    for wish: uint256 in range(ENGINES):
        if wish != engine and rounds._decides(wishes[wish + 1], whole, False):
            kept: uint256 = registry.roster & ~(constants.MASK8 << registry.ENGINE)
            registry.roster = kept | wish << registry.ENGINE
            rounds.draws = 0
            return wish
    return engine


@internal
@view
def _shown(voter: uint256, own: uint256, update: uint256, taken: bool, missing: bool) -> uint256:
    """
    @notice What a counted round has shown of a voter. Who is no device has nothing that could fail, and the
            rate that it had as a device fades.
    @param voter Who voted, packed.
    @param own The position of the voter's own update, or NOT_MINE.
    @param update The word of that update.
    @param taken Whether no majority of all refuses it.
    @param missing Whether a majority of all could not get it.
    @return The word that `scores` takes.
    """
    shown: uint256 = scores.ON_TIME
    pace: uint256 = 0
    if (voter >> packing.DEVICE) & constants.MASK16 == 0:
        shown |= scores.AVAILABLE | scores.ACCEPTED
        pace = 1
    elif own != NOT_MINE:
        if not missing:
            shown |= scores.AVAILABLE
        if taken:
            shown |= scores.ACCEPTED
            pace = max(1, (update >> submissions.PACE) & submissions.MAX_PACE)
    return shown | packing._weight(voter) << scores.WEIGHT | pace << scores.PACE


@internal
def _note(round: uint256, voters: DynArray[uint256, MAX_VOTES], shown: DynArray[uint256, MAX_VOTES]):
    """
    @notice Notes what a counted round has shown of its voters, and that the others have shown nothing. A pace
            counts up to a multiple of the median of all active miners, those of whom there is no accepted
            update with the rate that is known of them: whose updates are missing hands nobody the median.
    @param round The running round.
    @param voters Who voted, packed.
    @param shown What the round has shown of each.
    """
    absent: uint256 = registry.roster & constants.MASK64
    paces: DynArray[uint256, constants.MAX_MINERS] = []
    for i: uint256 in range(len(voters), bound=MAX_VOTES):
        absent &= ~(1 << (voters[i] >> packing.SEAT))
        known: uint256 = 0
        if shown[i] >> scores.PACE == 0:
            known = scores._rate(packing._account(voters[i])) << scores.MEDIAN_PACE
        paces.append(shown[i] >> scores.WEIGHT | known)
    for index: uint256 in range(constants.MAX_MINERS):
        if (absent >> index) & 1 == 1:
            miner: address = registry.miners[index]
            weight: uint256 = (registry.records[miner] >> registry.WEIGHT) & registry.MAX_WEIGHT
            paces.append(scores._rate(miner) << scores.MEDIAN_PACE | weight)
            scores._note(miner, round, 0, 0)
    most: uint256 = scores._most(paces, terms.TERMS.rate_factor)
    for i: uint256 in range(len(voters), bound=MAX_VOTES):
        pace: uint256 = min(shown[i] >> scores.PACE, most)
        scores._note(packing._account(voters[i]), round, shown[i] & constants.MASK8, pace)


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
        assert update != 0 and (update >> 24) & constants.MASK16 == device - 1, "verification: not the voter's update"
