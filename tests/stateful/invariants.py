"""What holds after every call, whatever the mode and the engine: money, weights, rounds, turns.

Each invariant reads the contract alone, or compares it with what the twin makes of its events.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise

from hypothesis.stateful import invariant

from bcfl.protocol.rewards import block_hash
from bcfl.protocol.rounds import History, Round
from bcfl.protocol.scores import WHOLE, Resources
from bcfl.protocol.turns import UNIT
from bcfl.protocol.types import Clock, Engine, Mode, Phase, Terms
from testkit.harness import Federation


@dataclass
class ContractSnapshot:
    """The contract as it stands, each part read once."""

    f: Federation

    @cached_property
    def money(self) -> tuple[int, int, int, int]:
        return self.f.money()

    @cached_property
    def clock(self) -> Clock:
        return self.f.clock

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
    """A machine's checks; it has a federation `f` once it has begun."""

    f: Federation

    @property
    def snapshot(self) -> ContractSnapshot:
        """The contract after the last call, read once for all checks."""
        block = int(self.f.chain.request("eth_blockNumber"), 16), self.f.chain.now()
        if getattr(self, "_block", None) != block:
            self._block, self._snapshot = block, ContractSnapshot(self.f)
        return self._snapshot

    @property
    def terms(self) -> Terms:
        return self.f.terms

    # Money.

    @invariant()
    def nobody_is_owed_more_than_is_owed(self) -> None:
        people = {key.address for key in (*self.f.miner_keys, *self.f.device_keys, self.f.outsider)}
        assert sum(self.f.contract.call("credits", account) for account in people) <= self.snapshot.money[2]

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
    def what_was_set_aside_is_owed_or_was_paid(self) -> None:
        history = self.snapshot.history
        assert self.snapshot.money[2] <= sum(block.reward for block in history.blocks)

    @invariant()
    def nobody_is_credited_more_than_was_set_aside(self) -> None:
        history = self.snapshot.history
        assert sum(history.credited.values()) <= sum(block.reward for block in history.blocks)

    @invariant()
    def nobody_pays_twice_for_a_round_but_a_leader(self) -> None:
        for round_ in self.snapshot.history.rounds.values():
            payers = [miner for miner, _ in round_.penalties]
            assert len(payers) == len(set(payers))  # a leader had voted, and whoever had not cannot lead

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
        assert self.snapshot.clock.acted & ~self.snapshot.clock.expected == 0

    @invariant()
    def who_is_expected_is_active(self) -> None:
        assert self.snapshot.clock.expected & ~self.snapshot.active[0] == 0

    @invariant()
    def updates_fit_and_no_device_has_two(self) -> None:
        if self.snapshot.current is not None:
            devices = [item.update.device for item in self.snapshot.current.submissions]
            assert len(devices) == len(set(devices)) <= self.terms.max_updates

    @invariant()
    def no_more_attest_than_may(self) -> None:
        if self.snapshot.clock.phase in (Phase.PROPOSE, Phase.ATTEST):
            _, turn, voting, weight, attesters, failures, *_ = self.snapshot.lead
            assert weight <= voting <= max(self.snapshot.active[1], self.terms.committee_size)
            assert attesters & ~self.snapshot.clock.expected == 0
            assert turn == failures.bit_count()

    @invariant()
    def who_leads_is_the_first_in_line_that_has_not_failed(self) -> None:
        current, phase = self.snapshot.current, self.snapshot.clock.phase
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
        credits = self.f.contract.call("turn_credits")
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
            scores = self.f.contract.call("resources", account)
            assert scores == (*asdict(expected).values(), expected.score)
            assert max(scores[:3]) <= WHOLE
