# pragma version 0.4.3
"""
@title rounds: where the round stands
@license Apache-2.0
@notice The clock is one word: phase (4) | updates (16) | round (32) | opened (36) |
        deadline (36) | acted (64) | expected (64) | engine (4). A phase ends when its deadline has
        passed or all who may act have acted; whoever comes next moves the clock on.
"""

from interfaces import IFederation
from modules import terms
from modules import registry
from modules import lottery

uses: terms
uses: registry


COMMIT: constant(uint256) = 0
REVEAL: constant(uint256) = 1
VOTE: constant(uint256) = 2
UNVEIL: constant(uint256) = 3
TALLY: constant(uint256) = 4
ELECT: constant(uint256) = 5
PROPOSE: constant(uint256) = 6
ATTEST: constant(uint256) = 7
IDLE: constant(uint256) = 14  # the owner has not opened the first round
VOID: constant(uint256) = 15  # the round failed, the next one is due

FEW_UPDATES: constant(uint256) = 1
NO_VOTES: constant(uint256) = 2
NO_QUORUM: constant(uint256) = 3
FEW_ACCEPTED: constant(uint256) = 4
NO_LEADER: constant(uint256) = 5

STAKE: constant(uint256) = 0  # engines
POW: constant(uint256) = 1
RESOURCE: constant(uint256) = 2
COMMITTEE: constant(uint256) = 3

UPDATES: constant(uint256) = 4  # shifts
ROUND: constant(uint256) = 20
OPENED: constant(uint256) = 52
DEADLINE: constant(uint256) = 88
ACTED: constant(uint256) = 124
EXPECTED: constant(uint256) = 188
ENGINE: constant(uint256) = 252
MASK4: constant(uint256) = 2**4 - 1
MASK16: constant(uint256) = 2**16 - 1
MASK32: constant(uint256) = 2**32 - 1
MASK36: constant(uint256) = 2**36 - 1
MASK64: constant(uint256) = 2**64 - 1
NEVER: constant(uint256) = 2**36 - 1

clock: uint256
seed: bytes32
head: bytes32
ledger: public(HashMap[uint256, bytes32])
committee: uint256  # mask (64) | size, of the running round where its engine is COMMITTEE


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
            )
        )
    )
    self.head = head
    self.ledger[0] = head
    seed: bytes32 = keccak256(concat(head, blockhash(block.number - 1)))
    self.seed = seed
    self.clock = IDLE | NEVER << DEADLINE
    log IFederation.Genesis(root=root, cid=cid, seed=seed, block_hash=head)


@internal
@pure
def _round(clock: uint256) -> uint256:
    """
    @notice The number of the running round.
    @param clock The clock.
    """
    return (clock >> ROUND) & MASK32


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
    kept: uint256 = clock & (MASK16 << UPDATES | MASK32 << ROUND | MASK36 << OPENED | MASK4 << ENGINE)
    return kept | phase | (block.timestamp + seconds) << DEADLINE | (expected & MASK64) << EXPECTED


@internal
@pure
def _failed(clock: uint256, reason: uint256) -> uint256:
    """
    @notice The clock of a round that came to nothing; the reason stands where the updates stood.
    @param clock The clock before.
    @param reason Why.
    @return The clock.
    """
    return (clock & (MASK32 << ROUND | MASK36 << OPENED)) | VOID | reason << UPDATES


@internal
@view
def _due(before: uint256) -> uint256:
    """
    @notice The clock with everything counted in that time alone has brought about.
    @param before The clock as stored.
    @return The clock.
    """
    clock: uint256 = before
    if block.timestamp < (clock >> DEADLINE) & MASK36:
        return clock
    phase: uint256 = clock & MASK4
    acted: uint256 = (clock >> ACTED) & MASK64
    if phase == COMMIT:
        return self._stage(clock, REVEAL, terms.TERMS.reveal_seconds, acted)
    if phase == REVEAL:
        if (clock >> UPDATES) & MASK16 < terms.TERMS.min_updates:
            return self._failed(clock, FEW_UPDATES)
        voters: uint256 = registry.roster
        if clock >> ENGINE == COMMITTEE:
            voters = self.committee
        return self._stage(clock, VOTE, terms.TERMS.vote_seconds, voters)
    if phase == VOTE:
        if acted == 0:
            return self._failed(clock, NO_VOTES)
        return self._stage(clock, UNVEIL, terms.TERMS.unveil_seconds, acted)
    if phase == UNVEIL:
        # The tally has no deadline, and must know who was to unveil and who did.
        return (clock & ~(MASK36 << DEADLINE | MASK4)) | TALLY | NEVER << DEADLINE
    if phase == ELECT:
        return self._failed(clock, NO_LEADER)
    return clock


