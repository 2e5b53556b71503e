"""The deadlines of a round: whether every event fell into its phase, by the timestamps.

A phase begins with the first transaction after the end of the previous one, and that transaction may log
nothing. So a phase begins no earlier than the previous one could end, and no later than its own first event;
what follows from that is checked. From the first leader on all times are exact (`turns.py`). Where phases
last a number of blocks as well, nobody can be late by the timestamps alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from bcfl.protocol.types import Terms, VoidReason
from bcfl.roles.auditor.replay import Case
from bcfl.roles.auditor.verdict import Issue


class Deadlines:
    """The checks of one round's timestamps, up to its tally."""

    def __init__(self, case: Case, terms: Terms) -> None:
        assert case.round is not None
        self.case, self.terms, self.round = case, terms, case.round

    def check(self) -> Iterator[Issue]:
        """Yield everything that is wrong, in the order of the round."""
        terms = self.terms
        begin = self.round.opened
        for name, seconds, completion, grace in (
            ("Committed", terms.commit_seconds, self._commits_complete(), terms.grace),
            ("Revealed", terms.reveal_seconds, self._reveals_complete(), terms.grace),
            ("VoteCommitted", terms.vote_seconds, self._vote_commits_complete(), 0),
            ("Voted", terms.unveil_seconds, self._votes_complete(), 0),
        ):
            times = self.case.timestamps(name)
            if times and times[0] < begin:
                yield f"deadlines.{name}", "before the phase could begin"
            start = self.round.opened if name == "Committed" else (times[0] if times else begin)
            if times and times[-1] >= start + seconds and not terms.min_blocks:
                yield f"deadlines.{name}", "after the phase was over"
            end = begin + seconds
            begin = end if completion is None else min(end, max(completion + grace, begin))
            if self._voids(name):
                break
        yield from self._check_tally(begin)

    def _check_tally(self, begin: int) -> Iterator[Issue]:
        times = self.case.timestamps("Tallied")
        if times and times[0] < begin:
            yield "deadlines.Tallied", "before the votes were all unveiled or their time was over"
        if self.round.void is VoidReason.NO_TALLY:
            begin += self.terms.tally_seconds
        if self.round.void is not None and self.case.timestamps("Voided")[0] < begin:
            yield "deadlines.Voided", "before its time"

    def _voids(self, name: str) -> bool:
        """Whether the round was void after the phase of this event."""
        reasons = {"Revealed": VoidReason.FEW_UPDATES, "VoteCommitted": VoidReason.NO_VOTES}
        return self.round.void is not None and reasons.get(name) is self.round.void

    def _commits_complete(self) -> int | None:
        """Return when the last miner had committed, or None if not all have."""
        return self._completion("Committed", "sender", set(self.case.seats))

    def _reveals_complete(self) -> int | None:
        """Return when every batch of a miner had been opened, or None if one was not."""
        senders = {event.args["sender"] for event in self.case.events_named("Committed")}
        return self._completion("Revealed", "submitter", senders & set(self.case.seats))

    def _vote_commits_complete(self) -> int | None:
        return self._completion("VoteCommitted", "miner", set(self.case.electors))

    def _votes_complete(self) -> int | None:
        return self._completion("Voted", "miner", set(self.round.vote_commits))

    def _completion(self, name: str, key: str, accounts: set[str]) -> int | None:
        """Return when each of these accounts, named by argument `key`, had its first event, or None."""
        times: dict[str, int] = {}
        for event in self.case.events_named(name):
            times.setdefault(event.args[key], event.timestamp)
        if not accounts or not accounts <= set(times):
            return None
        return max(times[account] for account in accounts)
