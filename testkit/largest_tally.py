"""Hand in the largest tallies there can be: 64 seats, 1,024 updates, in the worst form of each engine.

State is written by hand where it would take thousands of transactions; the call itself is the contract's own.
Verdicts are random, every voter has an update of its own, scores, rests and committees are written for the
first time. A round that comes to nothing opens the next one in the same call, with 64 changed records.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from bcfl.protocol.hashing import fold, keccak, word
from bcfl.protocol.limits import MAX_MINERS, MAX_UPDATES, TOP_LEVEL
from bcfl.protocol.submissions import claim_cap
from bcfl.protocol.types import Engine, Mode, Phase, Verdict, Voter
from bcfl.protocol.verification import pack_codes
from testkit.harness import ETHER, TERMS, Federation
from testkit.ledgers import slots_of

EVERYBODY = 2**MAX_MINERS - 1
WEIGHT = 60_000
MOST_CODE = TOP_LEVEL + max(Verdict)
TWO_MISSES = int("2" * MAX_MINERS, 16)
STAKE = ETHER // WEIGHT // 100  # small enough for so many of them
LARGEST = replace(
    TERMS, parameters=32, lane_bits=8, leaf_lanes=32, max_samples=1_900, min_stake=STAKE,
    reward=STAKE // 2, vote_penalty=STAKE // 10, leader_penalty=STAKE // 20, committee_size=MAX_MINERS,
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A tally: how many vote, what the others did, and whether enough is accepted."""

    engine: Engine
    mode: Mode = Mode.PARTIAL
    voters: int = MAX_MINERS
    unopened: bool = False  # those who are absent had committed a vote
    is_void: bool = False

    def __str__(self) -> str:
        rest = "unopened" if self.unopened else "absent"
        result = "void" if self.is_void else "accepted"
        away = MAX_MINERS - self.voters
        return f"{self.engine.name.lower()} {self.mode.name.lower()} {result}, {away} {rest}"


CASES = [
    *(Case(engine) for engine in Engine),
    Case(Engine.RESOURCE, Mode.HYBRID),
    Case(Engine.RESOURCE, Mode.HYBRID, is_void=True),
    Case(Engine.RESOURCE, Mode.HYBRID, voters=33, is_void=True),
    Case(Engine.RESOURCE, Mode.HYBRID, voters=33, unopened=True, is_void=True),
    Case(Engine.RESOURCE, voters=1, unopened=True, is_void=True),
]


class LargestTally:
    """A federation whose tally is due, and the lists that it takes."""

    def __init__(self, case: Case, seed: int = 1) -> None:
        self.case, self.random = case, random.Random(seed)
        min_updates = MAX_UPDATES if case.is_void else 1
        terms = replace(LARGEST, engine=case.engine, mode=case.mode, min_updates=min_updates)
        self.federation = Federation(0, MAX_MINERS, terms, (WEIGHT * STAKE,) * MAX_MINERS, pool=0).open()
        self.words = [
            self.random.getrandbits(192) << 64 | device << 24 | self.random.randint(1, 1_000)
            for device in range(MAX_UPDATES)
        ]
        wish = Engine.COMMITTEE if case.mode is Mode.HYBRID else None
        keys = self.federation.miner_keys[: case.voters]
        self.voters = [Voter(key.address, WEIGHT, i, wish, i).word for i, key in enumerate(keys)]
        self.salts = [self.random.randbytes(32) for _ in self.voters]
        self.verdicts: list[int] = []
        self.votes = bytes(32)
        for voter, salt in zip(self.voters, self.salts, strict=True):
            row = self._row()
            self.verdicts += row
            self.votes = keccak(self.votes + word(voter) + fold(map(word, row), salt))
        self._write()

    def _row(self) -> list[int]:
        """Return a voter's words: no two votes agree on anything."""
        first = TOP_LEVEL if self.case.is_void else 1
        return pack_codes([self.random.randint(first, MOST_CODE) for _ in range(MAX_UPDATES)])

    def _write(self) -> None:
        """Put the tally's phase into storage, with all marks of a round that everybody changed."""
        slots = slots_of(self.federation.contract)
        present = (1 << self.case.voters) - 1
        committed = EVERYBODY if self.case.unopened else present
        clock = Phase.TALLY | MAX_UPDATES << 4 | 1 << 20 | self.federation.chain.now() << 44
        clock |= (2**32 - 1) << 76 | present << 124 | committed << 188 | self.case.engine << 252
        devices = [range(224 * place, min(224 * (place + 1), MAX_UPDATES)) for place in range(5)]
        marks = [
            ("submissions.seen", place, 1 | (2 ** len(part) - 1) << 32) for place, part in enumerate(devices)
        ]
        # Another stake is another weight: every record changes when the next round opens.
        stakes = [
            ("registry.stakes", int(key.address, 16), WEIGHT // 2 * STAKE)
            for key in self.federation.miner_keys
        ]
        slots.put(
            ("rounds.clock", None, clock),
            ("registry.roster", None, slots.get("registry.roster") | EVERYBODY << 64),
            ("absence.missed", None, TWO_MISSES),
            ("submissions.links", None, int.from_bytes(fold(map(word, self.words)), "big")),
            ("verification.votes", None, int.from_bytes(self.votes, "big")),
            *marks,
            *stakes,
        )

    def send(self) -> tuple[int, list[str]]:
        """Hand the tally in; return its gas and the names of its events."""
        owns = list(range(self.case.voters))
        cap = claim_cap([item & 0xFFFFFF for item in self.words])
        args = [self.words, self.voters, self.salts, self.verdicts, owns, cap]
        receipt = self.federation.send(self.federation.outsider, "tally", *args)
        return receipt.gas_used, [event.name for event in receipt.events]
