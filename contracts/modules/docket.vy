# pragma version 0.4.3
"""
@title docket: what is held against the proposal that stands
@license Apache-2.0
@notice Announced challenges and open disputes, and their money. A proposal is named by its round and turn. The round
        waits until every announcement had its time and every dispute has ended; all of them begin within the challenge
        window, so that the wait has a bound, whatever is paid. The docket is one word:
        open disputes (12) | disputes so far, 15 at most (4) | pending until (36) | surcharge (4) | round in which a dispute was
        last lost (24) | round and turn (32) | block of the last announcement (32) | announcements that may still be opened.
"""

from interfaces import IFederation
from modules import constants
from modules import terms
from modules import treasury
from modules import rounds
from modules import election
from modules import leaves

uses: terms
uses: treasury
uses: rounds
uses: election
uses: leaves


OPEN: constant(uint256) = 2**12 - 1
OPENED: constant(uint256) = 12  # shifts of the docket
PENDING: constant(uint256) = 16
SURCHARGE: constant(uint256) = 52
LOST: constant(uint256) = 56
PROPOSAL: constant(uint256) = 80
ANNOUNCED: constant(uint256) = 112
WAITING: constant(uint256) = 144
MAX_SURCHARGE: constant(uint256) = 3
CHEAP: constant(uint256) = 8  # disputes of a proposal before each costs twice as much as the last
MAX_DOUBLINGS: constant(uint256) = 4  # of the bond: nobody can make a dispute too dear for those who watch
PARTS: constant(uint256) = 4  # of the window: what is announced opens after one, and within three

TIME: constant(uint256) = 32  # shifts of an announcement: block (32) | time (36) | round and turn (32)
BLOCK: constant(uint256) = 68


word: uint256
sealed: HashMap[bytes32, uint256]
refuted: HashMap[uint256, bool]  # by round and turn
opened: transient(bytes32)  # the announcement that this call opens


@internal
@view
def _name(clock: uint256) -> uint256:
    """
    @notice The name of the proposal that stands: its round and turn.
    @param clock The clock.
    """
    return rounds._round(clock) << 8 | (election.lead >> election.TURN) & constants.MASK6


@internal
@view
def _open_window() -> uint256:
    """
    @notice The clock, while the proposal can be challenged.
    """
    clock: uint256 = rounds._enter(constants.ATTEST)
    assert terms.TERMS.challenge_seconds != 0, "docket: no challenges in these terms"
    assert not self._window_over(clock), "docket: window over"
    return clock


@internal
@view
def _window_over(clock: uint256) -> bool:
    """
    @notice Whether the proposal that stands can no longer be challenged, in seconds and in blocks.
    @param clock The clock.
    """
    window: uint256 = terms.TERMS.challenge_seconds
    if window == 0:
        return True
    end: uint256 = rounds._deadline(clock) - terms.TERMS.attest_seconds + window
    return block.timestamp >= end and rounds._blocks(clock) >= terms.TERMS.min_blocks


@internal
@view
def _passed(deadline: uint256, since: uint256) -> bool:
    """
    @notice Whether a time is over, in seconds and in blocks: nobody is late because the chain stood still.
    @param deadline When it ends.
    @param since The block in which it began.
    """
    return block.timestamp >= deadline and block.number >= since + terms.TERMS.min_blocks


@internal
@view
def _entry(clock: uint256) -> uint256:
    """
    @notice The docket of the proposal that stands.
    @param clock The clock.
    """
    word: uint256 = self.word
    name: uint256 = self._name(clock)
    if (word >> PROPOSAL) & constants.MASK32 == name:
        return word
    kept: uint256 = constants.MASK4 << SURCHARGE | constants.MASK24 << LOST
    return word & kept | name << PROPOSAL


@internal
@view
def _waits(clock: uint256, lead: uint256) -> bool:
    """
    @notice Whether the round waits for an announcement or for a dispute.
    @param clock The clock.
    @param lead The lead.
    """
    if lead & election.HELD == 0:
        return False
    return self.word & OPEN != 0 or not self._all_opened()


@internal
@view
def _all_opened() -> bool:
    """
    @notice Whether every announcement had its time; asked where something is held against the proposal that stands.
    """
    word: uint256 = self.word
    return self._passed((word >> PENDING) & constants.MASK36, (word >> ANNOUNCED) & constants.MASK32)


