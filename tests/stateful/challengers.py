"""Play what is held against a proposal: announced challenges, and disputes with all their moves."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from bcfl.protocol import disputes, merkle
from bcfl.protocol.challenges import Challenge, ChallengeContext, Trees, WeightsChallenge
from bcfl.protocol.disputes import State
from bcfl.protocol.docket import MIN_SALT, seal
from bcfl.protocol.evidence import Evidence, Vectors
from bcfl.protocol.types import Phase
from testkit.forged_proposals import hostile_challenge
from testkit.harness import Account, digest
from tests.stateful.contents import lanes, proposal
from tests.stateful.docket import OpenDispute
from tests.stateful.leaders import Leaders, kinds
from tests.stateful.members import people_indices

seeds = st.integers(0, 50)
trees = st.sampled_from(Trees)
ROUND_PHASES = 12  # more than there are before a proposal


@dataclass
class Sealed:
    """Hold an announced challenge."""

    key: Account
    challenge: Challenge
    salt: int
    sealed: bytes


@dataclass
class Contest:
    """Hold a dispute as somebody who can answer it sees it."""

    key: Account
    evidence: Evidence
    tree: merkle.Tree
    source: Any
    nodes: tuple[bytes, ...] = ()


class Challengers(Leaders):
    """Play a machine's calls against proposals."""

    sealed: list[Sealed]
    contests: dict[int, Contest]
    ends: Counter[str]  # what the contests came to

    # Challenges.

    def challenge_of(self, evidence: Evidence, seed: int) -> Challenge:
        """Build a challenge of what is wrong, or of a right place."""
        challenge = evidence.find()
        if challenge is None:
            challenge = hostile_challenge(Random(seed), evidence)
        elif seed % 4 == 0:
            challenge = self.weights_challenge(evidence)
        return challenge

    def weights_challenge(self, evidence: Evidence) -> WeightsChallenge:
        words = tuple(evidence.words)
        return WeightsChallenge(evidence.candidate, evidence.tally, words, evidence.samples)

    @rule(caller=people_indices, seed=seeds, change=st.sampled_from([0, 0, 0, 1, -1]))
    def announce(self, caller: int, seed: int, change: int = 0) -> None:
        """Announce a challenge with its bond, or another one; without a proposal, of nothing."""
        key, evidence, salt = self.people[caller], self.standing, MIN_SALT + seed
        bond = self.f.terms.challenge_bond + change
        if evidence is None:
            self.judge(None, key, "announce_challenge", digest("sealed"), value=bond)
            return
        challenge = self.challenge_of(evidence, seed)
        sealed = seal(challenge, key.address, self.model.content, salt)
        effect = self.model.announce_challenge(self.now, key.address, sealed, bond)
        if self.judge(effect, key, "announce_challenge", sealed, value=bond):
            self.sealed.append(Sealed(key, challenge, salt, sealed))

    @precondition(lambda self: self.sealed)
    @rule(thief=st.sampled_from([None, None, 3, 7]), index=st.integers(0, 3))
    def open(self, thief: int | None, index: int = 0) -> None:
        """Open one of the last announcements; a thief reads it where it waits, and sends the same."""
        item = self.sealed[-1 - index % len(self.sealed)]
        key = item.key if thief is None else self.people[thief]
        context = self.context(item.challenge)
        effect = self.model.open_challenge(self.now, key.address, item.challenge, item.salt, context)
        function, args = item.challenge.call(item.salt)
        if self.judge(effect, key, function, *args):
            self.note("challenge", function)

    def context(self, challenge: Challenge) -> ChallengeContext:
        """Return what the contract knows now, or of another proposal where none stands."""
        if self.standing is not None:
            return self.standing.context
        digest_ = challenge.candidate.digest(0, b"")
        return next(e.context for e in self.contents.evidence.values() if e.context.proposal != digest_)

    def note(self, what: str, function: str) -> None:
        """Count what a contest came to."""
        names = {item.name for item in self.f.receipts[function][-1].events}
        for name in names & {"Refuted", "ChallengeFailed"}:
            self.ends[f"{what}: {name}, {len(self.model.slashed)} slashed, then {self.phase.name}"] += 1

    @precondition(lambda self: self.sealed)
    @rule(index=st.integers(0, 3))
    def settle(self, index: int) -> None:
        item = self.sealed[-1 - index % len(self.sealed)]
        owner = item.key.address
        effect = self.model.settle(self.now, owner, item.sealed)
        if self.judge(effect, self.f.outsider, "settle", owner, item.sealed):
            (ended,) = self.f.receipts["settle"][-1].events
            self.ends[f"settled, bond back: {ended.args['returned']}"] += 1

    # Disputes.

    @precondition(lambda self: self.model.content)
    @rule(caller=people_indices, tree=trees, change=st.sampled_from([0, 0, 0, 1, -1]))
    def dispute(self, caller: int, tree: Trees, change: int = 0) -> None:
        """Dispute the last proposal for its price, or for another one."""
        key, evidence = self.people[caller], self.contents.evidence[self.model.content]
        fee = self.f.chain.fees()[0] // 2
        value = self.model.price(fee) + change
        place = max(i for i, bit in enumerate(evidence.tally.accepted) if bit)
        root, _, rows = proposal(evidence)
        subject = disputes.DisputeSubject(root, rows, {place: evidence.updates[place].root})
        code = tree + place * (tree is Trees.UPDATE)
        number, now, terms = self.model.dispute_count + 1, self.now, self.f.terms
        state = subject.open(terms, number, code, key.address, now)
        effect = self.model.dispute(now, state, evidence.context.proposal, value, fee)
        function, args = "dispute", tuple[object, ...]((root, rows, tree))
        if tree is Trees.UPDATE:
            opening = disputes.update_args(evidence.tally, evidence.words, place, evidence.updates[place])
            function, args = "dispute_update", (evidence.context.accepted, root, rows, *opening)
        if self.judge(effect, key, function, *args, value=value):
            device = evidence.updates[place].device
            vectors = Vectors([lanes(terms, self.model.round, device)], terms.leaf_lanes)
            source = [evidence.model, evidence.rows, vectors][tree]
            leaves = [source.leaf(index) for index in range(evidence.context.leaves)]
            self.contests[number] = Contest(
                key, evidence, merkle.tree_of(leaves, evidence.context.depth), source
            )

    @precondition(lambda self: self.contests)
    @rule(caller=people_indices, is_forged=st.sampled_from([False, False, True]), index=st.integers(0, 2))
    def answer(self, caller: int, is_forged: bool, index: int = 0) -> None:
        """Make the answer that is due in one of the last disputes, or another one."""
        number, contest, state = self.contest(index)
        key, now, terms = self.people[caller], self.now, self.f.terms
        if state.state is State.ROWS:
            c = contest.evidence.candidate
            rows = digest("other") if is_forged else c.rows
            effect = self.model.move(number, lambda s: s.answer_rows(terms, now, c.weights, rows))
            self.judge(effect, key, "answer_rows", number, c.weights, rows)
        elif state.height:
            nodes = self.nodes(contest, state)
            nodes = (digest("other"), *nodes[1:]) if is_forged else nodes
            effect = self.model.move(number, lambda s: s.answer(terms, now, nodes))
            if self.judge(effect, key, "answer", number, nodes):
                contest.nodes = nodes
        else:
            content = bytes(2 if is_forged else 1) + contest.source.leaf(state.index)
            effect = self.model.move(number, lambda s: s.answer_leaf(terms, now, content))
            self.judge(effect, key, "answer_leaf", number, content)

    def nodes(self, contest: Contest, state: disputes.Dispute) -> tuple[bytes, ...]:
        levels = min(state.height, 8)
        level, first = contest.tree.levels[state.height - levels], state.index << levels
        nodes = [level[i : i + 32] for i in range(0, len(level), 32)]
        return tuple(nodes[first : first + state.due_nodes(self.f.terms)])

    def contest(self, index: int) -> tuple[int, Contest, disputes.Dispute]:
        """Return one of the last disputes; where it has ended, as it was opened."""
        number = sorted(self.contests)[-1 - index % len(self.contests)]
        contest, dispute = self.contests[number], self.model.disputes.get(number)
        if dispute is not None:
            return number, contest, dispute.state
        height, owner = contest.evidence.context.depth, contest.key.address
        return (
            number,
            contest,
            disputes.Dispute(number, owner, Trees.MODEL, State.ANSWER, height, 0, b"", 0, 0, 0),
        )

    @precondition(lambda self: self.contests)
    @rule(child=st.integers(0, 3), is_stranger=st.sampled_from([False, False, True]), index=st.integers(0, 2))
    def pursue(self, child: int, is_stranger: bool, index: int = 0) -> None:
        number, contest, state = self.contest(index)
        key = self.f.outsider if is_stranger else contest.key
        nodes = contest.nodes or (digest("none"),)
        place, height = min(child, len(nodes) - 1), state.height - state.levels
        proof = merkle.siblings(b"".join(nodes), place, height, height + state.levels)
        fields = child, nodes[place], list(proof)
        effect = self.model.move(number, lambda s: s.pursue(self.f.terms, key.address, self.now, *fields))
        self.judge(effect, key, "pursue", number, *fields)

    @precondition(lambda self: self.contests)
    @rule(seed=seeds, is_stranger=st.sampled_from([False, False, True]), index=st.integers(0, 2))
    def rule_in(self, seed: int, is_stranger: bool, index: int = 0) -> None:
        """Rule in a dispute: by what is wrong, or by a right place of the leaf that was shown."""
        number, contest, state = self.contest(index)
        key, evidence = self.f.outsider if is_stranger else contest.key, contest.evidence
        challenge = self.challenge_of(evidence, seed)
        if evidence.find() is None and seed % 2:
            challenge = evidence.sum_challenge(min(state.index, evidence.context.leaves - 1), seed % 16)
        context = self.context(challenge)
        effect = self.model.rule(self.now, key.address, number, challenge, context)
        function, args = challenge.call(number)
        if self.judge(effect, key, function, *args):
            self.note("ruling", function)

    @precondition(lambda self: self.contests)
    @rule(index=st.integers(0, 2))
    def expire_dispute(self, index: int = 0) -> None:
        number, *_ = self.contest(index)
        self.end_dispute(number)

    def end_dispute(self, number: int) -> None:
        dispute = self.model.disputes.get(number)
        if self.judge(
            self.model.expire(self.now, number), self.f.outsider, "expire", number, *self.skip_args()
        ):
            assert dispute is not None
            self.note("silence", "expire")
            names = [item.name for item in self.f.receipts["expire"][-1].events]
            if "Refuted" not in names:
                (ended,) = self.f.receipts["expire"][-1].events
                state = dispute.state
                where = f"{state.tree.name}, {state.state.name}"
                self.ends[f"dispute of {where} ended, bond back: {ended.args['returned']}"] += 1

    # Whole contests, so that each end is reached.

    @precondition(lambda self: self.phase is Phase.ATTEST)
    @rule(caller=people_indices, seed=seeds, thief=st.sampled_from([None, 3]))
    def challenge(self, caller: int, seed: int, thief: int | None) -> None:
        """Announce, wait and open; perhaps a thief announces the same in vain."""
        self.announce(caller, seed)
        if thief is not None:
            self.announce(thief, seed)
        self.f.wait(self.f.terms.challenge_seconds // 4)
        if self.sealed:
            self.open(thief, 0)
            self.open(None, len(self.sealed) > 1 and thief is not None)

    @precondition(lambda self: self.phase is Phase.ATTEST)
    @rule(caller=people_indices, tree=trees, answers=st.integers(0, 5), child=st.integers(0, 2), seed=seeds)
    def argue(self, caller: int, tree: Trees, answers: int, child: int, seed: int) -> None:
        """Dispute; after so many moves one side is silent, else the challenger rules."""
        count = self.model.dispute_count
        self.dispute(caller, tree)
        number = self.model.dispute_count
        if number == count:
            return
        for _ in range(answers):
            dispute = self.model.disputes.get(number)
            if dispute is None:
                return
            self.move_on(dispute, child, seed)
        if number in self.model.disputes:
            self.wait_out(number)

    def wait_out(self, number: int) -> None:
        """Let the time run out in which a dispute can go on; meanwhile it cannot be ended."""
        state = self.model.disputes[number].state
        for time in (state.deadline - 2, state.deadline, self.model.end_time(state)):
            self.f.chain.warp(max(self.now, time))
            self.end_dispute(number)
            if number not in self.model.disputes:
                return

    def move_on(self, dispute: OpenDispute, child: int, seed: int) -> None:
        if dispute.state.is_answerable:
            self.answer(seed % 4, False)
        elif dispute.state.state is State.PICK:
            self.pursue(child, False)
        else:
            self.rule_in(seed, False)

    @precondition(lambda self: self.phase is not Phase.IDLE)
    @rule(
        crooks=st.sampled_from([set(), {0}, {0, 1}, {0, 1, 2, 3}]), kind=kinds, caller=people_indices,
        seed=seeds, tree=trees, answers=st.integers(0, 5), is_argued=st.booleans(),
    )  # fmt: skip
    def contest_round(
        self, crooks: set[int], kind: int, caller: int, seed: int, tree: Trees, answers: int, is_argued: bool
    ) -> None:
        """Play until a proposal stands, perhaps a wrong one that some attest, and contest it."""
        self.play_to_proposal(crooks, kind)
        if self.phase is Phase.ATTEST:
            for place in crooks:
                self.attest(place, True)
            if is_argued:
                self.argue(caller, tree, answers, 0, seed)
            else:
                self.challenge(caller, seed, None)

    def play_to_proposal(self, crooks: set[int], kind: int) -> None:
        self.corrupt(crooks, kind)
        for _ in range(ROUND_PHASES):
            if self.phase is not Phase.ATTEST:
                self.play_phase(set(), False)

    def play_phase(self, absent: set[int], repeats: bool) -> None:
        raise NotImplementedError

    def end_contests(self) -> None:
        """Let the time of everything run out that the proposal waits for."""
        while self.model.clock.phase is Phase.ATTEST and self.model.waits(self.now):
            numbers = [n for n, dispute in self.model.disputes.items() if dispute.name == self.model.name]
            if numbers:
                self.wait_out(numbers[0])
            else:
                self.f.chain.warp(max(self.now, self.model.pending))
