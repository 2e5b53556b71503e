"""How a call is judged, and the calls outside rounds: membership and money."""

from __future__ import annotations

from eth_utils.address import to_checksum_address
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from bcfl.errors import Reverted
from bcfl.protocol.types import Phase
from testkit.harness import Account, Federation
from tests.stateful.docket import Docket
from tests.stateful.registry import Effect

STAKE = 10_000  # the least
people_indices = st.integers(0, 7)
values = st.sampled_from([0, 1, STAKE - 1, STAKE, 3 * STAKE])


class Members:
    """A machine's calls outside rounds; it has a federation, its model and people once it has begun."""

    f: Federation
    model: Docket
    people: list[Account]
    claims_paid: set[tuple[str, str, int]]  # role, earner and round of each claim

    # How a call is judged.

    def judge(self, effect: Effect, sender: Account, function: str, *args: object, value: int = 0) -> bool:
        """Send a call; the contract has to take exactly what the model takes."""
        revert = None
        try:
            self.f.send(sender, function, *args, value=value)
        except Reverted as error:
            revert = error
        assert (revert is None) == (effect is not None), f"{function}: {revert or 'taken'}"
        if effect is None:
            return False
        effect()
        self.model.balance += value
        current = self.f.history().current
        self.model.committee = frozenset() if current is None else frozenset(current.committee)
        self.model.committee_size = 0 if current is None else current.electorate.whole
        if self.model.clock.phase is Phase.PROPOSE and not self.model.leader:
            self.model.leader = self.f.leader().address
        return True

    def act(self, function: str, sender: Account, *args: object) -> bool:
        """Make a call whose arguments the model takes as they are."""
        effect = getattr(self.model, function)(self.now, sender.address, *args)
        return self.judge(effect, sender, function, *args)

    def join(self, sender: Account, function: str, value: int) -> bool:
        effect = getattr(self.model, function)(self.now, sender.address, value)
        return self.judge(effect, sender, function, value=value)

    @property
    def now(self) -> int:
        return self.f.chain.now()

    @property
    def phase(self) -> Phase:
        return self.model.due(self.now).phase

    def miners(self) -> list[Account]:
        return [key for key in self.f.miner_keys if key.address in self.model.due(self.now).expected]

    # Membership and money.

    @rule(caller=st.sampled_from([8, 9]))
    def start(self, caller: int) -> None:
        self.act("start", self.people[caller % len(self.people)])

    @rule(caller=people_indices, value=values, function=st.sampled_from(["register_miner", "top_up"]))
    def stake(self, caller: int, value: int, function: str) -> None:
        self.join(self.people[caller], function, value)

    @rule(caller=people_indices, function=st.sampled_from(["leave_miner", "release_stake"]))
    def leave(self, caller: int, function: str) -> None:
        self.act(function, self.people[caller])

    @rule(caller=people_indices, function=st.sampled_from(["resume", "accept_device"]))
    def consent(self, caller: int, function: str) -> None:
        self.act(function, self.people[caller])

    @rule(miner=st.integers(0, 3))
    def evict(self, miner: int) -> None:
        account = self.people[miner].address
        self.judge(self.model.evict(self.now, account), self.f.outsider, "evict", account)

    @rule(rounds=st.sampled_from([1, 16]))
    def be_suspended_for_long(self, rounds: int) -> None:
        self.f.wait(rounds * self.f.terms.absence_seconds)

    @rule(caller=st.sampled_from([7, 9]), person=st.sampled_from([1, 4, 8]))
    def admit(self, caller: int, person: int) -> None:
        key = self.people[person]
        is_new = key.address not in self.model.devices
        if self.act("register_devices", self.people[caller], [key.address]) and is_new:
            self.f.device_keys.append(key)

    @rule(caller=st.sampled_from([4, 7, 9]), device=st.sampled_from([4, 5, 7, 8]))
    def dismiss(self, caller: int, device: int) -> None:
        self.act("leave_device", self.people[caller], self.people[device].address)

    @rule(value=st.integers(0, 5_000))
    def fund(self, value: int) -> None:
        self.judge(lambda: None, self.f.outsider, "fund", value=value)

    @precondition(lambda self: self.model.blocks)
    @rule(data=st.data(), times=st.integers(1, 2))
    def claim(self, data: st.DataObject, times: int) -> None:
        number = data.draw(st.sampled_from(self.model.blocks))
        tally = self.f.tallies[number]
        devices = [self.f.device_keys[update.device].address for update in self.f.updates(number)]
        miners = ["0x" + f"{voter & 2**160 - 1:040x}" for voter in tally.voters]
        claims = [("device", *item) for item in zip(devices, tally.accepted, strict=True)]
        claims += [("miner", miner, True) for miner in miners]
        index = data.draw(st.sampled_from(range(len(claims))))
        role, earner, is_accepted = claims[index]
        position = index if role == "device" else index - len(devices)
        args = getattr(self.f, f"claim_{role}_args")(number, position)
        for _ in range(times):
            mark = (role, earner.lower(), number)
            effect = (lambda mark=mark: self.claims_paid.add(mark)) if is_accepted else None
            self.judge(effect, self.f.outsider, f"claim_{role}", *args)
        earner = to_checksum_address(earner)
        self.model.credits[earner] = self.f.contract.call("credits", earner)
        if times > 1:
            self.withdraw([key.address for key in self.people].index(earner), times)

    @rule(caller=people_indices, times=st.integers(1, 2))
    def withdraw(self, caller: int, times: int) -> None:
        owner = self.people[caller].address
        for _ in range(times):
            amount = self.model.credits.get(owner, 0)

            def effect(amount: int = amount) -> None:
                self.model.balance -= amount
                self.model.credits[owner] = 0

            self.judge(effect if amount else None, self.f.outsider, "withdraw", owner)
