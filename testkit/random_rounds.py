"""Play whole random rounds: absences, refusals, exits, joins, claims, suspensions, calls that must fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, TypeVar

from bcfl.errors import Reverted
from bcfl.protocol import submissions
from bcfl.protocol.limits import TOP_LEVEL
from bcfl.protocol.types import Engine, Mode, Opening, Phase, Terms, Update, Verdict
from testkit.harness import CHALLENGED, ETHER, TERMS, Account, Federation, account, digest
from testkit.ledgers import BOTH

OTHER = digest("something else")
DEVICES, MINERS = 5, 4
T = TypeVar("T")


def random_terms(rng: Random, engine: Engine, mode: Mode) -> Terms:
    """Return terms of an engine and a mode, with and without blocks that count, grace and challenges."""
    return replace(
        rng.choice((TERMS, TERMS, CHALLENGED)),
        engine=engine,
        mode=mode,
        committee_size=rng.choice((1, 2, 3)),
        min_blocks=rng.choice((0, 0, 0, 2)),
        grace=rng.choice((0, 0, 5)),
        max_updates=rng.choice((64, 64, 3)),
        min_updates=rng.choice((1, 2)),
        pow_target=2**255,
        absence_seconds=40_000,
        exit_seconds=40_000,
        rate_factor=rng.choice((10_000, 20_000)),
    )


@dataclass
class RandomRounds:
    """A federation of one seed, to which `step` does something at a time; `counts` says what came of it."""

    seed: int
    engine: Engine
    mode: Mode
    kind: str = BOTH
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.rng = rng = Random(f"{self.seed} {self.engine} {self.mode}")
        stakes = tuple(ETHER * rng.randint(1, 4) + rng.randrange(ETHER) for _ in range(MINERS))
        terms = random_terms(rng, self.engine, self.mode)
        is_full = self.mode is Mode.FULL or rng.random() < 0.3
        self.f = Federation(DEVICES, MINERS, terms, stakes, full=is_full, kind=self.kind).open()
        late = [account("late", i) for i in range(3)]
        self.people = list(dict.fromkeys([*self.f.miner_keys, *self.f.device_keys, *late, self.f.outsider]))
        self.people.append(self.f.owner)
        self.f.miner_keys = list(dict.fromkeys([*self.f.miner_keys, *late]))
        self.batches: dict[str, list[Update]] = {}
        self.done: set[tuple[str, str]] = set()  # acts of this round, and whose they are
        self.openings: dict[str, Opening] = {}
        self.ends: list[int] = []  # finished rounds
        self.credited: list[str] = []  # accounts, as often as they were

    def play(self, steps: int) -> Counter[str]:
        """Do so many things; returns how often each came to what."""
        for _ in range(steps):
            self.step()
        return self.counts

    def step(self) -> None:
        """Do something: as a rule what is due, now and then something else."""
        chance = self.rng.random()
        if chance < 0.84:
            act = self._due()
        elif chance < 0.89:
            act = self.rng.choice(self._member_moves())
        elif chance < 0.95:
            act = self.rng.choice(self._money_moves())
        elif chance < 0.98:
            act = self._hostile
        else:
            act = self._wait
        try:
            act()
        except Reverted as error:
            self.counts[f"reverted: {error}"] += 1

    def _send(self, sender: Account, function: str, *args: object, value: int = 0) -> None:
        receipt = self.f.send(sender, function, *args, value=value)
        self.counts[function] += 1
        for event in receipt.events:
            self.counts[event.name] += 1
            if event.name == "RoundOpened":
                self.batches, self.openings, self.done = {}, {}, set()
            elif event.name == "Claimed":
                self.credited.append(event.args["account"])
            elif event.name == "Finalized":
                self.ends.append(event.args["round"])

    def _somebody(self) -> Account:
        return self.rng.choice(self.people)

    def _other(self, act: str, candidates: Sequence[T], name: Callable[[T], str]) -> T | None:
        """Return one who has not done an act in this round, as a rule; None where all have."""
        left = [item for item in candidates if (act, name(item)) not in self.done]
        if self.rng.random() < 0.05:
            left = list(candidates)
        if not left:
            return None
        chosen = self.rng.choice(left)
        self.done.add((act, name(chosen)))
        return chosen

    def _wait(self) -> None:
        self.f.wait(self.rng.choice((1, 30, 300, 700, 700, 15_000)))

    # What is due.

    def _due(self) -> Callable[[], None]:
        """Return an act of the running phase, or time passes."""
        acts: dict[Phase, tuple[Callable[[], None], ...]] = {
            Phase.COMMIT: (self._commit,) * 19 + (self._expire,),
            Phase.REVEAL: (self._reveal,) * 19 + (self._expire,),
            Phase.VOTE: (self._vote,) * 19 + (self._expire,),
            Phase.UNVEIL: (self._unveil,) * 19 + (self._expire,),
            Phase.TALLY: (self._tally,) * 15 + (self._expire,),
            Phase.ELECT: (self._solve,) * 6 + (self._expire,),
            Phase.PROPOSE: (self._propose,) * 12 + (self._skip, self._expire),
            Phase.ATTEST: (self._attest,) * 5
            + (self._finalize,) * 3
            + (self._correct, self._expire, self._skip),
            Phase.VOID: (self._advance,),
        }
        return self.rng.choice(acts[self.f.clock.phase])

    def _expire(self) -> None:
        """Let the deadline pass, and let somebody say so."""
        self.f.expire()
        if self.f.terms.min_blocks:
            self._send(self._somebody(), "fund", value=1)
        if self.rng.random() < 0.7:
            self._send(self._somebody(), "advance")

    def _advance(self) -> None:
        self._send(self._somebody(), "advance")

    def _update(self, device: int) -> Update:
        changes = {
            "samples": self.rng.choice((1, 50, 50, 60, 100_000)),
            "microseconds": self.rng.randrange(2_000_000),
        }
        if self.rng.random() < 0.04:
            changes["samples"] = self.rng.choice((0, 100_001))
        return self.f.update(device, **changes)

    def _commit(self) -> None:
        """Commit a batch: of a miner, or of a device alone."""
        seated = [self.f.miner_keys[index] for index in self.f.seated()]
        sender = self._other("commit", seated, lambda key: key.address) or self.rng.choice(self.people)
        devices = [device for device in range(DEVICES) if self.rng.random() < 0.4]
        if sender in self.f.device_keys and sender not in seated:
            devices = [self.f.device_keys.index(sender)]
        batch = [self._update(device) for device in devices]
        self._send(sender, "commit", submissions.batch_digest(map(self.f.commitment, batch)))
        self.batches[sender.address] = batch

    def _reveal(self) -> None:
        """Open a batch, or some of it; now and then something that was not committed."""
        sender = self._somebody()
        submitter = self._other("reveal", list(self.batches), str)
        if submitter is None:
            if self.rng.random() < 0.7:
                return self._expire()
            submitter = sender.address
        batch = list(self.batches.get(submitter, []))
        if self.rng.random() < 0.7:
            sender = next((key for key in self.people if key.address == submitter), sender)
        mask = (1 << len(batch)) - 1
        if self.rng.random() < 0.15:
            mask = self.rng.randrange(mask + 1)
        if batch and self.rng.random() < 0.05:
            batch[0] = replace(batch[0], salt=batch[0].salt ^ 1)
        args = self.f.reveal_args(batch, mask)
        if self.rng.random() < 0.04:
            args[self.rng.randrange(1, 6)] = []
        if args[4] and self.rng.random() < 0.04:
            args[4] = [[digest(1), digest(2)]] * mask.bit_count()
        return self._send(sender, "reveal", submitter, *args)

    def _vote(self) -> None:
        """Commit random verdicts, most of them acceptances."""
        jury = self.f.jury()
        index = self._other("vote", jury, lambda index: self.f.miner_keys[index].address)
        index = self.rng.randrange(MINERS) if index is None else index
        count = self.f.clock.updates
        weights = (12, *[1] * (len(Verdict) - 1))
        verdicts = self.rng.choices(list(Verdict), weights, k=count)
        levels = [
            self.rng.randint(1, TOP_LEVEL) if verdict is Verdict.ACCEPTED else 0 for verdict in verdicts
        ]
        wish = (
            self.rng.choice((None, *Engine)) if self.mode is Mode.HYBRID or self.rng.random() < 0.05 else None
        )
        opening = self.f.opening(index, verdicts, wish, levels)
        self._send(self.f.miner_keys[index], "commit_vote", self.f.vote_digest(opening))
        self.openings[opening.miner] = opening

    def _unveil(self) -> None:
        """Open a vote, by anybody; now and then another than was committed."""
        if not self.openings:
            return self._expire()
        opening = self.openings[self._other("unveil", list(self.openings), str) or next(iter(self.openings))]
        args = self.f.unveil_args(opening)
        if self.rng.random() < 0.06:
            args[self.rng.randrange(1, 4)] = self.rng.choice(([], [1] * 17, 7, OTHER, 2**256 - 1))
            if (
                not isinstance(args[1], list)
                or not isinstance(args[2], int)
                or not isinstance(args[3], bytes)
            ):
                return None
        return self._send(self._somebody(), "unveil", *args)

    def _tally(self) -> None:
        """Count the votes; now and then with lists that are wrong."""
        args = self.f.tally_args()
        if self.f.votes():
            self.f.tallies[self.f.clock.round] = self.f.twin_tally()
        if self.rng.random() < 0.12:
            place = self.rng.randrange(6)
            item: Any = args[place]
            choices: tuple[Any, ...] = (
                (item + 1,) if isinstance(item, int) else (item[:-1], [*item, *item[-1:]], item[::-1])
            )
            args[place] = self.rng.choice(choices)
        self._send(self._somebody(), "tally", *args)

    def _solve(self) -> None:
        index = self.rng.randrange(len(self.f.miner_keys))
        self.f.solve(index)
        self.counts["solve"] += 1

    def _content(self) -> tuple[bytes, bytes, bytes]:
        root, cid, rows = self.f.proposal()
        return self.rng.choice([(root, cid, rows)] * 5 + [(OTHER, cid, rows), (root, OTHER, rows)])

    def _propose(self) -> None:
        leader = self.f.contract.call("lead_now")[0]
        sender = next(key for key in self.people if key.address == leader)
        if self.rng.random() < 0.1:
            sender = self._somebody()
        accepted = self.f.accepted() if self.rng.random() < 0.95 else OTHER
        self._send(sender, "propose", accepted, *self._content())

    def _standing(self) -> tuple[bytes, bytes, bytes]:
        args = self.f.round_events("Proposed")[-1]
        if self.rng.random() < 0.1:
            return self._content()
        return args["root"], args["cid"], args["rows"]

    def _attest(self) -> None:
        seated = [self.f.miner_keys[index] for index in self.f.seated()]
        sender = self._other(f"attest {self.f.contract.call('lead_now')[1]}", seated, lambda key: key.address)
        if sender is None:
            return self._finalize()
        return self._send(sender, "attest", self.f.proposal_digest(self._standing()))

    def _correct(self) -> None:
        self._send(self.rng.choice(self.f.miner_keys), "correct_cid", OTHER)

    def _finalize(self) -> None:
        if self.rng.random() < 0.7:
            self.f.wait(self.f.terms.challenge_seconds)
        self._send(self._somebody(), "finalize", *self._standing())

    def _skip(self) -> None:
        if self.rng.random() < 0.7:
            self.f.expire()
        voters, bodies = self.f.skip_args()
        if self.rng.random() < 0.1:
            voters, bodies = voters[:-1], bodies[: self.rng.randrange(2)]  # type: ignore[index]
        self._send(self._somebody(), "skip", voters, bodies)

    # Members and money.

    def _member_moves(self) -> list[Callable[[], None]]:
        send, somebody, owner = self._send, self._somebody, self.f.owner
        stake = self.rng.choice((0, 1, ETHER, 3 * ETHER))
        accounts = [somebody().address for _ in range(self.rng.randrange(3))]
        return [
            lambda: send(somebody(), "register_miner", value=stake),
            lambda: send(somebody(), "top_up", value=stake),
            lambda: send(self.rng.choice(self.f.miner_keys), "leave_miner"),
            lambda: send(somebody(), "release_stake"),
            lambda: send(somebody(), "release_stake"),
            lambda: send(self.rng.choice(self.f.miner_keys), "resume"),
            lambda: send(somebody(), "evict", somebody().address),
            lambda: send(self.rng.choice((owner, owner, somebody())), "register_devices", accounts),
            lambda: send(somebody(), "accept_device"),
            lambda: send(self.rng.choice((owner, somebody())), "leave_device", somebody().address),
            lambda: send(
                somebody(), "announce", "https://example.org/" + "x" * self.rng.choice((0, 9, 180, 190))
            ),
            lambda: send(somebody(), "start"),
            lambda: send(somebody(), "transfer_ownership", owner.address),
        ]

    def _money_moves(self) -> list[Callable[[], None]]:
        return [
            self._claim,
            self._claim,
            self._withdraw,
            self._several,
            lambda: self._send(self._somebody(), "fund", value=5),
        ]

    def _claim(self) -> None:
        if not self.ends:
            return
        number, position = self.rng.choice(self.ends[-3:]), self.rng.randrange(4)
        kind = self.rng.choice(("claim_device", "claim_miner"))
        args = (self.f.claim_device_args if kind == "claim_device" else self.f.claim_miner_args)(
            number, position
        )
        if self.rng.random() < 0.1:
            args[0] = replace(args[0], reward=1)  # type: ignore[type-var]
        self._send(self._somebody(), kind, *args)

    def _withdraw(self) -> None:
        self._send(
            self._somebody(), "withdraw", self.rng.choice(self.credited[-4:] or [self._somebody().address])
        )

    def _several(self) -> None:
        """Make several calls in one transaction, of which some may fail."""
        sender, calls = self._somebody(), []
        inner = self.f.contract.encode("advance")
        for _ in range(self.rng.randint(1, 4)):
            name, args = self.rng.choice(
                [("advance", ()), ("withdraw", (self._somebody().address,)), ("announce", ("here",)),
                 ("leave_miner", ()), ("resume", ()), ("pool", ()), ("evict", (sender.address,)),
                 ("multicall", (inner, [len(inner)], self.rng.randrange(2)))]
            )  # fmt: skip
            calls.append(self.f.contract.encode(name, *args))
        lengths = [len(data) for data in calls]
        if self.rng.random() < 0.1:
            lengths[-1] += self.rng.choice((-1, 1))
        self._send(sender, "multicall", b"".join(calls), lengths, self.rng.randrange(16))

    def _hostile(self) -> None:
        """Make a call that is not due, or with ether that it does not take."""
        sender = self._somebody()
        calls: list[tuple[str, tuple[Any, ...]]] = [
            ("commit", (OTHER,)), ("reveal", (sender.address, 0, *[[]] * 5)), ("commit_vote", (OTHER,)),
            ("unveil", (sender.address, [1], 0, OTHER)), ("tally", ([], [], [], [], [], 0)), ("solve", (1,)),
            ("propose", (OTHER, OTHER, OTHER, OTHER)), ("attest", (OTHER,)), ("correct_cid", (OTHER,)),
            ("finalize", (OTHER, OTHER, OTHER)), ("skip", ([], [])), ("advance", ()),
            ("settle", (sender.address, OTHER)),
            ("dispute", (OTHER, OTHER, 0)), ("announce_challenge", (OTHER,)), ("expire", (1, [], [])),
        ]  # fmt: skip
        function, args = self.rng.choice(calls)
        self._send(sender, function, *args, value=self.rng.choice((0, 0, 0, 1, ETHER // 10)))
