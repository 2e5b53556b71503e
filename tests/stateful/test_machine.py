"""Random legal and illegal calls and jumps in time: the contract does what the model allows and no more.

After every call the balance is stakes + owed + pool and the phase has not gone back; at the end an
outsider and the deadlines alone bring the round to its end. HYPOTHESIS_PROFILE=explore runs for long.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bcfl.protocol import merkle, submissions, verification
from bcfl.protocol.docket import longest_wait_seconds
from bcfl.protocol.election import search
from bcfl.protocol.types import Electorate, Engine, Mode, Opening, Phase, Update, Verdict
from testkit.harness import TERMS, Account, Federation, account, digest
from testkit.ledgers import CHOSEN
from tests.stateful.challengers import Challengers
from tests.stateful.contents import RIGHT, Contents, genesis, update_root
from tests.stateful.docket import Docket
from tests.stateful.invariants import NOBODY, Invariants
from tests.stateful.members import STAKE, people_indices
from tests.stateful.seats import NEVER

CAP = 5  # the last argument of a tally

CAMPAIGN = os.environ.get("HYPOTHESIS_PROFILE") == "explore"
SHORT = replace(
    TERMS, min_stake=STAKE, vote_penalty=STAKE // 5, leader_penalty=STAKE // 5, reward=5_000,
    absence_penalty=200, max_updates=5, grace=7,
    min_updates=2, max_samples=1000, exit_rounds=1, pow_target=2**255, challenge_seconds=20,
    challenge_bond=STAKE // 10, commit_seconds=60, reveal_seconds=60, vote_seconds=60,
    unveil_seconds=60, tally_seconds=60, elect_seconds=60, propose_seconds=10, attest_seconds=60,
    answer_seconds=10, parameters=40, leaf_lanes=16, exit_seconds=600, absence_seconds=1_400,
)  # fmt: skip
masks = st.integers(0, 7)
wishes = st.sampled_from([None, None, *Engine])


class Machine(Challengers, Invariants, RuleBasedStateMachine):
    """Miners 0 to 2, of whom 0 is device 0 too, devices 0 to 3, a late miner and a late device."""

    engine, mode = Engine.STAKE, Mode.PARTIAL
    wish: Engine | None = None
    ledger = CHOSEN  # the kind of it

    @initialize(stakes=st.lists(st.integers(1, 4), min_size=3, max_size=3), phases=st.integers(-1, 14))
    def begin(self, stakes: list[int], phases: int) -> None:
        terms = replace(SHORT, engine=self.engine, mode=self.mode, committee_size=2)
        root = merkle.root(genesis(terms), terms.leaf_lanes)
        stakes_wei = tuple(STAKE * n for n in stakes)
        self.f = Federation(4, 3, terms, stakes_wei, pool=12_000, genesis=root, kind=self.ledger)
        self.contents, self.crooks, self.kind = Contents(self.f), set(), RIGHT
        self.sealed, self.contests, self.ends = [], {}, Counter()
        self.f.device_keys[0] = self.f.miner_keys[0]
        if self.mode is Mode.FULL:
            self.f.miner_keys[:] = self.f.device_keys[:3]
        self.model = Docket(terms, self.f.owner.address, 12_000, engine=self.engine, following=self.engine)
        self.model.deployed = self.f.clock.opened
        self.last = (0, 0, 0)
        self.claims_paid: set[tuple[str, str, int]] = set()
        self.ashes = self.f.balance(NOBODY)
        self.act("register_devices", self.f.owner, [key.address for key in self.f.device_keys])
        for key, stake in zip(self.f.miner_keys, self.f.stakes, strict=True):
            self.join(key, "register_miner", stake)
        self.f.miner_keys.append(account("late", 0))
        self.people = [
            *self.f.miner_keys,
            *self.f.device_keys[1:],
            self.f.outsider,
            account("late", 1),
            self.f.owner,
        ]
        if phases >= 0:
            self.start(9)
            self.play(phases, set(), False)

    # The round, by anybody at any time.

    def batch(self, devices: Sequence[int], samples: int = 50, seconds: int = 0) -> list[Update]:
        number = self.model.round
        changes = {"samples": samples, "microseconds": seconds * 1_000_000}
        members = [device for device in devices if device < len(self.f.device_keys)]
        roots = {device: update_root(self.f.terms, number, device) for device in members}
        return [self.f.update(device, number, root=roots[device], **changes) for device in members]

    @rule(
        caller=people_indices,
        devices=st.lists(st.integers(0, 4), max_size=3),
        samples=st.sampled_from([1, 50, 50, 1001]),
        seconds=st.sampled_from([0, 0, 0, 500]),
    )
    def commit(self, caller: int, devices: list[int], samples: int, seconds: int) -> None:
        self.commit_batch(self.people[caller], self.batch(devices, samples, seconds))

    def commit_batch(self, key: Account, batch: list[Update]) -> None:
        effect = self.model.commit(self.now, key.address, batch)
        self.judge(effect, key, "commit", submissions.batch_digest(map(self.f.commitment, batch)))

    @rule(
        caller=people_indices,
        submitter=people_indices,
        mask=masks,
        is_forged=st.sampled_from([False, False, False, True]),
    )
    def reveal(self, caller: int, submitter: int, mask: int, is_forged: bool) -> None:
        owner = self.people[submitter].address
        batch = list(self.model.batches.get(owner) or self.model.lone.get(owner) or [])
        if is_forged:
            batch = [replace(update, salt=update.salt ^ 1) for update in batch]
        self.reveal_batch(self.people[caller], owner, batch, mask & (1 << len(batch)) - 1)

    def reveal_batch(self, key: Account, submitter: str, batch: list[Update], mask: int) -> None:
        effect = self.model.reveal(self.now, key.address, submitter, batch, mask)
        self.judge(effect, key, "reveal", submitter, *self.f.reveal_args(batch, mask))

    def opening(self, key: Account, bits: int, wish: Engine | None = None) -> Opening:
        count = len(self.model.revealed)
        verdicts = tuple(Verdict.ACCEPTED if bits >> place & 1 else Verdict.TIME for place in range(count))
        salt = digest("vote", key.address, self.model.round)
        return Opening(self.model.round, key.address, verdicts, salt, wish)

    @rule(caller=people_indices, bits=st.integers(0, 31), wish=wishes)
    def commit_vote(self, caller: int, bits: int, wish: Engine | None) -> None:
        key = self.people[caller]
        opening = self.opening(key, bits, wish)
        digest_ = self.f.vote_digest(opening) if self.model.round else digest("none")
        effect = self.model.commit_vote(self.now, key.address, opening)
        self.judge(effect, key, "commit_vote", digest_)

    @rule(caller=people_indices, other=st.booleans())
    def unveil(self, caller: int, other: bool) -> None:
        key = self.people[caller]
        opening = self.model.votes.get(key.address, self.opening(key, 3))
        if other:
            opening = replace(opening, salt=digest("other"))
        self.judge(
            self.model.unveil(self.now, opening), self.f.outsider, "unveil", *self.f.unveil_args(opening)
        )

    @rule(caller=people_indices)
    def tally(self, caller: int) -> None:
        number, is_tally = self.model.round, self.phase is Phase.TALLY
        votes = self.f.votes() if is_tally else []
        args = self.f.tally_args(votes) if is_tally else [[], [], [], [], [], 0]
        current = self.f.history().current
        electorate = Electorate(0) if current is None else current.electorate
        words = self.f.words() if votes else []
        twin = verification.tally(words, votes, electorate)
        effect = self.model.tally(self.now, sum(twin.accepted))
        if self.judge(effect, self.people[caller], "tally", *args):
            self.f.tallies[number] = twin

    @precondition(lambda self: self.phase is Phase.TALLY and self.model.due(self.now).acted)
    @rule(part=st.integers(0, CAP))
    def miscount(self, part: int) -> None:
        args = self.f.tally_args()
        if part == CAP:
            args[CAP] = args[CAP] + 1  # type: ignore[operator]
        else:
            words: list[object] = list(args[part])  # type: ignore[call-overload]
            args[part] = words[:-1] if part % 2 else [*words, words[-1]]
        self.judge(None, self.f.outsider, "tally", *args)

    @rule(caller=people_indices, proven=st.booleans())
    def solve(self, caller: int, proven: bool) -> None:
        call, key = self.f.contract.call, self.people[caller]
        seed, target, turn = call("puzzle"), call("target"), call("lead_now")[1]
        nonce = search(seed, turn, key.address, target, 0, 10**5)
        assert nonce is not None
        while (
            not proven
            and search(seed, turn, key.address, target, nonce, 1) is not None
            and target < 2**255 * 1.9
        ):
            nonce += 1
        proven = search(seed, turn, key.address, target, nonce, 1) is not None
        self.judge(self.model.solve(self.now, key.address, proven), key, "solve", nonce)

    @rule(caller=people_indices)
    def advance(self, caller: int) -> None:
        self.judge(self.model.advance(self.now), self.people[caller], "advance")

    # Time, and honest play, so that late phases are reached.

    @rule(seconds=st.sampled_from([1, 6, 7, 20, 59, 61]))
    def wait(self, seconds: int) -> None:
        self.f.wait(seconds)

    @rule(offset=st.sampled_from([-1, 0]))
    def expire(self, offset: int) -> None:
        if self.model.clock.deadline < NEVER:
            self.f.chain.warp(max(self.now, self.model.clock.deadline + offset))

    @precondition(lambda self: self.phase is not Phase.IDLE)
    @rule(absent=st.sampled_from(range(8)), repeats=st.booleans())
    def play_one(self, absent: int, repeats: bool) -> None:
        """Play a phase honestly: all but one act, and perhaps once more than they may."""
        self.play_phase({absent}, repeats)

    @precondition(lambda self: self.phase is not Phase.IDLE)
    @rule(phases=st.integers(1, 8), absent=st.sets(st.integers(0, 3), max_size=2), repeats=st.booleans())
    def play(self, phases: int, absent: set[int], repeats: bool) -> None:
        """The same for some phases; up to two miners are absent."""
        for _ in range(phases):
            self.play_phase(absent, repeats)

    @precondition(lambda self: self.phase is not Phase.IDLE)
    @rule(phases=st.integers(1, 4))
    def sleep(self, phases: int) -> None:
        """Nobody acts; deadlines alone move the round on."""
        for _ in range(phases):
            self.play_phase({0, 1, 2, 3}, False)

    def play_phase(self, absent: set[int], repeats: bool) -> None:
        phase = self.phase
        for place, key in enumerate(self.people[:4]):
            if key in self.miners() and place not in absent and self.phase is phase:
                for _ in range(1 + repeats):
                    self.act_in(phase, place)
        if phase is Phase.COMMIT:
            for place, key in enumerate(self.people[:4]):
                if key.address in self.model.seats and self.model.seats[key.address].exit_round:
                    self.leave(place, "release_stake")
        elif phase is Phase.TALLY:
            self.tally(7)
        elif phase is Phase.ATTEST:
            self.end_contests()
            if self.phase is Phase.ATTEST and self.model.is_supported():
                self.finalize(7, True)  # inside the window, most of the time
                self.expire(0)
                self.skip(7)
                self.finalize(7, True)
        if self.phase is phase:
            self.expire(0)
            self.advance(7)
            self.skip(7)

    def act_in(self, phase: Phase, place: int) -> None:
        """Let one miner act in a phase."""
        key = self.people[place]
        if phase is Phase.COMMIT:
            self.commit_batch(key, self.batch([device for device in range(4) if device % 3 == place % 3]))
        elif phase is Phase.REVEAL:
            batch = self.model.batches[key.address]
            self.reveal_batch(key, key.address, batch, (1 << len(batch)) - 1)
        elif phase is Phase.VOTE:
            self.commit_vote(place, 31, self.wish)
        elif phase is Phase.UNVEIL:
            self.unveil(place, False)
        elif phase is Phase.ELECT:
            self.solve(place, True)
        elif phase is Phase.PROPOSE:
            self.propose(place, self.kind if place in self.crooks else RIGHT)
        elif phase is Phase.ATTEST:
            self.attest_honestly(place)

    # What holds after every call.

    @invariant()
    def the_balance_adds_up(self) -> None:
        balance, stakes, owed, pool = self.snapshot.money
        assert balance == stakes + owed + pool == self.model.balance
        assert stakes == sum(seat.stake for seat in self.model.seats.values())

    @invariant()
    def the_clock_is_the_models_and_never_goes_back(self) -> None:
        clock, model = self.contract_clock, self.model.due(self.now)
        assert (clock.phase, clock.round) == (model.phase, self.model.round)
        assert len(model.acted) == clock.acted.bit_count()
        assert len(model.expected) == clock.expected.bit_count()
        if clock.phase is Phase.IDLE:
            return
        turn = self.model.turn if Phase.ELECT <= clock.phase <= Phase.ATTEST else 0
        place = (clock.round, turn + 100 * (clock.phase is Phase.VOID), int(clock.phase))
        assert place >= self.last
        self.last = place

    def teardown(self) -> None:
        if hasattr(self, "f") and self.model.round:
            number = self.model.round
            for end in self.ends:
                event(end)
            self.end_contests_in_time()
            if self.model.round == number:
                self.f.push()
            assert self.f.clock.round == number + 1
            balance, stakes, owed, pool = self.f.money()
            assert balance == stakes + owed + pool
            accounts = {key.address for key in self.people}
            assert sum(self.f.contract.call("credits", account) for account in accounts) <= owed

    def end_contests_in_time(self) -> None:
        """When the longest wait is over, whatever is held against the proposal can be ended at once."""
        if self.model.clock.phase is Phase.ATTEST:
            wait = max(longest_wait_seconds(self.f.terms), self.f.terms.attest_seconds)
            self.f.chain.warp(max(self.now, self.model.proposed + wait))
            for number, dispute in list(self.model.disputes.items()):
                if dispute.name == self.model.name:
                    self.end_dispute(number)
            if self.phase is Phase.ATTEST:
                assert not self.model.waits(self.now)
                self.finalize(7, True)
                self.skip(7)
                assert self.model.clock.phase is not Phase.ATTEST


class PowMachine(Machine):
    """The same with proof of work."""

    engine = Engine.POW


class CommitteeMachine(Machine):
    """The same with a committee of two."""

    engine = Engine.COMMITTEE


class FullMachine(Machine):
    """The same where all miners are devices and lead by their resources."""

    engine, mode = Engine.RESOURCE, Mode.FULL


class HybridMachine(Machine):
    """The same where the miners choose the engine of the next round."""

    mode = Mode.HYBRID

    @rule(wish=wishes)
    def wish_for(self, wish: Engine | None) -> None:
        """Set what all wish for from now on, where they play honestly."""
        self.wish = wish


SIZE = settings(
    max_examples=400 if CAMPAIGN else 10,
    stateful_step_count=100 if CAMPAIGN else 20,
    deadline=None,
    derandomize=not CAMPAIGN,
    suppress_health_check=list(HealthCheck),
)
Machine.TestCase.settings = SIZE
PowMachine.TestCase.settings = SIZE
CommitteeMachine.TestCase.settings = SIZE
FullMachine.TestCase.settings = SIZE
HybridMachine.TestCase.settings = SIZE
TestTurns = Machine.TestCase
TestRace = PowMachine.TestCase
TestCommittee = CommitteeMachine.TestCase
TestFull = FullMachine.TestCase
TestHybrid = HybridMachine.TestCase
