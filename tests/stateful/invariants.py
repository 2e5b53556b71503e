"""Check what holds after every call, in all modes and engines: money, weights, rounds, turns, contests.

Each invariant reads the contract alone, or compares it with the model or with the twin of its events.
Which promise is checked where; "the model" is what `judge` compares every call with:

- credits of turns are conserved, and nobody leads more than its share: `credits_*`, `who_leads_*`;
- a block belongs to the first author of its content, and no block or update passes without enough weight: the
  model's `propose`, `attest`, `finalize` and `tally`;
- a copied opening is refused, and every bond is paid once: the model's `open_challenge`, `settle`, `expire`,
  with `each_credit_*` and `what_is_owed_*`; all money adds up: `the_balance_adds_up`, `what_is_burnt_*`;
- who keeps the rules loses nothing, nor does a right challenger: `who_pays_*`, `who_voted_pays_*`,
  `each_credit_*`;
- a proposal waits no longer than its bound, however many contests: `a_proposal_waits_*`, and `teardown`;
  a dispute costs what the twin says, and one wei less is refused: the model's `dispute`;
- absence is paid as it is counted, seats are freed when a round opens: the model, `who_has_no_weight_*`;
- outsiders and time end every round, with one block at most: `teardown`, `a_round_has_one_block_at_most`;
- a place that is revealed already is skipped: the model's `reveal`.

Not here: forks, gas, two callers in one block.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise

from hypothesis.stateful import invariant

from bcfl.protocol.docket import longest_wait_seconds
from bcfl.protocol.rewards import block_hash
from bcfl.protocol.rounds import History, Round
from bcfl.protocol.scores import WHOLE, Resources
from bcfl.protocol.turns import UNIT
from bcfl.protocol.types import Clock, Engine, Mode, Phase, Terms
from testkit.harness import Federation
from tests.stateful.docket import Docket

NOBODY = "0x" + "00" * 20


@dataclass
class ContractSnapshot:
    """Read each part of the contract once after a block."""

    f: Federation

    @cached_property
    def money(self) -> tuple[int, int, int, int]:
        return self.f.money()

    @cached_property
    def credits(self) -> dict[str, int]:
        """Return what can be withdrawn, wei by account."""
        keys = (*self.f.miner_keys, *self.f.device_keys, self.f.outsider)
        people = {key.address for key in keys}
        return {account: self.f.contract.call("credits", account) for account in people}

    @cached_property
    def turn_credits(self) -> list[int]:
        return list(self.f.contract.call("turn_credits"))

    @cached_property
    def resources(self) -> dict[str, tuple[int, ...]]:
        return {account: self.f.contract.call("resources", account) for account in self.registered}

    @cached_property
    def ashes(self) -> int:
        return self.f.balance(NOBODY)

    def mask(self, accounts: set[str]) -> int:
        """Return the mask of seats of these miners."""
        return sum(1 << self.miners[account][0] for account in accounts)

    @cached_property
    def history(self) -> History:
        return self.f.history()

    @cached_property
    def lead(self) -> tuple[str, int, int, int, int, int, int, int, bool]:
        fields: tuple[str, int, int, int, int, int, int, int, bool] = self.f.contract.call("lead_now")
        return fields

    @cached_property
    def active(self) -> tuple[int, int]:
        """The mask of active miners, and their weight."""
        mask, weight = self.f.contract.call("active_miners")
        return mask, weight

    @cached_property
    def miners(self) -> dict[str, tuple[int, int, int, bool, int, int]]:
        """Index, weight, stake, whether it is active, round and time of exit of each registered miner."""
        return {account: self.f.contract.call("miner", account) for account in self.registered}

    @property
    def registered(self) -> list[str]:
        return [account for account, member in self.history.miners.items() if member.stake or member.weight]

    @property
    def current(self) -> Round | None:
        return self.history.current


class Invariants:
    """A machine's checks; it has a federation `f` and its model once it has begun."""

    f: Federation
    model: Docket
    ashes: int  # what the zero address held at first

    @property
    def snapshot(self) -> ContractSnapshot:
        """The contract after the last call that it took, read once for all checks."""
        block = int(self.f.chain.request("eth_blockNumber"), 16)
        if getattr(self, "_block", None) != block:
            self._block, self._snapshot = block, ContractSnapshot(self.f)
        return self._snapshot

    @property
    def contract_clock(self) -> Clock:
        """Return the clock now; time alone may change its phase."""
        moment = int(self.f.chain.request("eth_blockNumber"), 16), self.f.chain.now()
        if getattr(self, "_moment", None) != moment:
            self._moment, self._clock = moment, self.f.clock
        return self._clock

    @property
    def terms(self) -> Terms:
        return self.f.terms

    # Money.

    @invariant()
    def each_credit_is_the_models(self) -> None:
        expected = self.model.credits
        assert all(credit == expected.get(account, 0) for account, credit in self.snapshot.credits.items())

    @invariant()
    def what_is_owed_is_credits_bonds_and_unclaimed_rewards(self) -> None:
        history, owed = self.snapshot.history, self.snapshot.money[2]
        known = sum(self.model.credits.values()) + self.model.bonds
        unclaimed = sum(block.reward for block in history.blocks) - sum(history.credited.values())
        assert known <= owed <= known + unclaimed  # less what voters that did not attest would have earned

    @invariant()
    def what_is_burnt_is_what_the_slashed_lost_and_nobody_earned(self) -> None:
        assert self.snapshot.ashes - self.ashes == self.model.burnt

    @invariant()
    def the_stakes_add_up(self) -> None:
        assert self.snapshot.money[1] == sum(member.stake for member in self.snapshot.history.miners.values())

    @invariant()
    def each_stake_is_that_of_its_events(self) -> None:
        members = self.snapshot.history.miners
        assert all(miner[2] == members[account].stake for account, miner in self.snapshot.miners.items())

    @invariant()
    def a_round_pays_no_more_than_its_reward(self) -> None:
        blocks = self.snapshot.history.blocks
        assert all(block.reward <= self.terms.reward for block in blocks)

    @invariant()
    def nobody_is_credited_more_than_was_set_aside(self) -> None:
        history = self.snapshot.history
        assert sum(history.credited.values()) <= sum(block.reward for block in history.blocks)

    @invariant()
    def who_pays_has_broken_a_rule(self) -> None:
        """Check that it was absent, led late, attested what is wrong, or left a dispute unanswered."""
        for number, round_ in self.snapshot.history.rounds.items():
            assert {(number, miner) for miner, _ in round_.penalties} <= self.model.faults

    @invariant()
    def who_voted_pays_for_a_late_lead_and_for_what_is_refuted(self) -> None:
        for round_ in self.snapshot.history.rounds.values():
            refuted = [proposal for proposal in round_.proposals if proposal.refuted]
            accused = Counter(a for p in refuted for a in {p.author, *p.attested})
            voters = {vote.opening.miner for vote in round_.votes}
            late = {election.leader for election in round_.elections}
            for miner, count in Counter(miner for miner, _ in round_.penalties).items():
                assert count <= accused[miner] + (miner not in voters or miner in late)

    @invariant()
    def a_void_round_sets_nothing_aside(self) -> None:
        rounds = self.snapshot.history.rounds.values()
        assert all(round_.block is None for round_ in rounds if round_.void is not None)

    # Weight.

    @invariant()
    def a_weight_is_as_many_stakes_as_fit(self) -> None:
        if self.snapshot.current is not None:
            members = self.snapshot.history.miners
            assert all(m[1] == members[account].weight for account, m in self.snapshot.miners.items() if m[3])

    @invariant()
    def the_weights_add_up(self) -> None:
        assert self.snapshot.active[1] == sum(miner[1] for miner in self.snapshot.miners.values() if miner[3])

    @invariant()
    def who_has_no_weight_has_no_seat(self) -> None:
        seats = sum(1 << miner[0] for miner in self.snapshot.miners.values() if miner[3])
        assert seats == self.snapshot.active[0]
        assert all(miner[1] > 0 for miner in self.snapshot.miners.values() if miner[3])

    @invariant()
    def in_full_mode_every_miner_is_a_device(self) -> None:
        if self.terms.mode == Mode.FULL:
            assert set(self.snapshot.history.miners) <= set(self.snapshot.history.devices)

    # The round.

    @invariant()
    def who_acted_was_expected(self) -> None:
        assert self.contract_clock.acted & ~self.contract_clock.expected == 0

    @invariant()
    def who_is_expected_is_active(self) -> None:
        assert self.contract_clock.expected & ~self.snapshot.active[0] == 0

    @invariant()
    def updates_fit_and_no_device_has_two(self) -> None:
        if self.snapshot.current is not None:
            devices = [item.update.device for item in self.snapshot.current.submissions]
            assert len(devices) == len(set(devices)) <= self.terms.max_updates

    @invariant()
    def no_more_attest_than_may(self) -> None:
        if self.contract_clock.phase in (Phase.PROPOSE, Phase.ATTEST):
            _, turn, voting, weight, attesters, failures, *_ = self.snapshot.lead
            assert weight <= voting <= max(self.snapshot.active[1], self.terms.committee_size)
            assert attesters & ~self.contract_clock.expected == 0
            assert turn <= failures.bit_count()  # a refuted proposal ends the turns of all who attested it

    @invariant()
    def who_leads_is_the_first_in_line_that_has_not_failed(self) -> None:
        current, phase = self.snapshot.current, self.contract_clock.phase
        if current is not None and phase in (Phase.PROPOSE, Phase.ATTEST):
            assert self.snapshot.lead[0] not in current.failed
            line = [voter.account for voter in current.leader_order() if voter.account not in current.failed]
            if line and not current.proposals:
                assert self.snapshot.lead[0] == line[0]

    @invariant()
    def the_ledger_is_a_chain_of_finished_rounds(self) -> None:
        blocks = self.snapshot.history.blocks
        assert all(block.parent == block_hash(parent) for parent, block in pairwise(blocks))
        last = blocks[-1]
        assert self.f.contract.call("ledger", last.round) == block_hash(last)

    @invariant()
    def a_round_has_one_block_at_most(self) -> None:
        numbers = [block.round for block in self.snapshot.history.blocks]
        assert numbers == sorted(set(numbers))
        assert numbers[1:] == self.model.blocks

    # What is held against a proposal.

    @invariant()
    def a_proposal_waits_no_longer_than_its_bound(self) -> None:
        bound = self.model.proposed + longest_wait_seconds(self.terms)
        for dispute in self.model.disputes.values():
            assert not self.model.stands(dispute.name) or self.model.end_time(dispute.state) <= bound
        assert self.model.held != self.model.name or self.model.pending <= bound

    @invariant()
    def disputes_are_where_the_twin_has_them(self) -> None:
        for number, dispute in self.model.disputes.items():
            state, (round_, turn) = dispute.state, dispute.name
            place = state.tree + (state.position or 0), state.state, state.height, state.index, state.node
            times = state.levels, state.due, state.left, state.moved
            fields = self.f.contract.call("dispute_state", number)[:12]
            assert fields == (state.challenger, dispute.bond, round_ << 8 | turn, *place, *times)

    @invariant()
    def who_attests_and_who_was_slashed_is_known(self) -> None:
        if self.contract_clock.phase in (Phase.PROPOSE, Phase.ATTEST):
            _, turn, _, weight, attesters, failures, *_, standing = self.snapshot.lead
            model, mask = self.model, self.snapshot.mask
            assert (turn, standing, failures) == (model.turn, model.standing, mask(model.failed))
            assert (attesters, weight) == (mask(model.attested), model.weigh(model.attested))
            assert model.slashed <= model.failed - model.clock.expected

    # Engines and draws.

    @invariant()
    def the_engine_changes_in_hybrid_mode_alone(self) -> None:
        rounds = self.snapshot.history.rounds.values()
        engines = {round_.engine for round_ in rounds}
        assert self.terms.mode == Mode.HYBRID or engines <= {Engine(self.terms.engine)}
        assert all(round_.block.engine == round_.engine for round_ in rounds if round_.block is not None)

    @invariant()
    def a_committee_is_as_large_as_it_can_be(self) -> None:
        current = self.snapshot.current
        if current is not None:
            assert len(current.committee) <= self.terms.committee_size
            assert not current.committee or current.engine is Engine.COMMITTEE

    @invariant()
    def only_the_committee_votes(self) -> None:
        current = self.snapshot.current
        if current is not None and current.electorate.is_committee:
            assert set(current.vote_commits) <= set(current.committee)

    @invariant()
    def credits_of_turns_are_the_twins(self) -> None:
        credits = self.snapshot.turn_credits
        assert all(credits[seat] == credit for seat, credit in self.snapshot.history.credits.items())

    @invariant()
    def credits_and_leads_add_up_to_what_was_shared_out(self) -> None:
        """Nobody leads more than its share and the lead that it may be behind by."""
        history = self.snapshot.history
        assert all(-2 * UNIT < credit < 2 * UNIT for credit in history.credits.values())

    @invariant()
    def resources_are_the_twins_and_no_share_is_more_than_whole(self) -> None:
        for account in self.snapshot.miners:
            expected = self.snapshot.history.resources.get(account, Resources())
            scores = self.snapshot.resources[account]
            assert scores == (*asdict(expected).values(), expected.score)
            assert max(scores[:3]) <= WHOLE
