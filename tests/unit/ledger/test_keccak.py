"""Which keccak the libraries below the ledger use."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import sys
import bcfl.ledger.devnet.embedded, bcfl.ledger.rpc
from eth_utils import keccak
assert keccak(b"").hex().startswith("c5d2460186f7")
print(*(name for name in ("pycryptodome", "pysha3") if f"eth_hash.backends.{name}" in sys.modules))
"""


@pytest.mark.parametrize(("chosen", "used"), [(None, "pysha3"), ("pycryptodome", "pycryptodome")])
def test_the_ledger_hashes_with_the_quick_one_unless_the_caller_chooses(
    chosen: str | None, used: str
) -> None:
    env = {name: value for name, value in os.environ.items() if name != "ETH_HASH_BACKEND"}
    if chosen is not None:
        env["ETH_HASH_BACKEND"] = chosen
    output = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, check=True, timeout=120
    )
    assert output.stdout.split() == [used]
