# pragma version 0.4.3
"""
@title verification: what the miners say of the updates
@license Apache-2.0
@notice Verdicts are committed to, unveiled, and counted by weight. A verdict rejects an update or gives it a level;
        in force is the highest level that more than half of all active weight gives at least, or two thirds of
        a committee, whoever is absent; a miner's own update is no exception. A claim counts up to the median of
        its round, times the level. Where the engine is RESOURCE, the tally notes what the round has shown of
        everybody.
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
MAX_WORDS: constant(uint256) = 16
MAX_VERDICTS: constant(uint256) = 1_024
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
    @param digest keccak of (round, miner, verdicts, wish, salt); its low 32 bits are those of the
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
def unveil(miner: address, verdicts: DynArray[uint256, MAX_WORDS], wish: uint256, salt: bytes32):
    """
    @notice Opens a committed vote; anybody who holds the opening may hand it in. One that is open already stays.
    @param miner Whose vote it is.
    @param verdicts Four bits for each update, those from 4 * (i % 64) of word i // 64 for update i: its level, 1
           to 4, or the reason to reject it.
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
    assert len(verdicts) == (updates + 63) // 64, "verification: wrong length"
    if wish != 0:
        assert terms.TERMS.mode == constants.HYBRID, "verification: no wishes in this mode"
        assert wish <= ENGINES, "verification: unknown engine"
    digest: bytes32 = keccak256(abi_encode(round, miner, verdicts, wish, salt))
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
    for word: uint256 in range(len(verdicts), bound=MAX_WORDS):
        judged: uint256 = counting._judged(updates, word)
        assert counting._known(verdicts[word]) == judged, "verification: not a verdict on each update"
        body = keccak256(abi_encode(body, verdicts[word]))
    self.votes = self._link(links, voter, body)
    rounds.clock = rounds._act(clock, bit, 0)
    if wish != 0:
        log IFederation.Wished(round=round, miner=miner, engine=wish - 1)
    log IFederation.Voted(round=round, miner=miner, verdicts=verdicts, salt=salt)