@internal
@view
def _enter(phase: uint256) -> uint256:
    """
    @notice The clock, if this phase is due.
    @param phase The phase that the caller acts in.
    @return The clock, for the caller to change and store.
    """
    clock: uint256 = self._due(self.clock)
    assert clock & MASK4 == phase, "rounds: not this phase"
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
    if (clock >> ACTED) & MASK64 == (clock >> EXPECTED) & MASK64:
        deadline: uint256 = min((clock >> DEADLINE) & MASK36, block.timestamp + grace)
        clock = (clock & ~(MASK36 << DEADLINE)) | deadline << DEADLINE
    return clock


@internal
def _open(round: uint256):
    """
    @notice Opens a round; what changed in the registry takes effect.
    @param round Its number.
    """
    roster: uint256 = registry._refresh()
    active: uint256 = roster & MASK64
    engine: uint256 = (roster >> registry.ENGINE) & registry.MASK8
    committee: uint256 = 0
    if engine == COMMITTEE:
        committee = self._seated(active)
    self.clock = (
        COMMIT
        | engine << ENGINE
        | round << ROUND
        | block.timestamp << OPENED
        | (block.timestamp + terms.TERMS.commit_seconds) << DEADLINE
        | active << EXPECTED
    )
    log IFederation.RoundOpened(round=round, engine=engine, committee=committee)


@internal
def _seated(active: uint256) -> uint256:
    """
    @notice Draws the committee of a round, by stake.
    @param active The miners it is drawn from.
    @return The mask of its members.
    """
    entrants: uint256[64] = empty(uint256[64])
    count: uint256 = 0
    for index: uint256 in range(64):
        if (active >> index) & 1 == 0:
            continue
        miner: address = registry.miners[index]
        record: uint256 = registry.records[miner]
        entrant: uint256 = convert(miner, uint256)
        entrant |= ((record >> registry.WEIGHT) & registry.MAX_WEIGHT) << lottery.WEIGHT
        if record & registry.NOVICE != 0:
            entrant |= lottery.NOVICE
        entrants[index] = entrant
        count += 1
    size: uint256 = terms.TERMS.committee_size
    members: uint256 = active
    if size < count:
        members = lottery._drawn(self.seed, lottery.COMMITTEE, entrants, size)
    self.committee = members | min(size, count) << 64
    return members


@internal
def _void(round: uint256, reason: uint256):
    """
    @notice Ends a round without a new model and opens the next.
    @param round Its number.
    @param reason Why it came to nothing.
    """
    log IFederation.Voided(round=round, reason=reason)
    self.seed = keccak256(abi_encode(self.seed, round))
    self._open(round + 1)


@external
def start():
    """
    @notice Opens the first round.
    """
    assert msg.sender == registry.OWNER, "rounds: not the owner"
    assert self.clock & MASK4 == IDLE, "rounds: already started"
    self._open(1)


@external
def advance():
    """
    @notice Moves the clock on, where time alone has brought something about.
    """
    before: uint256 = self.clock
    clock: uint256 = self._due(before)
    assert clock != before or clock & MASK4 == VOID, "rounds: nothing is due"
    if clock & MASK4 == VOID:
        self._void(self._round(clock), (clock >> UPDATES) & MASK16)
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
        phase=clock & MASK4,
        updates=(clock >> UPDATES) & MASK16,
        round=self._round(clock),
        opened=(clock >> OPENED) & MASK36,
        deadline=(clock >> DEADLINE) & MASK36,
        acted=(clock >> ACTED) & MASK64,
        expected=(clock >> EXPECTED) & MASK64,
    )


@external
@view
def round_seed() -> bytes32:
    """
    @notice What the running round's draws start from.
    """
    return self.seed


@external
@view
def binding(device: uint256) -> address:
    """
    @notice The miner that a device hands its messages to in the running round.
    @param device The device's index.
    """
    active: uint256 = registry.roster & MASK64
    miners: DynArray[address, 64] = []
    for index: uint256 in range(64):
        if (active >> index) & 1 == 1:
            miners.append(registry.miners[index])
    assert len(miners) != 0, "rounds: no miner"
    offset: uint256 = convert(self.seed, uint256) % len(miners)
    return miners[(device + offset) % len(miners)]
