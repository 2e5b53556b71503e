# pragma version 0.4.3
"""
@title refutations: what a wrong proposal costs
@license Apache-2.0
@notice A proposal that was shown to be wrong, or whose trees are kept back, is gone. Its author and
        whoever attested it are slashed; a quarter of the author's part goes to who showed it, and the rest is burned, so
        that nothing comes back to those who lose it.
"""

from interfaces import IFederation
from modules import constants
from modules import terms
from modules import registry
from modules import treasury
from modules import rounds
from modules import election
from modules import proposals
from modules import docket

uses: terms
uses: registry
uses: treasury
uses: rounds
uses: election
uses: proposals
uses: docket


SILENCE: constant(uint256) = 6  # the form of a refutation: what is disputed was not shown


@internal
def _refute(challenger: address, form: uint256, voters: DynArray[uint256, constants.MAX_MINERS]):
    """
    @notice Ends a proposal that was shown to be wrong, or that is kept back: its author and whoever attested it are
            slashed, a quarter of the author's part is the challenger's, and the rest is burned. The next in turn
            leads, unless too little weight is left that has not attested it.
    @param challenger Who showed it.
    @param form How it was shown; for silence the slashes are smaller.
    @param voters Who voted in the round.
    """
    clock: uint256 = rounds.clock
    round: uint256 = rounds._round(clock)
    lead: uint256 = election.lead
    seat: uint256 = proposals.proposal & constants.MASK8
    author_part: uint256 = constants.BASIS
    attester_part: uint256 = terms.TERMS.attest_slash
    if form == SILENCE:
        # Each of them could have answered, but none of them has signed anything wrong.
        author_part = constants.BASIS // 2
        attester_part = min(attester_part, constants.BASIS // 10)
    log IFederation.Refuted(
        round=round, leader=registry.miners[seat], challenger=challenger, form=form
    )
    docket._note_refuted(clock)
    attested: uint256 = (lead >> election.ATTESTED) & constants.MASK64 | 1 << seat
    taken: uint256 = 0
    total: uint256 = 0
    taken, total = registry._slash(round, attested, seat, author_part, attester_part)
    reward: uint256 = taken // 4
    treasury.credits[challenger] += reward
    treasury.books += reward << treasury.OWED
    proposals.proposal = 0
    # They are no voters of this round any more.
    clock &= ~(attested << rounds.EXPECTED)
    lead = (lead | attested << election.FAILED) & ~election.STANDING
    whole: uint256 = (lead >> election.WHOLE) & constants.MASK24
    weight: uint256 = (lead >> election.ATTESTED_WEIGHT) & constants.MASK24
    enough: bool = rounds._decides(whole - min(weight, whole), whole, rounds._is_committee(clock))
    if not enough or not election._next(clock, lead, voters):
        # For `advance` to end: to open a round takes code that is not here.
        rounds.clock = rounds._failed(clock, constants.NO_LEADER)
    treasury._burn(total - reward)
