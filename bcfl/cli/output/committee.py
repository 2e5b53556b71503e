"""Say how often a coalition captures a committee, and what to do where that is too often."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bcfl.cli.output.printing import plural
from bcfl.cli.output.terminal import say

if TYPE_CHECKING:
    from bcfl.federation.views.committee import CaseView, CommitteeView

SINGLE = "a single trusted miner a round, whoever is drawn decides alone"
LEAST = 1e-6  # a smaller probability is told as a bound


def committee_fields(view: CommitteeView | None) -> list[tuple[str, str]]:
    """Return the committees of a federation as fields; nothing where there are none."""
    if view is None:
        return []
    words = f"1 member: {SINGLE}" if view["committee_size"] == 1 else f"{view['committee_size']} members"
    return [("committee", words), *capture_fields(view)]


def capture_fields(view: CommitteeView) -> list[tuple[str, str]]:
    """Return how often a coalition captures a committee, a field a case."""
    prefix = "" if view["chosen"] else "if wished for, "
    return [("captured", prefix + case_words(case, view["rounds"])) for case in view["cases"]]


def case_words(case: CaseView, rounds: int) -> str:
    """Return how often a coalition captures a committee, and how likely it does so in so many rounds."""
    words = f"by {case['coalition']} of {plural(case['miners'], 'miner')} ({case['share']:.0%} of the weight)"
    members = case["members"]
    deciding = (
        f"{case['deciding']} of {members} members decide" if members > 1 else "its member decides alone"
    )
    if case["high"] == 0:
        return f"never {words}: {deciding}"
    once = f"in {plural(rounds, 'round')} at least once {percent(case['once'])}"
    withheld = f"{percent(case['once_withheld'])} if it keeps openings back"
    return f"{percent(case['high'])} of committees {words}: {deciding}; {once}, {withheld}"


def committee_warning(view: CommitteeView | None) -> str | None:
    """Return what is wrong with the size of a committee and what to do; None where nothing is."""
    if view is None or not view["risky"]:
        return None
    case = max(view["cases"], key=lambda case: case["high"])
    size = f"committee_size={view['committee_size']}" + f" is {SINGLE}" * (view["committee_size"] == 1)
    words = f"{case['coalition']} of {plural(case['miners'], 'miner')} ({case['share']:.0%} of the weight)"
    more = f"committee_size={view['safer_size']}, or " if view["safer_size"] else ""
    other = "engine=stake" if view["chosen"] else "a mode in which nobody wishes for a committee"
    return (
        f"{size}: {words} would capture {percent(case['high'])} of committees, more than one in a thousand; "
        f"take {more}{other}"
    )


def percent(chance: float) -> str:
    """Return a probability in percent, with two digits that count; as a bound where it is close to 0 or 1."""
    if 0 < chance < LEAST:
        return f"less than {LEAST:.4%}"
    return f"{100 * chance:.2g}%" if chance < 0.99 else "more than 99%"


def warn(view: CommitteeView | None) -> None:
    """Write the warning on stderr, if there is one."""
    text = committee_warning(view)
    if text is not None:
        say(f"warning: {text}", to_stderr=True)
