"""The members: who joins, rests, resumes and leaves, every stake, and what missed rounds cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from bcfl.protocol.absence import Absences, Consequence, Elector
from bcfl.protocol.event import LogEvent
from bcfl.protocol.rounds import History
from bcfl.protocol.types import Mode, Terms, VoidReason
from bcfl.roles.auditor.replay import Case
from bcfl.roles.auditor.verdict import Issue

# The first of these in a round is logged when its votes are counted, if they are.
COUNTED: Final = ("Penalized", "Suspended", "Tallied", "Voided")
WORDS: Final = {"Penalized": ("penalties", "wei"), "Suspended": ("suspensions", "for the round to resume in")}


@dataclass
class Seated:
    """A registered miner: its stake in wei, and how far it is with leaving or resting."""

    stake: int
    exit_round: int = 0  # 0 while it stays
    freed: int | None = None  # when its seat was freed, in seconds
    until_round: int | None = None  # from which it may resume, while it is suspended


@dataclass
class Members:
    """Who is registered, round after round; call `check` once for every round, in order.

    `penalties` is what was wrong with the price of absence in the round that was checked last.
    """

    terms: Terms
    seated: dict[str, Seated] = field(default_factory=dict)
    penalties: list[Issue] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.absences = Absences(self.terms)

    def check(self, case: Case, history: History) -> list[Issue]:
        """Return what is wrong with the membership in a round."""
        self.penalties = []
        issues = list(self._check_opening(case, history))
        is_counted = False
        for event in case.events:
            if event.name in COUNTED and not is_counted:
                is_counted = True
                self.penalties = list(_compare(self._settle(case), logged_before_count(case)))
            rule = RULES.get(event.name)
            if rule is not None:
                issues += rule(self, event, case)
        return issues

    def _check_opening(self, case: Case, history: History) -> Iterator[Issue]:
        """Check that nobody keeps a seat that has to be free; who has left is out of its seat from now on."""
        if case.round is None:
            return
        for miner, member in self.seated.items():
            if member.exit_round and member.freed is None:
                member.freed = case.round.opened
            elif not member.exit_round and member.stake < self.terms.min_stake:
                yield f"members[{miner}]", "its stake is below the minimum, and it keeps its seat"
        if self.terms.mode == Mode.FULL:
            for miner in case.seats:
                if history.indices.get(miner) not in case.devices:
                    yield f"members[{miner}]", "it is no device of this round, and has a seat"

    def _settle(self, case: Case) -> list[Consequence]:
        """Return what the count of a round's votes has to bring about, if there was one."""
        counted = next(case.events_named("Tallied", "Voided"), None)
        if counted is None or case.round is None or not case.round.votes:
            return []
        if counted.name == "Voided" and counted.args["reason"] != VoidReason.NO_QUORUM:
            return []
        electors = [
            Elector(miner, seat.index, seat.weight, self.seated[miner].stake)
            for miner, seat in case.electors.items()
        ]
        voters, commits = [vote.voter.account for vote in case.round.votes], case.round.vote_commits
        return list(self.absences.settle(case.number, electors, voters, commits, counted.timestamp))

    def _register(self, event: LogEvent, _: Case) -> Iterator[Issue]:
        miner, stake = event.args["miner"], event.args["stake"]
        if miner in self.seated:
            yield f"members[{miner}]", "it registers twice"
        if stake < self.terms.min_stake:
            yield f"stakes[{miner}]", f"it registers with {stake} wei, less than the minimum"
        self.seated[miner] = Seated(stake)
        self.absences.forget(event.args["index"])

    def _leave(self, event: LogEvent, case: Case) -> Iterator[Issue]:
        miner, exit_round = event.args["miner"], event.args["exit_round"]
        member, due = self.seated[miner], case.number + 1 + self.terms.exit_rounds
        if member.exit_round:
            yield f"members[{miner}]", "it leaves twice"
        if exit_round != due:
            yield f"members[{miner}]", f"its stake is free in round {exit_round}, and round {due} is due"
        member.exit_round = exit_round

    def _change_stake(self, event: LogEvent, case: Case) -> Iterator[Issue]:
        """Check that a miner tops its stake up, or has left and takes it."""
        miner, stake = event.args["miner"], event.args["stake"]
        member = self.seated[miner]
        if stake == 0:
            if not self._is_free(member, case.number, event.timestamp):
                yield f"stakes[{miner}]", "it takes its stake before its time"
            del self.seated[miner]
            return
        if stake < max(member.stake, self.terms.min_stake):
            yield f"stakes[{miner}]", "it tops its stake up to less than it has to be"
        member.stake = stake

    def _is_free(self, member: Seated, number: int, time: int) -> bool:
        """Whether a miner that leaves may take its stake: after rounds, after seconds, or before round 1."""
        if not member.exit_round or number == 0:
            return bool(member.exit_round)
        if member.freed is None:
            return False
        return number >= member.exit_round or time >= member.freed + self.terms.exit_seconds

    def _pay(self, event: LogEvent, _: Case) -> Iterator[Issue]:
        self.seated[event.args["miner"]].stake -= event.args["amount"]
        yield from ()

    def _suspend(self, event: LogEvent, _: Case) -> Iterator[Issue]:
        self.seated[event.args["miner"]].until_round = event.args["until_round"]
        yield from ()

    def _resume(self, event: LogEvent, case: Case) -> Iterator[Issue]:
        miner = event.args["miner"]
        member = self.seated[miner]
        if member.until_round is None or member.exit_round:
            yield f"members[{miner}]", "it resumes, and is not suspended"
        elif case.number < member.until_round:
            yield f"members[{miner}]", f"it resumes before round {member.until_round}"
        member.until_round = None


Rule = Callable[[Members, LogEvent, Case], Iterator[Issue]]

RULES: Final[dict[str, Rule]] = {
    "MinerRegistered": Members._register,
    "MinerLeft": Members._leave,
    "StakeChanged": Members._change_stake,
    "Penalized": Members._pay,
    "Suspended": Members._suspend,
    "Resumed": Members._resume,
}


def logged_before_count(case: Case) -> list[Consequence]:
    """Return the penalties and suspensions that the logs tell of before the count of the votes."""
    consequences = []
    for event in case.events:
        if event.name in ("Tallied", "Voided"):
            break
        if event.name in WORDS:
            argument = "amount" if event.name == "Penalized" else "until_round"
            consequences.append(Consequence(event.name, event.args["miner"], event.args[argument]))
    return consequences


def _compare(due: list[Consequence], logged: list[Consequence]) -> Iterator[Issue]:
    """Yield what the logs lack, or have too much, of what has to follow from a count."""
    for item in due:
        if item not in logged:
            field_name, unit = WORDS[item.event]
            others = [each.value for each in logged if (each.event, each.miner) == (item.event, item.miner)]
            found = others[0] if others else "nothing"
            yield f"{field_name}[{item.miner}]", f"{found} is logged, and {item.value} {unit} is due"
    keys = {(item.event, item.miner) for item in due}
    for item in logged:
        if (item.event, item.miner) not in keys:
            yield (
                f"{WORDS[item.event][0]}[{item.miner}]",
                "nothing is due from it",
            )
    if len(logged) != len({(item.event, item.miner) for item in logged}):
        yield "penalties", "one of them is logged twice"