@external
def tally(
    updates: DynArray[uint256, MAX_UPDATES],
    voters: DynArray[uint256, MAX_VOTES],
    salts: DynArray[bytes32, MAX_VOTES],
    verdicts: DynArray[uint256, MAX_VERDICTS],
    owns: DynArray[uint256, MAX_VOTES],
    cap: uint256,
):
    """
    @notice Counts the unveiled votes; anybody may hand in the lists.
    @param updates The round's words of the chain of updates.
    @param voters Who voted, in the order of unveiling, packed as in the chain of votes.
    @param salts Their salts.
    @param verdicts Their verdicts, all words of the first voter first.
    @param owns The positions of the voters' own updates, NOT_MINE where there is none.
    @param cap The lower median of the claimed samples.
    """
    clock: uint256 = rounds._enter(constants.TALLY)
    round: uint256 = rounds._round(clock)
    count: uint256 = (clock >> rounds.UPDATES) & constants.MASK16
    words: uint256 = (count + 63) // 64
    engine: uint256 = clock >> rounds.ENGINE
    acted: uint256 = (clock >> rounds.ACTED) & constants.MASK64
    unopened: uint256 = (clock >> rounds.EXPECTED) & ~acted & constants.MASK64
    if acted == 0:
        rounds._void(round, constants.NO_QUORUM)
        return
    absence._settle(round, rounds._electors(clock), acted, unopened)
    assert len(updates) == count, "verification: not the updates of this round"
    assert len(salts) == len(voters) and len(owns) == len(voters), "verification: lists differ"
    assert len(verdicts) == len(voters) * words, "verification: lists differ"

    result: IFederation.Tally = IFederation.Tally(
        checkpoints=[], votes=empty(bytes32), voters=voters, matches=[], levels=[], cap=cap, samples=0
    )
    is_committee: bool = rounds._is_committee(clock)
    whole: uint256 = rounds._whole(clock)
    draws: bool = engine == constants.POW or engine == constants.COMMITTEE or terms.TERMS.mode == constants.HYBRID
    weight: uint256 = 0
    entropy: bytes32 = empty(bytes32)
    for i: uint256 in range(len(voters), bound=MAX_VOTES):
        voter: uint256 = voters[i]
        body: bytes32 = salts[i]
        for word: uint256 in range(words, bound=MAX_WORDS):
            body = keccak256(abi_encode(body, verdicts[unsafe_add(unsafe_mul(i, words), word)]))
        result.votes = self._link(result.votes, voter, body)
        if draws:
            # Exclusive or: the order in which votes are unveiled must not move what is drawn.
            entropy ^= keccak256(abi_encode(voter, salts[i]))
        own: uint256 = 0
        if owns[i] < count:
            own = updates[owns[i]]
        self._check_own((voter >> packing.DEVICE) & constants.MASK16, owns[i], own, round)
        weight += packing._weight(voter)
        result.matches.append(count)
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
    against: DynArray[uint256, MAX_WORDS] = []
    for word: uint256 in range(words, bound=MAX_WORDS):
        column: DynArray[uint256, MAX_VOTES] = []
        owned: uint256 = 0
        for i: uint256 in range(len(voters), bound=MAX_VOTES):
            column.append(verdicts[unsafe_add(unsafe_mul(i, words), word)])
            if engine == constants.RESOURCE and owns[i] >> 6 == word:
                owned |= 1 << (owns[i] % 64 * 4)
        levels: uint256 = 0
        spoken: uint256 = 0
        levels, spoken = counting._levels(voters, column, owned, whole, is_committee)
        judged: uint256 = counting._judged(count, word)
        levels &= unsafe_mul(judged, 15)
        accepted: uint256 = counting._accepting(levels)
        passed += counting._ones(accepted)
        result.levels.append(levels)
        against.append(spoken)
        for i: uint256 in range(len(voters), bound=MAX_VOTES):
            if column[i] != levels:
                result.matches[i] -= counting._ones(counting._accepting(column[i]) ^ accepted)
    matches: uint256 = 0
    for i: uint256 in range(len(voters), bound=MAX_VOTES):
        own: uint256 = owns[i]
        if own != NOT_MINE:
            # Its verdict on its own update is no match: nobody is paid for that.
            place: uint256 = own % 64 * 4
            given: uint256 = counting._accepting(verdicts[i * words + own // 64])
            if (given >> place) & 1 == counting._accepting(result.levels[own // 64]) >> place & 1:
                result.matches[i] -= 1
        matches += result.matches[i] * packing._weight(voters[i])
    links: bytes32 = empty(bytes32)
    below: uint256 = 0
    equal: uint256 = 0
    samples: uint256 = 0
    for group: uint256 in range(unsafe_add(count, constants.GROUP - 1) // constants.GROUP, bound=MAX_UPDATES // constants.GROUP):
        levels: uint256 = result.levels[group >> 1] >> ((group & 1) << 7)
        first: uint256 = unsafe_mul(group, constants.GROUP)
        for i: uint256 in range(first, min(unsafe_add(first, constants.GROUP), count), bound=constants.GROUP):
            update: uint256 = updates[i]
            links = keccak256(abi_encode(links, update))
            counted: uint256 = update & constants.MASK24
            if counted < cap:
                below = unsafe_add(below, 1)
            elif counted == cap:
                equal = unsafe_add(equal, 1)
            else:
                counted = cap
            samples = unsafe_add(samples, unsafe_mul(levels & 15, counted))
            levels >>= 4
        result.checkpoints.append(links)
    assert links == submissions.links, "verification: not the updates of this round"
    middle: uint256 = (count - 1) // 2
    assert below <= middle and middle < below + equal, "verification: not the median claim"
    result.samples = samples
    log IFederation.Tallied(
        round=round, levels=result.levels, samples=result.samples, matches=matches, parent=parent
    )
    if engine == constants.RESOURCE:
        # Only more than half of all active weight speaks against a miner here: a minority that keeps an update out,
        # or decides while others are away, must not decide who leads.
        shown: DynArray[uint256, MAX_VOTES] = []
        for i: uint256 in range(len(voters), bound=MAX_VOTES):
            own: uint256 = owns[i]
            update: uint256 = 0
            spoken: uint256 = 0
            if own != NOT_MINE:
                update = updates[own]
                spoken = against[own // 64] >> (own % 64 * 4)
            shown.append(self._shown(voters[i], own, update, spoken))
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
def _shown(voter: uint256, own: uint256, update: uint256, spoken: uint256) -> uint256:
    """
    @notice What a counted round has shown of a voter. Who is no device has nothing that could fail, and the
            rate that it had as a device fades.
    @param voter Who voted, packed.
    @param own The position of the voter's own update, or NOT_MINE.
    @param update The word of that update.
    @param spoken Whether a majority of all refuses it, and could not get it.
    @return The word that `scores` takes.
    """
    shown: uint256 = scores.ON_TIME
    pace: uint256 = 0
    if (voter >> packing.DEVICE) & constants.MASK16 == 0:
        shown |= scores.AVAILABLE | scores.ACCEPTED
        pace = 1
    elif own != NOT_MINE:
        if spoken & counting.MISSED == 0:
            shown |= scores.AVAILABLE
        if spoken & counting.REFUSED == 0:
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
    @param body The fold of the vote's salt and its verdicts.
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
