"""Deploy a federation for a test: the bytecode on the embedded chain, or the specification without an EVM.

`BCFL_LEDGER=specification` in the environment chooses the second; a test may choose for itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

from bcfl.ledger.artifact import deploy
from bcfl.ledger.contract import Contract, Key, Receipt
from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.ledger.federation import FederationLedger
from bcfl.protocol.types import Terms
from bcfl.specification.chain import VirtualChain
from bcfl.specification.contract import Specification
from bcfl.specification.ledger import SpecificationLedger

BYTECODE: Final = "bytecode"
SPECIFICATION: Final = "specification"
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
    chain = EmbeddedChain(None, accounts=sorted(accounts))
    contract, receipts = deploy(chain, owner, terms, root, cid, pool)
    return chain, contract, receipts, FederationLedger(contract)
