"""The disputes about a proposal: every move by the contract's rules, and the seconds that they added."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bcfl.errors import ChallengeError
from bcfl.protocol.challenges import Form
from bcfl.protocol.disputes import NOBODY, Course, DisputeSubject, courses
from bcfl.protocol.event import LogEvent
from bcfl.protocol.hashing import keccak, word
from bcfl.protocol.types import Terms
from bcfl.roles.auditor.verdict import Issue
from bcfl.roles.common.disputes import extension_seconds

MOVES = ("Disputed", "RowsShown", "NodesShown", "LeafShown", "Pursued", "DisputeEnded")


class Disputes:
    """The disputes about one proposal, by the twin's rules; `updates` maps positions to accepted roots."""

    def __init__(
        self, proposal: LogEvent, moves: Sequence[LogEvent], terms: Terms, updates: Mapping[int, bytes]
    ) -> None:
        args, self.terms, self.moves = proposal.args, terms, moves
        fields = (args["root"], args["cid"], args["rows"], args["layer"])
        self.digest = keccak(word(args["round"]) + b"".join(fields))
        self.courses: list[Course] = []
        self.error = ""  # why the moves break the rules
        try:
            subject = DisputeSubject(self.digest, args["root"], args["rows"], updates)
            self.courses = courses(terms, subject, moves)
        except ChallengeError as error:
            self.error = str(error)

    def delay(self, timestamp: int) -> int:
        """Return the seconds that disputes over by `timestamp` had added to deadline and window."""
        closed = [each for each in self.courses if each.end_time is not None and each.end_time <= timestamp]
        return extension_seconds(closed, self.terms)

    def check(self, refutation: LogEvent | None, over: bool) -> Iterator[Issue]:
        """Yield everything that is wrong with the moves.

        `over` says whether the turn has ended; `refutation` is the event that ended it, if one did.
        """
        if self.error:
            yield "disputes", self.error
        if over and refutation is None and self.courses and self.courses[-1].end_time is None:
            yield "disputes", "a turn ended while a dispute was open"
        endings = [
            event
            for event in self.moves
            if event.name == "DisputeEnded" and event.args["proposal"] == self.digest
        ]
        for course, event in zip(self.courses, endings, strict=False):
            yield from self._check_ending(course, event, refutation)
        if refutation is not None and refutation.args["form"] == Form.DISPUTE:
            yield from self._check_silence(refutation)

    def _check_ending(self, course: Course, event: LogEvent, refutation: LogEvent | None) -> Iterator[Issue]:
        state, answerer = course.state, event.args["answerer"]
        if event.args["challenger"] != state.challenger:
            yield "disputes", f"the dispute of {state.challenger} ends as one of {event.args['challenger']}"
        if answerer == NOBODY:
            if refutation is None:
                yield "disputes", "a bond goes back, and nothing is refuted"
            return
        late = not state.answerable and event.timestamp >= state.due
        if answerer != state.answerer or not (late or course.leaf is not None):
            yield "disputes", f"the dispute of {state.challenger} ends before its time"

    def _check_silence(self, refutation: LogEvent) -> Iterator[Issue]:
        """Check that a proposal refuted for want of an answer owed one, to this challenger."""
        state = self.courses[-1].state if self.courses else None
        if state is None or not state.answerable or refutation.timestamp < state.due:
            yield "disputes", "a proposal is refuted for want of an answer that was not due"
        elif state.challenger != refutation.args["challenger"]:
            yield "disputes", f"the dispute of {state.challenger} is won by {refutation.args['challenger']}"
