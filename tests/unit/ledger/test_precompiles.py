"""Curves cost a command nothing, and answer a contract that calls them."""

from __future__ import annotations

import subprocess
import sys
import textwrap

CODE = """
import sys
from bcfl.ledger.devnet.embedded import EmbeddedChain

chain = EmbeddedChain(None, accounts=["0x" + "11" * 20])
unused = {"py_ecc.optimized_bls12_381", "py_ecc.optimized_bn128", "Crypto", "pycparser"}
assert not unused & sys.modules.keys(), "they are loaded with the chain"

def call(address, data):
    return chain.request("eth_call", {"to": "0x" + address.rjust(40, "0"), "input": "0x" + data})

x = "17f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb"
y = "08b3f481e3aaa0f1a09e30ed741d8ae4fcf5e095d5d00af600db18cb2c04b3edd03cc744a2888ae40caa232946c5e7e1"
point = x.rjust(128, "0") + y.rjust(128, "0")
for _ in range(2):
    assert call("0b", point + "0" * 256) == "0x" + point, "a point and nothing is the point"
assert "py_ecc.optimized_bls12_381" in sys.modules
point = "1".rjust(64, "0") + "2".rjust(64, "0")
for _ in range(2):
    double = call("06", point + point)
    assert call("06", point + "0" * 128) == "0x" + point, "a point and nothing is the point"
    assert call("07", point + "2".rjust(64, "0")) == double, "twice a point is the point and itself"
    assert call("08", "") == "0x" + "1".rjust(64, "0"), "no pairs are paired"
"""


def test_the_curves_are_loaded_when_a_contract_calls_them() -> None:
    """EIP-2537 and EIP-196: sums with the point at infinity, at 0x0b and 0x06; the product at 0x07."""
    command = [sys.executable, "-c", textwrap.dedent(CODE)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr


def test_a_curve_costs_the_gas_that_istanbul_gave_it() -> None:
    """EIP-1108: 150 for a sum, 6,000 for a product."""
    from eth.vm.forks.prague.computation import PragueComputation
    from eth.vm.message import Message
    from eth_typing import Address

    from bcfl.ledger.devnet.database import Database
    from bcfl.ledger.devnet.evm import Evm, genesis
    from bcfl.ledger.devnet.programs import QuickComputation

    evm = genesis(Evm, Database(None), [Address(b"\1" * 20)], 1_700_000_000)
    for number, price in ((6, 150), (7, 6_000), (8, 45_000)):
        for kind in (PragueComputation, QuickComputation):
            state = evm.get_vm(evm.header).state
            to = Address(number.to_bytes(20, "big"))
            context = state.get_transaction_context_class()(gas_price=0, origin=to)
            call = Message(gas=10**6, to=to, sender=to, value=0, data=b"", code=b"")
            assert kind.apply_message(state, call, context).get_gas_used() == price
