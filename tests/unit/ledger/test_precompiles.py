"""The curve BLS12-381 costs a command nothing, and answers a contract that calls it."""

from __future__ import annotations

import subprocess
import sys
import textwrap

CODE = """
import sys
from bcfl.ledger.devnet.embedded import EmbeddedChain

curve = "py_ecc.optimized_bls12_381"
chain = EmbeddedChain(None, accounts=["0x" + "11" * 20])
assert curve not in sys.modules, "it is loaded with the chain"
x = "17f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb"
y = "08b3f481e3aaa0f1a09e30ed741d8ae4fcf5e095d5d00af600db18cb2c04b3edd03cc744a2888ae40caa232946c5e7e1"
point = x.rjust(128, "0") + y.rjust(128, "0")
for _ in range(2):
    call = {"to": "0x" + "0b".rjust(40, "0"), "input": "0x" + point + "0" * 256}
    assert chain.request("eth_call", call) == "0x" + point, "a point and nothing is the point"
assert curve in sys.modules
"""


def test_the_curve_is_loaded_when_a_contract_calls_it() -> None:
    """EIP-2537: the sum of the generator and the point at infinity, by the precompile at 0x0b."""
    command = [sys.executable, "-c", textwrap.dedent(CODE)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
