"""Every step in its phase: what the timestamps of the logs must keep to.

A phase begins with the first transaction after the end of the one before, and that may log nothing. So a
phase is known to begin no earlier than the one before could end, and no later than its own first log; what
follows from that is checked. From the first leader on all times are exact (`turns.py`).
"""

from __future__ import annotations

from collections.abc import Iterator

from bcfl.protocol.types import Terms, VoidReason
from bcfl.roles.auditor.reading import Case
from bcfl.roles.auditor.submissions import Found


class Deadlines:
    """The checks of one round's clock, up to its tally."""

    def __init__(self, case: Case, terms: Terms) -> None:
        assert case.round is not None
        self.case, self.terms, self.round = case, terms, case.round

    def check(self) -> Iterator[Found]:
        """Everything that is wrong, in the order of the round."""
        terms = self.terms
        begin = self.round.opened
        for name, seconds, done, grace in (
            ("Committed", terms.commit_seconds, self._committed(), terms.grace),
            ("Revealed", terms.reveal_seconds, self._revealed(), terms.grace),
            ("VoteCommitted", terms.vote_seconds, self._voted(), 0),
            ("Voted", terms.unveil_seconds, self._unveiled(), 0),
        ):
            times = self.case.when(name)
            if times and times[0] < begin:
                yield f"deadlines.{name}", "before the phase could begin"
            opened = self.round.opened if name == "Committed" else (times[0] if times else begin)
            if times and times[-1] >= opened + seconds:
                yield f"deadlines.{name}", "after the phase was over"
            begin = begin + seconds if done is None else min(begin + seconds, max(done + grace, begin))
            if self._ended(name):
                break
        yield from self._tallied(begin)

    def _tallied(self, begin: int) -> Iterator[Found]:
        times = self.case.when("Tallied")
        if times and times[0] < begin:
            yield "deadlines.Tallied", "before the votes were all unveiled or their time was over"
        if self.round.void is not None and self.case.when("Voided")[0] < begin:
            yield "deadlines.Voided", "before its time"

    def _ended(self, name: str) -> bool:
        """Whether the round came to nothing with this phase."""
        ends = {"Revealed": VoidReason.FEW_UPDATES, "VoteCommitted": VoidReason.NO_VOTES}
        return self.round.void is not None and ends.get(name) is self.round.void

    def _committed(self) -> int | None:
        """When the last of the miners had committed; None if not all have."""
        return self._last("Committed", "sender", set(self.case.seats))

    def _revealed(self) -> int | None:
        """When every batch of a miner had been opened; None if one was not."""
        senders = {event.args["sender"] for event in self.case.named("Committed")}
        return self._last("Revealed", "submitter", senders & set(self.case.seats))

    def _voted(self) -> int | None:
        return self._last("VoteCommitted", "miner", set(self.case.electors))

    def _unveiled(self) -> int | None:
        return self._last("Voted", "miner", set(self.round.vote_commits))

    def _last(self, name: str, who: str, expected: set[str]) -> int | None:
        """When the last of those who are expected first did something; None if one of them did not."""
        first: dict[str, int] = {}
        for event in self.case.named(name):
            first.setdefault(event.args[who], event.timestamp)
        if not expected or not expected <= set(first):
            return None
        return max(first[account] for account in expected)
