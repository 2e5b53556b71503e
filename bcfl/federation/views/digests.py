"""Keep what each round adds to a summary, so that a round is read again only when something happens in it.

digests = Digests()
digests.follow(history, events, terms)  # reads all rounds; called again, those that new events are about
digests.of(3).codes
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt

from bcfl.federation.subject import Subject
from bcfl.federation.views.earnings import Income, add_income, income_of
from bcfl.federation.views.round import PHASES
from bcfl.federation.views.votematrix import tally_codes
from bcfl.protocol.event import LogEvent
from bcfl.protocol.rounds import History, Round
from bcfl.protocol.types import Terms

Letters = npt.NDArray[np.uint8]
EMPTY: Final = ord(".")  # where a device sent no update
STEP: Final = 10  # rounds between two reports of the progress
Progress = Callable[[int, int], None]  # hears how many of how many rounds have been read


class Activity:
    """Phases and times of the transactions of all rounds, from one pass over the events."""

    def __init__(self, events: Iterable[LogEvent] = ()) -> None:
        self.phases: dict[bytes, str] = {}
        self.last: dict[int, dict[str, int]] = defaultdict(dict)  # by round and phase: a timestamp
        self.add(events)

    def add(self, events: Iterable[LogEvent]) -> None:
        """Take in further events."""
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


@dataclass
class Digest:
    """What a round adds to a summary; arrays are by update.

    `devices` are indices, `codes` letters as `tally_codes` has them, `work` counts by kind and account what
    miners did. `gas` is by phase, None where a receipt is not known; it is asked for again then.
    """

    devices: npt.NDArray[np.int64]
    samples: npt.NDArray[np.int64]
    codes: str
    accounts: Sequence[str]
    participants: int
    accepted: int
    rejected: int
    income: Income
    work: dict[str, Counter[str]]
    seconds: dict[str, int]
    gas: dict[str, int] | None = None
    letters: Letters = field(init=False)

    def __post_init__(self) -> None:
        self.letters = np.frombuffer(self.codes.encode("ascii"), np.uint8)


class Digests:
    """The digests of all rounds of one training, by round, and what they come to.

    `incomes` is what accounts have earned, in wei; `progress` hears how far a long reading has come.
    """

    def __init__(self, progress: Progress | None = None) -> None:
        self.progress = progress
        self._forget()

    def _forget(self) -> None:
        self.incomes: Counter[str] = Counter()
        self.activity = Activity()
        self._digests: dict[int, Digest] = {}
        self._history: History | None = None
        self._seen = 0  # events
        self._map = LetterMap()

    def of(self, number: int) -> Digest:
        """Return the digest of a round."""
        return self._digests[number]

    def follow(self, history: History, events: Sequence[LogEvent], terms: Terms) -> None:
        """Read the rounds that new events are about; another history is read from its start."""
        if history is not self._history or len(events) < self._seen:
            self._forget()
            self._history = history
        news = list(islice(events, self._seen, None))
        self._seen = len(events)
        self.activity.add(news)
        numbers = {event.args.get("round") for event in news if event.name != "Claimed"}
        wanted = [number for number in history.rounds if number in numbers or number not in self._digests]
        for place, number in enumerate(wanted):
            self._read(history, history.rounds[number], terms)
            if self.progress is not None and place % STEP == 0:
                self.progress(place, len(wanted))

    def gas(self, subject: Subject, round_: Round) -> dict[str, int] | None:
        """Return the gas of a round by phase; None where one of its receipts is not known."""
        digest = self._digests[round_.number]
        if digest.gas is None:
            digest.gas = _gas(subject, round_, self.activity)
        return digest.gas

    def letters(self, rounds: Sequence[Round], devices: int) -> Letters:
        """Return the letter of every device in every one of these rounds, (rounds, devices)."""
        return self._map.of([(round_.number, self._digests[round_.number]) for round_ in rounds], devices)

    def _read(self, history: History, round_: Round, terms: Terms) -> None:
        """Read a round, in place of what was read of it before."""
        old = self._digests.get(round_.number)
        digest = _digest(history, round_, terms, self.activity)
        if old is not None:
            add_income(self.incomes, old.income, old.accounts, -1)
        add_income(self.incomes, digest.income, digest.accounts)
        self._digests[round_.number] = digest


class LetterMap:
    """The letters of devices by rounds; what is there already is not written again."""

    def __init__(self) -> None:
        self._columns: list[tuple[int, Digest]] = []
        self._letters: Letters = np.zeros((0, 0), np.uint8)

    def of(self, columns: list[tuple[int, Digest]], devices: int) -> Letters:
        """Return the letters of the first `devices` in some rounds, (rounds, devices)."""
        known, letters = self._columns, self._letters
        if letters.shape[1] != devices:
            known = []
        if len(known) != len(columns):
            grown = np.full((len(columns), devices), EMPTY, np.uint8)
            same = min(len(known), len(columns))
            grown[:same] = letters[:same] if known else EMPTY
            letters, known = grown, known[:same]
        for place, (number, digest) in enumerate(columns):
            if place < len(known) and known[place][0] == number and known[place][1] is digest:
                continue
            is_listed = digest.devices < devices
            letters[place] = EMPTY
            letters[place, digest.devices[is_listed]] = digest.letters[is_listed]
        self._columns, self._letters = columns, letters
        return letters


def _digest(history: History, round_: Round, terms: Terms, activity: Activity) -> Digest:
    updates = [item.update for item in round_.submissions]
    accounts = [history.devices[update.device] for update in updates]
    accepted = 0 if round_.levels is None else len(round_.levels) - round_.levels.count(0)
    return Digest(
        devices=np.array([update.device for update in updates], np.int64),
        samples=np.array([update.samples for update in updates], np.int64),
        codes=tally_codes(round_),
        accounts=accounts,
        participants=len(set(accounts) | set(round_.commits) | set(round_.vote_commits)),
        accepted=accepted,
        rejected=0 if round_.levels is None else len(round_.levels) - accepted,
        income=income_of(round_, terms),
        work=_work(round_),
        seconds=activity.seconds(round_),
    )


def _work(round_: Round) -> dict[str, Counter[str]]:
    """Count by kind and account what miners did in a round."""
    penalties: Counter[str] = Counter()
    for miner, amount in round_.penalties:
        penalties[miner] += amount
    return {
        "turns": Counter([election.leader for election in round_.elections]),
        "led": Counter([] if round_.block is None else [round_.block.leader]),
        "skipped": Counter(round_.skipped),
        "refuted": Counter([leader for leader, _ in round_.refutations]),
        "committed": Counter(round_.vote_commits.keys()),
        "voted": Counter([vote.voter.account for vote in round_.votes]),
        "attested": Counter(round_.proposals[-1].attested if round_.proposals else ()),
        "brought": Counter([item.submitter for item in round_.submissions]),
        "penalties": penalties,
    }


def _gas(subject: Subject, round_: Round, activity: Activity) -> dict[str, int] | None:
    phases: dict[str, int] = {}
    for transaction in round_.transactions:
        gas = subject.gas_of(transaction)
        if gas is None:
            return None
        phase = activity.phases.get(transaction, "other")
        phases[phase] = phases.get(phase, 0) + gas
    return phases
