"""Hold what is held against the proposal that stands: announced challenges, open disputes, and their money.

A proposal is named by its round and turn, in one number.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bcfl.protocol.docket import dispute_price as price_of
from bcfl.protocol.docket import sealed_challenge, surcharge_after_loss, surcharge_at
from bcfl.protocol.types import Phase
from bcfl.specification import rounds, treasury
from bcfl.specification.call import Call, require
from bcfl.specification.state import Announcement, Entry, Lead, RoundClock

COUNTED: Final = 15  # disputes of a proposal; more are not counted

# The calls.


def announce_challenge(call: Call, sealed: bytes) -> None:
    """Announce a challenge with its bond, sealed; the round waits until it can no longer be opened."""
    docket, lead = call.state.docket, call.state.election.lead
    clock = open_window(call)
    require(call.value == call.terms.challenge_bond, "docket: not the bond")
    place = call.sender, sealed
    require(place not in docket.sealed, "docket: announced already")
    block, now = call.block.number, call.block.timestamp
    announcement = Announcement(call.sender, sealed, now, name_of(call, clock), block)
    docket.sealed[place] = announcement
    entry = entry_of(call, clock)
    pending, waiting = announcement.ends(call.terms), entry.waiting + 1
    docket.entry = replace(entry, pending=pending, announced=block, waiting=waiting)
    call.state.election.lead = replace(lead, is_held=True)
    call.state.treasury.owed += call.value
    call.log("ChallengeAnnounced", round=clock.round, challenger=call.sender, sealed=sealed)


def settle(call: Call, account: str, sealed: bytes) -> None:
    """End an announcement that was not opened.

    The bond goes back if another has refuted the proposal meanwhile, or else to the pool.
    """
    docket = call.state.docket
    announcement = docket.sealed.pop((account, sealed), None)
    require(announcement, "docket: not announced")
    assert announcement is not None
    is_refuted = announcement.proposal in docket.refuted
    is_over = has_passed(call, announcement.ends(call.terms), announcement.block)
    require(is_refuted or is_over, "docket: not yet due")
    end_announcement(call, account, sealed, is_refuted)


# The view.


def dispute_price(call: Call) -> int:
    """Return what the next dispute of the proposal that stands costs, in wei, in a block like this one."""
    clock = call.state.rounds.clock
    return price(call, entry_of(call, clock), clock.round)


# For other modules.


def name_of(call: Call, clock: RoundClock) -> int:
    """Return the name of the proposal that stands."""
    return clock.round << 8 | call.state.election.lead.turn


def open_window(call: Call) -> RoundClock:
    """Return the clock, while the proposal can be challenged."""
    clock = rounds.enter(call, Phase.ATTEST)
    require(call.terms.challenge_seconds != 0, "docket: no challenges in these terms")
    require(not is_window_over(call, clock), "docket: window over")
    return clock


def is_window_over(call: Call, clock: RoundClock) -> bool:
    """Return whether the proposal that stands can no longer be challenged, in seconds and in blocks."""
    terms = call.terms
    if terms.challenge_seconds == 0:
        return True
    end = clock.deadline - terms.attest_seconds + terms.challenge_seconds
    return call.block.timestamp >= end and rounds.blocks_since(call, clock) >= terms.min_blocks


def has_passed(call: Call, deadline: int, since: int) -> bool:
    """Return whether a time is over, in seconds and in blocks from block `since` on.

    Nobody is late because the chain stood still.
    """
    return call.block.timestamp >= deadline and call.block.number >= since + call.terms.min_blocks


def entry_of(call: Call, clock: RoundClock) -> Entry:
    """Return the docket of the proposal that stands; what was lost before still counts."""
    entry, name = call.state.docket.entry, name_of(call, clock)
    if entry.proposal == name:
        return entry
    return Entry(proposal=name, surcharge=entry.surcharge, lost=entry.lost)


def waits(call: Call, lead: Lead) -> bool:
    """Return whether the round waits for an announcement or for a dispute."""
    return lead.is_held and (call.state.docket.entry.disputes != 0 or not are_all_opened(call))


def are_all_opened(call: Call) -> bool:
    """Return whether every announcement had its time, where something is held against the proposal."""
    entry = call.state.docket.entry
    return has_passed(call, entry.pending, entry.announced)


def unseal(
    call: Call, clock: RoundClock, digest: bytes, form: int, leaf: int, place: int, salt: int
) -> bytes:
    """Insist that the sender has announced this very place of the proposal that stands, and that it is time.

    Returns what it announced, for `end_announcement`.
    """
    docket = call.state.docket
    sealed = sealed_challenge(call.sender, digest, form, leaf, place, salt)
    announcement = docket.sealed.get((call.sender, sealed))
    is_announced = announcement is not None and announcement.proposal == name_of(call, clock)
    require(is_announced, "docket: not announced")
    assert announcement is not None
    is_early = call.block.timestamp < announcement.opens(call.terms)
    require(not is_early, "docket: too early to open")
    is_late = has_passed(call, announcement.ends(call.terms), announcement.block)
    require(not is_late, "docket: too late to open")
    del docket.sealed[call.sender, sealed]
    docket.entry = replace(docket.entry, waiting=docket.entry.waiting - 1)
    return sealed


def end_announcement(call: Call, account: str, sealed: bytes, is_returned: bool) -> None:
    """End an announcement: the bond goes back, or to the pool."""
    give_back(call, account, call.terms.challenge_bond, is_returned)
    call.log("AnnouncementEnded", challenger=account, sealed=sealed, returned=is_returned)


def give_back(call: Call, account: str, bond: int, is_returned: bool) -> None:
    """Give a bond back, or to the pool; it is booked as owed."""
    if is_returned:
        treasury.credit(call, account, bond)
    else:
        call.state.treasury.owed -= bond
        call.state.treasury.pool += bond


def note_refuted(call: Call, clock: RoundClock) -> None:
    """Note that the proposal that stands is refuted, where another has a bond that has to come back."""
    if call.state.docket.entry.waiting != 0:
        call.state.docket.refuted[name_of(call, clock)] = True


def note_lost(call: Call, round_: int) -> None:
    """Note that a dispute was lost: the next ones cost more, once for each round."""
    entry = call.state.docket.entry
    surcharge = surcharge_after_loss(round_, entry.surcharge, entry.lost)
    call.state.docket.entry = replace(entry, surcharge=surcharge, lost=round_)


def price(call: Call, entry: Entry, round_: int) -> int:
    """Return what the next dispute of a proposal costs in a round, in wei."""
    surcharge = surcharge_at(round_, entry.surcharge, entry.lost)
    return price_of(call.terms, entry.opened, surcharge, call.block.base_fee)
