"""An embedded chain on which py-evm runs every instruction itself, to compare others with."""

from __future__ import annotations

from collections.abc import Sequence

from eth.vm.forks.prague import PragueVM
from eth_typing import BlockNumber
from eth_utils.address import to_canonical_address

from bcfl.ledger.devnet.database import Database
from bcfl.ledger.devnet.embedded import GENESIS_TIME, EmbeddedChain
from bcfl.ledger.devnet.evm import Evm, genesis


class PlainEvm(Evm):
    """py-evm's chain with py-evm's instructions."""

    vm_configuration = ((BlockNumber(0), PragueVM),)


class PlainChain(EmbeddedChain):
    """An embedded chain with py-evm's instructions, in memory, on which `accounts` own ether."""

    def __init__(self, accounts: Sequence[str]) -> None:
        database = Database(None)
        addresses = [to_canonical_address(address) for address in accounts]
        self._opened = database, genesis(PlainEvm, database, addresses, GENESIS_TIME)
        database.commit()
        super().__init__(None, accounts=accounts)
