"""Quick instructions have what py-evm asks of them; `tests/differential/test_flat_chain.py` runs them."""

from __future__ import annotations

from eth.vm.forks.prague.computation import PragueComputation

from bcfl.ledger.devnet.instructions import QuickComputation


def test_a_quick_instruction_has_the_name_that_py_evm_logs() -> None:
    """It does where somebody logs at the lowest level."""
    plain, quick = PragueComputation.opcodes, QuickComputation.opcodes
    replaced = {code for code in plain if quick[code] is not plain[code]}
    assert plain.keys() == quick.keys()
    assert len(replaced) > 60
    assert all(quick[code].mnemonic == plain[code].mnemonic for code in replaced)
