"""Deploy a federation for a test: the bytecode on the embedded chain, the specification, or both.

BCFL_LEDGER in the environment says which; a test may choose for itself. With both, every call is made on
both, and has to come to the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final, cast

from bcfl.ledger.artifact import deploy
from bcfl.ledger.contract import Contract, Key, Receipt
from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.ledger.federation import FederationLedger
from bcfl.protocol.types import Terms
from bcfl.specification.chain import VirtualChain
from bcfl.specification.contract import Specification
from bcfl.specification.ledger import SpecificationLedger
from testkit.flat_chain import FlatChain
from testkit.pair import Pair, pair_of
from testkit.specification_slots import SpecificationSlots
from testkit.storage_slots import StorageSlots

BYTECODE: Final = "bytecode"
SPECIFICATION: Final = "specification"
BOTH: Final = "both"
CHOSEN: Final = os.environ.get("BCFL_LEDGER", BYTECODE)

Parts = tuple[EmbeddedChain | VirtualChain, Contract, tuple[Receipt, ...], FederationLedger]


def deployed(
    kind: str, accounts: Iterable[str], owner: Key, terms: Terms, root: bytes, cid: bytes, pool: int
) -> Parts:
    """Return a chain on which `accounts` are rich, a federation on it, its receipts and its ledger port."""
    if kind == SPECIFICATION:
        virtual = VirtualChain(accounts=accounts)
        specification, receipt = Specification.create(virtual, owner, terms, root, cid, pool)
        return virtual, specification, (receipt,), SpecificationLedger(specification)
    people = sorted(accounts)
    chain = FlatChain(people)
    contract, receipts = deploy(chain, owner, terms, root, cid, pool)
    if kind == BOTH:
        contract = pair_of(contract, owner, terms, root, cid, pool, people)
    return chain, contract, receipts, FederationLedger(contract)


def slots_of(contract: Contract) -> StorageSlots:
    """Return the storage of a federation, whichever ledger it is on."""
    if isinstance(contract, Pair):
        return cast(StorageSlots, contract.slots)
    if isinstance(contract, Specification):
        return cast(StorageSlots, SpecificationSlots(contract.chain))
    return StorageSlots(cast(EmbeddedChain, contract.chain), contract.address)
