# pragma version 0.4.3
"""
@title rounds: where the round stands
@license Apache-2.0
@notice The clock is one word: phase (4) | updates (16) | round (24) | opened (32) | deadline (32) |
        since (16) | acted (64) | expected (64) | engine (2). A phase ends when its deadline has
        passed, in seconds and in blocks, or all who may act have acted; whoever comes next moves the clock on.
        Blocks count so that nobody is late because the chain stood still.
"""

from interfaces import IFederation
from modules import constants
from modules import terms
from modules import registry

uses: terms
uses: registry


UPDATES: constant(uint256) = 4  # shifts
ROUND: constant(uint256) = 20
OPENED: constant(uint256) = 44
DEADLINE: constant(uint256) = 76
SINCE: constant(uint256) = 108  # the block in which the phase began, its low 16 bits
ACTED: constant(uint256) = 124
EXPECTED: constant(uint256) = 188
ENGINE: constant(uint256) = 252
DRAWN: constant(uint256) = 192  # shift of the size of the drawn committees
NEVER: constant(uint256) = constants.MASK32

clock: uint256
head: bytes32
ledger: public(HashMap[uint256, bytes32])
committee: uint256  # mask (64) | size, of the running round; 0 where everybody votes
draws: uint256  # size (64) | masks (64) of the committees of the next three rounds, the next one lowest; 0: everybody votes


@deploy
def __init__(root: bytes32, cid: bytes32):
    """
    @notice Puts the genesis model into the ledger.
    @param root Merkle root of the model.
    @param cid sha2-256 digest of its CID.
    """
    head: bytes32 = keccak256(
        abi_encode(
            IFederation.Block(
                parent=empty(bytes32),
                round=0,
                accepted=empty(bytes32),
                root=root,
                cid=cid,
                leader=empty(address),
                reward=0,
                engine=0,
                attested=0,
            )
        )
    )
    self.head = head
    self.ledger[0] = head
    self.clock = constants.IDLE | block.timestamp << OPENED | NEVER << DEADLINE
    log IFederation.Genesis(root=root, cid=cid, block_hash=head)


@internal
@pure
def _round(clock: uint256) -> uint256:
    """
    @notice The number of the running round.
    @param clock The clock.
    """
    return (clock >> ROUND) & constants.MASK24


@internal
@pure
def _deadline(clock: uint256) -> uint256:
    """
    @notice When the running phase ends.
    @param clock The clock.
    """
    return (clock >> DEADLINE) & constants.MASK32


@internal
@view
def _reached(clock: uint256) -> bool:
    """
    @notice Whether the running phase is over.
    @param clock The clock.
    """
    return block.timestamp >= self._deadline(clock) and self._blocks(clock) >= terms.TERMS.min_blocks


@internal
@view
def _blocks(clock: uint256) -> uint256:
    """
    @notice How many blocks have come since the running phase began, modulo 2**16.
    @param clock The clock.
    """
    return unsafe_sub(block.number, clock >> SINCE) & constants.MASK16


@internal
@view
def _stage(clock: uint256, phase: uint256, seconds: uint256, expected: uint256) -> uint256:
    """
    @notice The clock at the beginning of a phase of the same round.
    @param clock The clock before.
    @param phase The phase that begins.
    @param seconds How long it may last.
    @param expected The miners that may act in it.
    @return The clock.
    """
    fields: uint256 = constants.MASK16 << UPDATES | constants.MASK24 << ROUND | constants.MASK32 << OPENED
    kept: uint256 = clock & (fields | constants.MASK4 << ENGINE)
    ending: uint256 = (block.timestamp + seconds) << DEADLINE | (block.number & constants.MASK16) << SINCE
    return kept | phase | ending | (expected & constants.MASK64) << EXPECTED


@internal
@pure
def _failed(clock: uint256, reason: uint256) -> uint256:
    """
    @notice The clock of a round that came to nothing; the reason stands where the updates stood.
    @param clock The clock before.
    @param reason Why.
    @return The clock.
    """
    kept: uint256 = clock & (constants.MASK24 << ROUND | constants.MASK32 << OPENED)
    return kept | constants.VOID | reason << UPDATES


@internal
@view
def _due(before: uint256) -> uint256:
    """
    @notice The clock with everything counted in that time alone has brought about.
    @param before The clock as stored.
    @return The clock.
    """
    clock: uint256 = before
    if not self._reached(clock):
        return clock
    phase: uint256 = clock & constants.MASK4
    acted: uint256 = (clock >> ACTED) & constants.MASK64
    if phase == constants.COMMIT:
        return self._stage(clock, constants.REVEAL, terms.TERMS.reveal_seconds, acted)
    if phase == constants.REVEAL:
        if (clock >> UPDATES) & constants.MASK16 < terms.TERMS.min_updates:
            return self._failed(clock, constants.FEW_UPDATES)
        return self._stage(clock, constants.VOTE, terms.TERMS.vote_seconds, self._electors(clock))
    if phase == constants.VOTE:
        if acted == 0:
            return self._failed(clock, constants.NO_VOTES)
        return self._stage(clock, constants.UNVEIL, terms.TERMS.unveil_seconds, acted)
    if phase == constants.UNVEIL:
        # The tally must know who was to unveil and who did.
        expected: uint256 = (clock >> EXPECTED) & constants.MASK64
        return self._stage(clock, constants.TALLY, terms.TERMS.tally_seconds, expected) | acted << ACTED
    if phase == constants.TALLY:
        return self._failed(clock, constants.NO_TALLY)
    if phase == constants.ELECT:
        return self._failed(clock, constants.NO_LEADER)
    return clock


@internal
@view
def _is_committee(clock: uint256) -> bool:
    """
    @notice Whether a committee decides in the running round, and not everybody.
    @param clock The clock.
    """
    return clock >> ENGINE == constants.COMMITTEE and self.committee != 0


