"""Keep what the contract has seen of a miner's resources; the rule is `bcfl.protocol.scores`."""

from __future__ import annotations

from bcfl.specification.call import Call
from bcfl.specification.state import Score


def record_of(call: Call, account: str) -> Score:
    """Return what is known of an account."""
    return call.state.scores.records.get(account, Score())


def score(call: Call, account: str, round_: int) -> int:
    """Return what a round's leads are shared out to a miner by: the score from before the round."""
    record = record_of(call, account)
    return record.before if record.round == round_ else record.resources.score


def note(
    call: Call, account: str, round_: int, *, on_time: bool, available: bool, accepted: bool, pace: int
) -> None:
    """Take in what a round has shown of a miner; `pace` is 0 where it has no accepted update."""
    before = record_of(call, account).resources
    after = before.after(on_time=on_time, available=available, accepted=accepted, pace=pace)
    call.state.scores.records[account] = Score(after, before.score, round_)


def resources(call: Call, account: str) -> tuple[int, int, int, int, int]:
    """Return what the contract has seen of a miner's resources."""
    known = record_of(call, account).resources
    return known.storage, known.quality, known.stability, known.rate, known.score
