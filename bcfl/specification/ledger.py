"""Give the roles the ledger port on the specification, with transactions that are cut as on any chain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bcfl.ledger.federation import FederationLedger
from bcfl.ports import ContractCall
from bcfl.protocol.accounts import Account
from bcfl.protocol.limits import MAX_CALLS, MULTICALL_BYTES
from bcfl.specification.call import Invocation
from bcfl.specification.contract import Specification

Group = list[tuple[ContractCall, Invocation]]  # calls of one transaction, with their arguments in form


class SpecificationLedger(FederationLedger):
    """The ledger port on the specification: the same transactions as on a chain, without their bytes.

    The gas of everything is 0.
    """

    contract: Specification

    def __init__(self, contract: Specification, from_block: int = 0) -> None:
        super().__init__(contract, from_block)

    def send(self, account: Account, calls: Sequence[ContractCall]) -> int:
        """Make calls in as few transactions as their size allows; returns 0."""
        for group in self._groups(calls):
            if len(group) == 1:
                call, invocation = group[0]
                self.contract.send(account, call.function, *invocation.args, value=call.value)
            else:
                self.contract.send_together(account, [item for _, item in group], _optional(group))
        return 0

    def price(self, account: Account, calls: Sequence[ContractCall]) -> int:
        """Return 0; raises Reverted where a call would fail."""
        for group in self._groups(calls):
            self.contract.try_together(account, [item for _, item in group], _optional(group))
        return 0

    def _groups(self, calls: Sequence[ContractCall]) -> Iterator[Group]:
        """Yield the calls of each transaction, cut where one is full, as `FederationLedger` cuts them."""
        group: Group = []
        total = 0
        for call in calls:
            invocation = self.contract.invocation(call.function, *call.args)
            size = self.contract.size(invocation)
            has_ether = call.value or (group and group[-1][0].value)
            if group and (has_ether or total + size > MULTICALL_BYTES or len(group) == MAX_CALLS):
                yield group
                group, total = [], 0
            group.append((call, invocation))
            total += size
        if group:
            yield group


def _optional(group: Group) -> int:
    """Return the mask of the calls that may fail; a call alone may not."""
    if len(group) == 1:
        return 0
    return sum(1 << place for place, (call, _) in enumerate(group) if call.optional)