@external
@payable
def announce_challenge(sealed: bytes32):
    """
    @notice Announces a challenge with its bond, sealed; it is opened within the second and third quarter of the
            challenge window from now on, and not before. The round waits as long.
    @param sealed keccak of (sender, digest of the proposal, form, leaf, place of it, salt).
    """
    clock: uint256 = self._open_window()
    assert msg.value == terms.TERMS.challenge_bond, "docket: not the bond"
    place: bytes32 = keccak256(abi_encode(msg.sender, sealed))
    assert self.sealed[place] == 0, "docket: announced already"
    self.sealed[place] = block.number << BLOCK | block.timestamp << TIME | self._name(clock)
    entry: uint256 = self._entry(clock)
    pending: uint256 = block.timestamp + 3 * (terms.TERMS.challenge_seconds // PARTS)
    fields: uint256 = constants.MASK36 << PENDING | constants.MASK32 << ANNOUNCED
    self.word = (entry & ~fields | pending << PENDING | block.number << ANNOUNCED) + (1 << WAITING)
    election.lead |= election.HELD
    treasury.books += msg.value << treasury.OWED
    log IFederation.ChallengeAnnounced(round=rounds._round(clock), challenger=msg.sender, sealed=sealed)


@internal
def _unseal(clock: uint256, digest: uint256, form: uint256, leaf: uint256, place: uint256, salt: uint256):
    """
    @notice Insists that the sender has announced this very place of the proposal that stands, and that it is time.
    @param clock The clock.
    @param digest The digest of the proposal.
    @param form The form of the challenge.
    @param leaf Which leaf.
    @param place Which place of it.
    @param salt What hid it.
    """
    sealed: bytes32 = keccak256(abi_encode(msg.sender, digest, form, leaf, place, salt))
    key: bytes32 = keccak256(abi_encode(msg.sender, sealed))
    word: uint256 = self.sealed[key]
    assert word != 0 and word & constants.MASK32 == self._name(clock), "docket: not announced"
    part: uint256 = terms.TERMS.challenge_seconds // PARTS
    announced: uint256 = (word >> TIME) & constants.MASK36
    assert block.timestamp >= announced + part, "docket: too early to open"
    assert not self._passed(announced + 3 * part, word >> BLOCK), "docket: too late to open"
    self.sealed[key] = 0
    self.opened = sealed
    self.word -= 1 << WAITING


@external
def settle(account: address, sealed: bytes32):
    """
    @notice Ends an announcement that was not opened: the bond goes back if another has refuted the proposal
            meanwhile, or else to the pool; anybody may.
    @param account Who announced.
    @param sealed What it announced.
    """
    key: bytes32 = keccak256(abi_encode(account, sealed))
    word: uint256 = self.sealed[key]
    assert word != 0, "docket: not announced"
    self.sealed[key] = 0
    refuted: bool = self.refuted[word & constants.MASK32]
    end: uint256 = ((word >> TIME) & constants.MASK36) + 3 * (terms.TERMS.challenge_seconds // PARTS)
    assert refuted or self._passed(end, word >> BLOCK), "docket: not yet due"
    self._return(account, terms.TERMS.challenge_bond, refuted)
    log IFederation.AnnouncementEnded(challenger=account, sealed=sealed, returned=refuted)


@internal
def _note_refuted(clock: uint256):
    """
    @notice Notes that the proposal that stands is refuted, where another has a bond at stake that has to come back.
    @param clock The clock.
    """
    if self.word >> WAITING != 0:
        self.refuted[self._name(clock)] = True


@internal
def _end_opened(wrong: bool):
    """
    @notice Ends the announcement that the sender has just opened: the bond goes back, or to the pool.
    @param wrong Whether the place that it shows is wrong.
    """
    self._return(msg.sender, terms.TERMS.challenge_bond, wrong)
    log IFederation.AnnouncementEnded(challenger=msg.sender, sealed=self.opened, returned=wrong)


@internal
def _return(account: address, bond: uint256, back: bool):
    """
    @notice Gives a bond back, or to the pool.
    @param account Whose bond it is.
    @param bond The bond in wei; it is booked as owed.
    @param back Whether it goes back.
    """
    if back:
        treasury.credits[account] += bond
    else:
        treasury.books = treasury.books - (bond << treasury.OWED) + bond


@internal
@view
def _price(entry: uint256, round: uint256) -> uint256:
    """
    @notice What the next dispute of a proposal costs, in wei: the bond, twice as much after each round in which one was
            lost, twice as much for each beyond the first eight, sixteen times as much at most; and at least what honest
            answers cost in gas.
    @param entry The docket.
    @param round The running round.
    """
    surcharge: uint256 = self._surcharge(entry, round)
    number: uint256 = (entry >> OPENED) & constants.MASK4
    beyond: uint256 = 0
    if number >= CHEAP:
        beyond = number + 1 - CHEAP
    price: uint256 = terms.TERMS.challenge_bond << min(surcharge + beyond, MAX_DOUBLINGS)
    answers: uint256 = (leaves._depth() + leaves.LEVELS - 1) // leaves.LEVELS + 1
    shown: uint256 = terms.TERMS.max_updates * leaves._size() + 8_192 * answers
    return max(price, 4 * (40 * shown + 200_000 * answers) * block.basefee)


@internal
@pure
def _surcharge(entry: uint256, round: uint256) -> uint256:
    """
    @notice How often the bond doubles: once more for a round in which a dispute was lost, once less for one without.
    @param entry The docket.
    @param round The running round.
    """
    surcharge: uint256 = (entry >> SURCHARGE) & constants.MASK4
    lost: uint256 = (entry >> LOST) & constants.MASK24
    quiet: uint256 = 0
    if round > lost + 1:
        quiet = round - lost - 1
    return surcharge - min(surcharge, quiet)


@internal
def _note_lost(round: uint256):
    """
    @notice Notes that a dispute was lost: the next ones cost more, once for each round.
    @param round The running round.
    """
    entry: uint256 = self.word
    if (entry >> LOST) & constants.MASK24 != round:
        surcharge: uint256 = min(self._surcharge(entry, round) + 1, MAX_SURCHARGE)
        fields: uint256 = constants.MASK4 << SURCHARGE | constants.MASK24 << LOST
        self.word = entry & ~fields | surcharge << SURCHARGE | round << LOST


@external
@view
def dispute_price() -> uint256:
    """
    @notice What the next dispute of the proposal that stands costs, in wei, in a block like this one.
    """
    clock: uint256 = rounds.clock
    return self._price(self._entry(clock), rounds._round(clock))
