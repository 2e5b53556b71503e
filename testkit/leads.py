"""Play rounds against the rule of turns: who leads, and what an attacker can do about it.

A round is played as the contract plays it: voters share out a lead, the first proposes, and what more than
half of all active weight attests is final. The attacker moves last and knows everything: who of the honest is
there, all credits, and what each of its choices leads to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product

from bcfl.protocol.turns import JOINING, Credits, charge, credit, first, share

RIGHT = 0  # what follows from the accepted set; other content is a positive number
SILENCE = -1
NOTHING = -2  # stands


@dataclass(frozen=True)
class Turn:
    """Where a round stands when a leader has its turn, or when its turn is over."""

    credits: Credits
    shares: Mapping[int, int]  # seat -> by what a lead is shared out, of all voters
    whole: int  # all active weight
    honest_weight: int  # of the voters; all of it attests the right content
    own_weight: int  # of the attacker's voters
    attackers: frozenset[int]
    keeps_author: bool  # whether content that stood before in this round still belongs to its first author
    failed: frozenset[int] = frozenset()
    leader: int = -1
    standing: int = NOTHING
    authors: Mapping[int, int] = field(default_factory=dict)  # content -> seat

    @property
    def author(self) -> int:
        """The seat that a block of the standing content is for."""
        return self.authors[self.standing]

    @property
    def blockable(self) -> bool:
        """Whether nothing becomes final unless the attacker attests it."""
        return 2 * self.honest_weight <= self.whole


def begun(
    credits: Credits,
    voters: Mapping[int, int],
    whole: int,
    attackers: frozenset[int],
    keeps_author: bool,
    shares: Mapping[int, int] | None = None,
) -> Turn:
    """Return a round before its first turn; leads are shared out by stake or by other shares."""
    own_weight = sum(weight for seat, weight in voters.items() if seat in attackers)
    honest_weight = sum(voters.values()) - own_weight
    return Turn(credits, shares or voters, whole, honest_weight, own_weight, attackers, keeps_author)


def opened(turn: Turn) -> Turn | None:
    """Return the next leader's turn; None if nobody is left."""
    line = turn.shares
    if turn.failed:
        line = {seat: weight for seat, weight in line.items() if seat not in turn.failed}
    if not line:
        return None
    if turn.standing != NOTHING:
        return replace(turn, leader=first(turn.credits, line))
    credits = share(turn.credits, line)
    leader = first(credits, line)
    return replace(turn, credits=charge(credits, leader), leader=leader)


def proposed(turn: Turn, content: int) -> Turn:
    """Return the turn after its leader has proposed this, or nothing; the leader's turn is over then."""
    failed = turn.failed | {turn.leader}
    if content in (SILENCE, turn.standing):
        return replace(turn, failed=failed)
    credits, authors = turn.credits, dict(turn.authors)
    if not (turn.keeps_author and content in authors):
        authors[content] = turn.leader
        if turn.standing != NOTHING:
            credits = charge(credits, turn.leader)
    return replace(turn, credits=credits, failed=failed, standing=content, authors=authors)


def is_final(turn: Turn, helped: bool) -> bool:
    """Return whether the standing content is final, if the attacker attests it or if not."""
    weight = turn.honest_weight if turn.standing == RIGHT else 0
    return 2 * (weight + turn.own_weight * helped) > turn.whole


def endings(turn: Turn) -> Iterator[tuple[Credits, int | None]]:
    """Yield every end that the attacker can bring about: the credits, and the author of the block if any."""
    led = opened(turn)
    if led is None:
        yield turn.credits, None
        return
    contents = [RIGHT]
    if led.leader in led.attackers:
        contents += [SILENCE, max([RIGHT, *led.authors]) + 1]
        contents += [led.standing] if led.standing > RIGHT else []
    for content in contents:
        after = proposed(led, content)
        outcomes = {is_final(after, helped) for helped in (True, False)} if content != SILENCE else {False}
        if True in outcomes:
            yield after.credits, after.author
        if False in outcomes:
            yield from endings(after)


@dataclass(frozen=True)
class Federation:
    """A federation so small that every choice can be tried."""

    attackers: tuple[int, ...]  # weights
    honest: tuple[int, ...]
    lower_seats: bool = True  # whether the attacker has taken the lower seats before the start
    reserve: int = 0  # by so much it can raise one of its weights
    away: float = 0.0  # how often an honest miner is away
    idle: int = 0  # the weight of one more honest miner, which is never there
    keeps_author: bool = False
    joining: int = JOINING  # the credit of a seat that is taken anew after the start

    @property
    def share(self) -> float:
        """The attacker's share of the weight."""
        return sum(self.attackers) / (sum(self.attackers) + sum(self.honest))

    @property
    def bound(self) -> int:
        """One lead for every seat: what nobody gains more than, however long it plays."""
        return len(self.attackers) + len(self.honest)


Seat = tuple[int, int, bool]  # weight, credit, whether it is active


@dataclass(frozen=True)
class State:
    """What the future depends on between two rounds. Seats of one side and weight are interchangeable."""

    attackers: tuple[Seat, ...]
    honest: tuple[Seat, ...]
    reserve: int


