"""Compile and deploy contracts for tests: mocks of the modules, and the sources of what is deployed."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from bcfl.ledger.contract import Contract
from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.protocol.types import Terms
from testkit.accounts import Account, account
from testkit.terms import TERMS

if TYPE_CHECKING:
    from vyper.compiler.phases import CompilerData

CONTRACTS = Path(__file__).parents[1] / "contracts"


@cache
def compiled(path: str) -> CompilerData:
    """Compile a contract below contracts/."""
    from vyper.compiler.input_bundle import FilesystemInputBundle
    from vyper.compiler.phases import CompilerData

    bundle = FilesystemInputBundle([CONTRACTS])
    return CompilerData(bundle.load_file(Path(path)), bundle)


def put(chain: EmbeddedChain, sender: Account, path: str, *args: object, value: int = 0) -> Contract:
    """Compile a contract below contracts/ and deploy it."""
    from vyper.compiler.output import build_abi_output

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = compiled(path)
        abi, bytecode = build_abi_output(data), data.bytecode
    return Contract.deploy(chain, sender, abi, bytecode, args, value)[0]


def mock(name: str, terms: Terms = TERMS) -> tuple[Contract, Account]:
    """Deploy a mock on a chain of its own; return it and its deployer."""
    owner = account("owner")
    chain = EmbeddedChain(None, accounts=[owner.address])
    return put(chain, owner, f"mocks/{name}.vy", terms), owner
