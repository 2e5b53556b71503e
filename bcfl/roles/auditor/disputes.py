"""Step 6: the disputes about a proposal, move after move, and by how long they put off its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bcfl.errors import ChallengeError
from bcfl.protocol.challenges import Form
from bcfl.protocol.disputes import NOBODY, Course, Disputed, courses
from bcfl.protocol.hashing import keccak, word
from bcfl.protocol.rounds import Recorded
from bcfl.protocol.types import Terms
from bcfl.roles.auditor.submissions import Found
from bcfl.roles.common.disputes import prolonged

MOVES = ("Disputed", "RowsShown", "NodesShown", "LeafShown", "Pursued", "DisputeEnded")


class Disputes:
    """The disputes about one proposal, by the twin's rules; `updates` are the roots of the accepted ones."""

    def __init__(
        self, proposed: Recorded, moves: Sequence[Recorded], terms: Terms, updates: Mapping[int, bytes]
    ) -> None:
        args, self.terms, self.moves = proposed.args, terms, moves
        fields = (args["root"], args["cid"], args["rows"], args["layer"])
        self.proposal = keccak(word(args["round"]) + b"".join(fields))
        self.courses: list[Course] = []
        self.broken = ""  # why the moves make no sense
        try:
            disputed = Disputed(self.proposal, args["root"], args["rows"], updates)
            self.courses = courses(terms, disputed, moves)
        except ChallengeError as error:
            self.broken = str(error)

    def delay(self, before: int) -> int:
        """Seconds by which the disputes that were over at a time had put off deadline and window."""
        over = [each for each in self.courses if each.ended is not None and each.ended <= before]
        return prolonged(over, self.terms)

    def check(self, refuted: Recorded | None, over: bool) -> Iterator[Found]:
        """Everything that is wrong with the moves; `refuted` is what ended the turn, if that did.

        `over`: the turn has ended, however that came.
        """
        if self.broken:
            yield "disputes", self.broken
        if over and refuted is None and self.courses and self.courses[-1].ended is None:
            yield "disputes", "a turn ended while a dispute was open"
        ends = [
            event
            for event in self.moves
            if event.name == "DisputeEnded" and event.args["proposal"] == self.proposal
        ]
        for course, event in zip(self.courses, ends, strict=False):
            yield from self._end(course, event, refuted)
        if refuted is not None and refuted.args["form"] == Form.DISPUTE:
            yield from self._silence(refuted)

    def _end(self, course: Course, event: Recorded, refuted: Recorded | None) -> Iterator[Found]:
        state, answerer = course.state, event.args["answerer"]
        if event.args["challenger"] != state.challenger:
            yield "disputes", f"the dispute of {state.challenger} ends as one of {event.args['challenger']}"
        if answerer == NOBODY:
            if refuted is None:
                yield "disputes", "a bond goes back, and nothing is refuted"
            return
        late = not state.answerable and event.timestamp >= state.due
        if answerer != state.answerer or not (late or course.leaf is not None):
            yield "disputes", f"the dispute of {state.challenger} ends before its time"

    def _silence(self, refuted: Recorded) -> Iterator[Found]:
        """A proposal is refuted because nobody answered in time."""
        state = self.courses[-1].state if self.courses else None
        if state is None or not state.answerable or refuted.timestamp < state.due:
            yield "disputes", "a proposal is refuted for want of an answer that was not due"
        elif state.challenger != refuted.args["challenger"]:
            yield "disputes", f"the dispute of {state.challenger} is won by {refuted.args['challenger']}"