@internal
@view
def _electors(clock: uint256) -> uint256:
    """
    @notice The mask of the miners that may vote in the running round.
    @param clock The clock.
    """
    if self._is_committee(clock):
        return self.committee & constants.MASK64
    return registry.roster & constants.MASK64


@internal
@view
def _whole(clock: uint256) -> uint256:
    """
    @notice The weight of all who may vote in the running round, there or not; the members of a committee weigh 1.
    @param clock The clock.
    """
    if self._is_committee(clock):
        return self.committee >> 64
    return (registry.roster >> registry.TOTAL) & constants.MASK32


@internal
@pure
def _decides(weight: uint256, whole: uint256, is_committee: bool) -> bool:
    """
    @notice Whether so much weight decides: more than half of all active weight, or more than two thirds of all
            members of a committee.
    @param weight The weight.
    @param whole The weight of all who may vote.
    @param is_committee Whether a committee decides.
    """
    if is_committee:
        return 3 * weight > 2 * whole
    return 2 * weight > whole


@internal
@view
def _enter(phase: uint256) -> uint256:
    """
    @notice The clock, if this phase is due.
    @param phase The phase that the caller acts in.
    @return The clock, for the caller to change and store.
    """
    clock: uint256 = self._due(self.clock)
    assert clock & constants.MASK4 == phase, "rounds: not this phase"
    return clock


@internal
@view
def _act(before: uint256, bit: uint256, grace: uint256) -> uint256:
    """
    @notice Marks a miner as having acted, and closes the phase early if it was the last.
    @param before The clock.
    @param bit The miner's bit.
    @param grace Seconds the phase stays open for others.
    @return The clock.
    """
    clock: uint256 = before | bit << ACTED
    if (clock >> ACTED) & constants.MASK64 == (clock >> EXPECTED) & constants.MASK64:
        deadline: uint256 = min(self._deadline(clock), block.timestamp + grace)
        # Nobody is left who could be late: blocks need not pass.
        since: uint256 = unsafe_sub(block.number, terms.TERMS.min_blocks) & constants.MASK16
        clock &= ~(constants.MASK32 << DEADLINE | constants.MASK16 << SINCE)
        clock |= deadline << DEADLINE | since << SINCE
    return clock


@internal
def _open(round: uint256):
    """
    @notice Opens a round; what changed in the registry takes effect.
    @param round Its number.
    """
    roster: uint256 = registry._refresh(round)
    active: uint256 = roster & constants.MASK64
    engine: uint256 = (roster >> registry.ENGINE) & constants.MASK8
    committee: uint256 = 0
    if engine == constants.COMMITTEE:
        # A member that has left counts as one that says no, and who takes its seat is no member.
        draws: uint256 = self.draws
        if draws & active != 0:
            committee = draws & active | (draws >> DRAWN) << 64
        self.committee = committee
        if draws != 0:
            later: uint256 = (draws >> 64) & (active | active << 64)
            if later != 0:
                later |= (draws >> DRAWN) << DRAWN
            self.draws = later
    self.clock = (
        constants.COMMIT
        | engine << ENGINE
        | round << ROUND
        | block.timestamp << OPENED
        | (block.timestamp + terms.TERMS.commit_seconds) << DEADLINE
        | (block.number & constants.MASK16) << SINCE
        | active << EXPECTED
    )
    log IFederation.RoundOpened(round=round, engine=engine, committee=committee)


@internal
def _void(round: uint256, reason: uint256):
    """
    @notice Ends a round without a new model and opens the next, in which everybody votes.
    @param round Its number.
    @param reason Why it came to nothing.
    """
    log IFederation.Voided(round=round, reason=reason)
    if self.draws != 0:
        self.draws = 0
    self._open(round + 1)


@external
def start():
    """
    @notice Opens the first round: the owner may, and some time after the deployment anybody.
    """
    clock: uint256 = self.clock
    late: bool = block.timestamp >= ((clock >> OPENED) & constants.MASK32) + terms.TERMS.exit_seconds
    assert msg.sender == registry.owner or late, "rounds: not the owner"
    assert clock & constants.MASK4 == constants.IDLE, "rounds: already started"
    self._open(1)


@external
def advance():
    """
    @notice Moves the clock on, where time alone has brought something about.
    """
    before: uint256 = self.clock
    clock: uint256 = self._due(before)
    assert clock != before or clock & constants.MASK4 == constants.VOID, "rounds: nothing is due"
    if clock & constants.MASK4 == constants.VOID:
        self._void(self._round(clock), (clock >> UPDATES) & constants.MASK16)
    else:
        self.clock = clock


@external
@view
def round_clock() -> IFederation.Clock:
    """
    @notice Where the round stands at the block's time; `updates` is the reason when it is void.
    """
    clock: uint256 = self._due(self.clock)
    return IFederation.Clock(
        phase=clock & constants.MASK4,
        updates=(clock >> UPDATES) & constants.MASK16,
        round=self._round(clock),
        opened=(clock >> OPENED) & constants.MASK32,
        deadline=self._deadline(clock),
        acted=(clock >> ACTED) & constants.MASK64,
        expected=(clock >> EXPECTED) & constants.MASK64,
    )


@external
@view
def binding(device: uint256) -> address:
    """
    @notice The miner that a device hands its messages to in the running round.
    @param device The device's index.
    """
    active: uint256 = registry.roster & constants.MASK64
    miners: DynArray[address, 64] = []
    for index: uint256 in range(64):
        if (active >> index) & 1 == 1:
            miners.append(registry.miners[index])
    assert len(miners) != 0, "rounds: no miner"
    return miners[(device + self._round(self.clock)) % len(miners)]
