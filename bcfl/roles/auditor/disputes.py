"""The disputes about a proposal: every move by the contract's rules, and how each ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bcfl.errors import ChallengeError
from bcfl.protocol.challenges import Form
from bcfl.protocol.disputes import Course, DisputeSubject, courses
from bcfl.protocol.event import LogEvent
from bcfl.protocol.types import Terms
from bcfl.roles.auditor.verdict import Issue

RULING = "ChallengeFailed"
MOVES = ("Disputed", "RowsShown", "NodesShown", "LeafShown", "Pursued", "DisputeEnded", RULING)


class Disputes:
    """The disputes about one proposal, by the twin's rules; `updates` maps positions to accepted roots."""

    def __init__(
        self, proposal: LogEvent, moves: Sequence[LogEvent], terms: Terms, updates: Mapping[int, bytes]
    ) -> None:
        self.terms = terms
        self.rulings = [
            (event.args["challenger"], event.transaction) for event in moves if event.name == RULING
        ]
        self.ends = {event.args["number"]: event for event in moves if event.name == "DisputeEnded"}
        self.courses: dict[int, Course] = {}
        self.error = ""  # why the moves break the rules
        try:
            subject = DisputeSubject(proposal.args["root"], proposal.args["rows"], updates)
            self.courses = courses(terms, subject, [event for event in moves if event.name != RULING])
        except ChallengeError as error:
            self.error = str(error)

    def check(self, refutation: LogEvent | None, over: bool) -> Iterator[Issue]:
        """Yield everything that is wrong with the moves.

        `over` says whether the turn has ended; `refutation` is the event that ended it, if one did.
        """
        if self.error:
            yield "disputes", self.error
        for number, course in self.courses.items():
            if course.is_open:
                if over and refutation is None:
                    yield "disputes", "a turn ended while a dispute was open"
            else:
                yield from self._check_ending(course, self.ends[number], refutation)
        if refutation is not None and refutation.args["form"] == Form.SILENCE and not self.error:
            yield from self._check_silence(refutation)

    def _check_ending(self, course: Course, end: LogEvent, refutation: LogEvent | None) -> Iterator[Issue]:
        state = course.state
        if end.args["challenger"] != state.challenger:
            yield "disputes", f"the dispute of {state.challenger} ends as one of {end.args['challenger']}"
        if course.returned:
            if refutation is None:
                yield "disputes", "a bond goes back, and nothing is refuted"
            return
        is_silent = not state.is_answerable and end.timestamp >= state.deadline
        if not is_silent and (state.challenger, end.transaction) not in self.rulings:
            yield "disputes", f"the dispute of {state.challenger} ends before its time"

    def _check_silence(self, refutation: LogEvent) -> Iterator[Issue]:
        """Check that a proposal refuted for want of an answer owed one, to this challenger."""
        overdue = [
            course.state.challenger
            for course in self.courses.values()
            if course.state.is_answerable and course.state.deadline <= refutation.timestamp
        ]
        if not overdue:
            yield "disputes", "a proposal is refuted for want of an answer that was not due"
        elif refutation.args["challenger"] not in overdue:
            yield "disputes", f"the dispute of {overdue[0]} is won by {refutation.args['challenger']}"