def best_gain(federation: Federation, rounds: int) -> float:
    """Return the leads above its share of the weight that there are, that an attacker can expect at most."""

    @cache
    def value(state: State, left: int) -> float:
        if left == 0:
            return 0.0
        total = 0.0
        for chance, there in _attendances(state.honest, federation.away):
            best = max(
                lead + value(following, left - 1) for lead, following in _moves(federation, state, there)
            )
            total += chance * (best - _fair(state, there, federation.idle))
        return total

    return value(_start(federation), rounds)


def followed_gain(federation: Federation, rounds: int) -> float:
    """Return the same for an attacker that follows the protocol, with everybody there."""
    seats = _seats(federation.lower_seats, len(federation.attackers), len(federation.honest))
    weights = dict(zip(seats[0] + seats[1], federation.attackers + federation.honest, strict=True))
    credits: Credits = {}
    leads = 0
    for _ in range(rounds):
        credits = share(credits, weights)
        leader = first(credits, weights)
        credits = charge(credits, leader)
        leads += leader in seats[0]
    return leads - federation.share * rounds


def _start(federation: Federation) -> State:
    sides = (federation.attackers, federation.honest)
    attackers, honest = (tuple((weight, JOINING, True) for weight in sorted(side)) for side in sides)
    return State(attackers, honest, federation.reserve)


def _seats(lower: bool, attackers: int, honest: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the seats of the attacker and of the honest."""
    begin = 0 if lower else honest
    other = attackers if lower else 0
    return tuple(range(begin, begin + attackers)), tuple(range(other, other + honest))


def _attendances(honest: tuple[Seat, ...], away: float) -> Iterator[tuple[float, tuple[bool, ...]]]:
    """Yield every set of honest miners that can be there, and how probable it is."""
    for there in product((True, False), repeat=len(honest)):
        chance = 1.0
        for is_there in there:
            chance *= 1 - away if is_there else away
        if chance:
            yield chance, there


def _fair(state: State, there: tuple[bool, ...], idle: int) -> float:
    """Return the attacker's share of the weight that can vote, 0 if that is not enough for a round."""
    own = sum(weight for weight, _, _ in state.attackers)
    present = sum(weight for (weight, _, _), is_there in zip(state.honest, there, strict=True) if is_there)
    whole = own + idle + sum(weight for weight, _, _ in state.honest)
    return own / (own + present) if 2 * (own + present) > whole else 0.0


def _moves(federation: Federation, state: State, there: tuple[bool, ...]) -> set[tuple[int, State]]:
    """Return what the attacker can make of a round: whether it leads it, and the state after it."""
    moves: set[tuple[int, State]] = set()
    for presence in product((True, False), repeat=len(state.attackers)):
        votes = tuple(
            votes and active for votes, (_, _, active) in zip(presence, state.attackers, strict=True)
        )
        for lead, attackers, honest in _rounds(federation, state, votes, there):
            for own, reserve in _memberships(attackers, state.reserve, federation.joining):
                moves.add((lead, State(tuple(sorted(own)), tuple(sorted(honest)), reserve)))
    return moves


def _rounds(
    federation: Federation, state: State, votes: tuple[bool, ...], there: tuple[bool, ...]
) -> set[tuple[int, tuple[Seat, ...], tuple[Seat, ...]]]:
    """Return how a round can end in which these vote: whether the attacker leads, and both sides' seats."""
    numbers = _seats(federation.lower_seats, len(state.attackers), len(state.honest))
    sides = dict(zip(numbers[0] + numbers[1], state.attackers + state.honest, strict=True))
    voting = dict(zip(numbers[0] + numbers[1], votes + there, strict=True))
    weights = {seat: sides[seat][0] for seat, votes_ in voting.items() if votes_}
    whole = federation.idle + sum(weight for weight, _, active in sides.values() if active)
    if 2 * sum(weights.values()) <= whole:
        return {(0, state.attackers, state.honest)}
    credits = {seat: before for seat, (_, before, _) in sides.items()}
    turn = begun(credits, weights, whole, frozenset(numbers[0]), federation.keeps_author)
    return {
        (
            int(author in numbers[0]),
            _after(state.attackers, numbers[0], ended),
            _after(state.honest, numbers[1], ended),
        )
        for ended, author in endings(turn)
    }


def _after(seats: tuple[Seat, ...], numbers: Iterable[int], credits: Credits) -> tuple[Seat, ...]:
    return tuple(
        (weight, credit(credits, number), active)
        for number, (weight, _, active) in zip(numbers, seats, strict=True)
    )


def _memberships(
    seats: tuple[Seat, ...], reserve: int, joining: int
) -> Iterator[tuple[tuple[Seat, ...], int]]:
    """Yield what can become of seats before the next round: kept, left, taken anew, or topped up.

    Who has the money for a second stake takes a new seat at once, for that of an account that leaves.
    """
    options = [
        ((weight, before, True), (weight, joining, True), (weight, joining, False))
        if active
        else ((weight, joining, True), (weight, joining, False))
        for weight, before, active in seats
    ]
    for chosen in product(*options):
        yield chosen, reserve
        for place in range(len(chosen) if reserve else 0):
            weight, before, active = chosen[place]
            yield (*chosen[:place], (weight + reserve, before, active), *chosen[place + 1 :]), 0
