"""View how each round went: what was learned, who led, what was taken, what it cost and how long it took."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

from bcfl.federation.subject import Subject
from bcfl.federation.views.figures import FigureView, StatementView, figure_view
from bcfl.federation.views.round import PHASES
from bcfl.federation.views.votematrix import LEGEND, REJECTED, tally_codes
from bcfl.protocol.event import LogEvent
from bcfl.protocol.rounds import Round


class RoundSummary(TypedDict):
    """How a round went. `figure` is what parties say of the model after it, `statements` who says what.

    `seconds` by phase: from the last transaction of the phase before to the last of its own. `gas` is None
    where the receipts are not known, `hostile` and the mistakes where nobody knows who misbehaves.
    """

    round: int
    status: str
    reason: str | None
    engine: str
    opened: int
    closed: int | None
    seconds: dict[str, int]
    leader: str | None
    skipped: list[str]
    refuted: int
    submitted: int
    accepted: int
    rejected: int
    reasons: dict[str, int]
    samples: int
    penalties: int
    reward: int
    transactions: int
    gas: int | None
    gas_by_phase: dict[str, int]
    participants: int
    root: str | None
    block_hash: str | None
    figure: FigureView | None
    statements: list[StatementView]
    hostile: int | None
    false_rejects: int | None
    false_accepts: int | None


class Activity:
    """Phases and times of the transactions of all rounds, from one pass over the events."""

    def __init__(self, events: Iterable[LogEvent]) -> None:
        self.phases: dict[bytes, str] = {}
        self.last: dict[int, dict[str, int]] = defaultdict(dict)  # by round and phase: a timestamp
        for event in events:
            phase = PHASES.get(event.name)
            if phase is None or event.args.get("round") is None:
                continue
            phase = self.phases.setdefault(event.transaction, phase)
            times = self.last[event.args["round"]]
            times[phase] = max(times.get(phase, 0), event.timestamp)

    def seconds(self, round_: Round) -> dict[str, int]:
        """Return how long each phase of a round took, in their order."""
        spans, start = dict[str, int](), round_.opened
        for phase, end in sorted(self.last[round_.number].items(), key=lambda item: item[1]):
            spans[phase], start = end - start, end
        return spans


def round_summaries(
    subject: Subject, rounds: Sequence[Round], hostile: Mapping[str, str]
) -> list[RoundSummary]:
    """Return how each round went; `hostile` are the accounts that misbehave, with their attacks.

    The latest rounds are asked for their gas first.
    """
    activity = Activity(subject.events)
    gas = {round_.number: _gas(subject, round_, activity) for round_ in reversed(rounds)}
    return [_summary(subject, round_, activity, gas[round_.number], hostile) for round_ in rounds]


def _gas(subject: Subject, round_: Round, activity: Activity) -> dict[str, int] | None:
    """Return the gas of a round by phase; None where one of its receipts is not known."""
    phases: dict[str, int] = {}
    for transaction in round_.transactions:
        gas = subject.gas_of(transaction)
        if gas is None:
            return None
        phase = activity.phases.get(transaction, "other")
        phases[phase] = phases.get(phase, 0) + gas
    return phases


def _summary(
    subject: Subject,
    round_: Round,
    activity: Activity,
    gas: dict[str, int] | None,
    hostile: Mapping[str, str],
) -> RoundSummary:
    accepted = sum(round_.accepted or ())
    statements = list(subject.statements.get(round_.number, ()))
    return {
        "round": round_.number,
        "status": round_.status,
        "reason": None if round_.void is None else round_.void.name.lower(),
        "engine": round_.engine.name.lower(),
        "opened": round_.opened,
        "closed": round_.closed,
        "seconds": activity.seconds(round_),
        "leader": round_.leader,
        "skipped": list(round_.skipped),
        "refuted": len(round_.refutations),
        "submitted": len(round_.submissions),
        "accepted": accepted,
        "rejected": 0 if round_.accepted is None else len(round_.accepted) - accepted,
        "reasons": _reasons(round_),
        "samples": round_.samples,
        "penalties": sum(amount for _, amount in round_.penalties),
        "reward": round_.block.reward if round_.block else 0,
        "transactions": len(round_.transactions),
        "gas": None if gas is None else sum(gas.values()),
        "gas_by_phase": gas or {},
        "participants": _participants(subject, round_),
        "root": None if round_.block is None else "0x" + round_.block.root.hex(),
        "block_hash": None if round_.block_hash is None else "0x" + round_.block_hash.hex(),
        "figure": figure_view(statements),
        "statements": statements,
        **_mistakes(subject, round_, hostile),
    }


def _reasons(round_: Round) -> dict[str, int]:
    """Return how many updates were rejected for which reason, the most frequent first."""
    letters = Counter(tally_codes(round_)).most_common()
    return {LEGEND[letter]: count for letter, count in letters if letter in REJECTED[1:]}


def _participants(subject: Subject, round_: Round) -> int:
    """Return how many accounts took part: devices with a revealed update, whoever committed or voted."""
    devices = {subject.history.devices[item.update.device] for item in round_.submissions}
    return len(devices | set(round_.commits) | set(round_.vote_commits))


class _Mistakes(TypedDict):
    hostile: int | None
    false_rejects: int | None
    false_accepts: int | None


def _mistakes(subject: Subject, round_: Round, hostile: Mapping[str, str]) -> _Mistakes:
    if subject.adversaries is None:
        return {"hostile": None, "false_rejects": None, "false_accepts": None}
    devices = subject.history.devices
    flags = [devices[item.update.device] in hostile for item in round_.submissions]
    verdicts = round_.accepted or ()
    return {
        "hostile": sum(flags),
        "false_rejects": sum(not bad and not good for bad, good in zip(flags, verdicts, strict=False)),
        "false_accepts": sum(bad and good for bad, good in zip(flags, verdicts, strict=False)),
    }
