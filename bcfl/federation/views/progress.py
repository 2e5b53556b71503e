"""View how each round went: what was learned, who led, what was taken, what it cost and how long it took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypedDict

from bcfl.federation.subject import Subject
from bcfl.federation.views.digests import Digest, Digests
from bcfl.federation.views.figures import FigureView, StatementView, figure_view
from bcfl.federation.views.votematrix import LEGEND, REJECTED
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


def round_summaries(
    subject: Subject, rounds: Sequence[Round], digests: Digests, hostile: Mapping[str, str]
) -> list[RoundSummary]:
    """Return how each round went; `hostile` are the accounts that misbehave, with their attacks.

    The latest rounds are asked for their gas first.
    """
    gas = {round_.number: digests.gas(subject, round_) for round_ in reversed(rounds)}
    return [
        _summary(subject, round_, digests.of(round_.number), gas[round_.number], hostile) for round_ in rounds
    ]


def _summary(
    subject: Subject,
    round_: Round,
    digest: Digest,
    gas: dict[str, int] | None,
    hostile: Mapping[str, str],
) -> RoundSummary:
    statements = list(subject.statements.get(round_.number, ()))
    return {
        "round": round_.number,
        "status": round_.status,
        "reason": None if round_.void is None else round_.void.name.lower(),
        "engine": round_.engine.name.lower(),
        "opened": round_.opened,
        "closed": round_.closed,
        "seconds": dict(digest.seconds),
        "leader": round_.leader,
        "skipped": list(round_.skipped),
        "refuted": len(round_.refutations),
        "submitted": len(round_.submissions),
        "accepted": digest.accepted,
        "rejected": digest.rejected,
        "reasons": _reasons(digest.codes),
        "samples": round_.samples,
        "penalties": sum(amount for _, amount in round_.penalties),
        "reward": round_.block.reward if round_.block else 0,
        "transactions": len(round_.transactions),
        "gas": None if gas is None else sum(gas.values()),
        "gas_by_phase": dict(gas or {}),
        "participants": digest.participants,
        "root": None if round_.block is None else "0x" + round_.block.root.hex(),
        "block_hash": None if round_.block_hash is None else "0x" + round_.block_hash.hex(),
        "figure": figure_view(statements),
        "statements": statements,
        **_mistakes(subject, round_, digest, hostile),
    }


def _reasons(codes: str) -> dict[str, int]:
    """Return how many updates were rejected for which reason, the most frequent first."""
    letters = Counter(codes).most_common()
    return {LEGEND[letter]: count for letter, count in letters if letter in REJECTED[1:]}


class _Mistakes(TypedDict):
    hostile: int | None
    false_rejects: int | None
    false_accepts: int | None


def _mistakes(subject: Subject, round_: Round, digest: Digest, hostile: Mapping[str, str]) -> _Mistakes:
    if subject.adversaries is None:
        return {"hostile": None, "false_rejects": None, "false_accepts": None}
    flags = [account in hostile for account in digest.accounts]
    verdicts = round_.accepted or ()
    return {
        "hostile": sum(flags),
        "false_rejects": sum(not bad and not good for bad, good in zip(flags, verdicts, strict=False)),
        "false_accepts": sum(bad and good for bad, good in zip(flags, verdicts, strict=False)),
    }
