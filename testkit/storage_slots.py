"""Read and write a contract's storage: any round, proposal and tally, without playing up to them."""

from __future__ import annotations

from typing import Any

from eth_utils.address import to_canonical_address

from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.protocol.hashing import keccak, word
from testkit.mocks import compiled


class StorageSlots:
    """The slots of the contract at an address, by `module.variable`."""

    def __init__(self, chain: EmbeddedChain, address: str, source: str = "Federation.vy") -> None:
        self.evm, self.address = chain._evm, to_canonical_address(address)
        layout = compiled(source).storage_layout["storage_layout"]
        self.slots = dict(_slots("", layout.get("state", layout)))

    def snapshot(self) -> bytes:
        """Return the state's root, for `restore`."""
        return bytes(self.evm.header.state_root)

    def restore(self, root: bytes) -> None:
        """Go back to the state with this root."""
        self.evm.header = self.evm.header.copy(state_root=root)

    def get(self, name: str, key: int | None = None) -> int:
        """Return the value of a variable, or of a map at a key."""
        state = self.evm.get_vm(self.evm.header).state
        return int(state.get_storage(self.address, self._slot(name, key)))

    def read(self, *names: tuple[str, int | None]) -> list[int]:
        """Return the values of several variables and entries at once."""
        state = self.evm.get_vm(self.evm.header).state
        return [int(state.get_storage(self.address, self._slot(name, key))) for name, key in names]

    def balances(self, *addresses: str) -> list[int]:
        """Return what accounts have, in wei."""
        state = self.evm.get_vm(self.evm.header).state
        return [int(state.get_balance(to_canonical_address(address))) for address in addresses]

    def put(self, *values: tuple[str, int | None, int]) -> None:
        """Write variables (name, None, value) and entries of maps (name, key, value)."""
        state = self.evm.get_vm(self.evm.header).state
        for name, key, value in values:
            state.set_storage(self.address, self._slot(name, key), value)
        state.persist()
        self.evm.header = self.evm.header.copy(state_root=state.state_root)

    def put_balance(self, address: str, wei: int) -> None:
        """Give any account so many wei."""
        state = self.evm.get_vm(self.evm.header).state
        state.set_balance(to_canonical_address(address), wei)
        state.persist()
        self.evm.header = self.evm.header.copy(state_root=state.state_root)

    def put_field(self, name: str, key: int, place: int, value: int) -> None:
        """Write one word of the struct that a map has at a key."""
        state = self.evm.get_vm(self.evm.header).state
        state.set_storage(self.address, self._slot(name, key) + place, value)
        state.persist()
        self.evm.header = self.evm.header.copy(state_root=state.state_root)

    def _slot(self, name: str, key: int | None) -> int:
        slot = self.slots[name]
        return slot if key is None else int.from_bytes(keccak(word(slot) + word(key)), "big")


def _slots(prefix: str, layout: dict[str, Any]) -> Any:
    for name, entry in layout.items():
        if "slot" in entry:
            yield prefix + name, entry["slot"]
        else:
            yield from _slots(f"{name}.", entry)
