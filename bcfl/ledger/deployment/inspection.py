"""Whether the contract at an address is a federation of this version (step 1, initialization).

Three things are compared: the transaction that created it with what this version deploys, and the code of the
federation, of its annex and of its court with what this version's constructors return for the same sender,
chain, addresses and terms, bit for bit. The constructors run here, so no node is believed about that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from eth_utils.address import to_canonical_address

from bcfl.errors import LedgerError, Unreachable
from bcfl.ledger.abi import Abi, address_of
from bcfl.ledger.artifact import artifact, creation, federation_at
from bcfl.ledger.chain import Chain
from bcfl.ledger.contract import Contract, Event
from bcfl.ledger.deployment.deployments import code_at
from bcfl.protocol.types import Terms

CREATION_GAS: Final = 2**26  # more than any constructor takes


@dataclass(frozen=True)
class Federation:
    """A federation that has been found to be this version's."""

    address: str
    annex: str
    court: str
    owner: str
    terms: Terms
    root: bytes  # of the genesis model
    cid: bytes
    block: int
    transaction: bytes
    sources_sha256: str


def inspect(chain: Chain, address: str) -> Federation:
    """Look at the contract at `address`; raises LedgerError, which says what differs, unless it is ours."""
    code = code_at(chain, address)
    contract = federation_at(chain, address)
    try:
        annex, court = (address_of(contract.call(name)) for name in ("annex", "court"))
        terms = Terms(*contract.call("agreed"))
        genesis = _genesis(contract)
    except Unreachable:
        raise
    except LedgerError:
        raise _stranger(address, "it does not answer as a federation") from None
    arguments = [terms, genesis.args["root"], genesis.args["cid"], annex]
    owner = _creator(chain, contract, genesis.transaction, arguments)
    expected = _codes(chain.chain_id, owner, contract.address, court, arguments)
    codes = {"Federation": code, "Annex": code_at(chain, annex), "Court": code_at(chain, court)}
    for part, found in codes.items():
        if found != expected[part]:
            raise _stranger(address, f"the code of its {part} differs")
    return Federation(
        contract.address,
        annex,
        court,
        owner,
        terms,
        genesis.args["root"],
        genesis.args["cid"],
        genesis.block,
        genesis.transaction,
        artifact()["sources_sha256"],
    )


def _stranger(address: str, why: str) -> LedgerError:
    sources = artifact()["sources_sha256"][:12]
    return LedgerError(
        f"{address} is not a federation of this version of bcfl (sources {sources}): {why}; "
        "use the version that deployed it, or do not trust it"
    )


def _genesis(contract: Contract) -> Event:
    """The event of the contract's constructor; raises LedgerError."""
    event = next(contract.events(_born(contract), name="Genesis"), None)
    if event is None:
        raise LedgerError("no genesis")
    return event


def _born(contract: Contract) -> int:
    """The block from which on there is code, by bisection; 0 where the node does not know old states."""
    first, last = 0, int(contract.chain.request("eth_blockNumber"), 16)
    try:
        while first < last:
            middle = (first + last) // 2
            code = contract.chain.request("eth_getCode", contract.address, hex(middle))
            first, last = (first, middle) if code != "0x" else (middle + 1, last)
    except Unreachable:
        raise
    except LedgerError:
        return 0
    return first


def _creator(chain: Chain, contract: Contract, transaction_hash: bytes, arguments: Sequence[Any]) -> str:
    """Who created the contract, by a transaction that is just what this version sends; raises LedgerError."""
    name = "0x" + transaction_hash.hex()
    transaction = chain.request("eth_getTransactionByHash", name)
    receipt = chain.request("eth_getTransactionReceipt", name)
    created = (receipt or {}).get("contractAddress")
    if (
        not transaction
        or not created
        or address_of(created) != contract.address
        or transaction["input"] != creation(*arguments)
    ):
        raise _stranger(contract.address, "it was created by another transaction than this version sends")
    return address_of(transaction["from"])


def _codes(chain_id: int, owner: str, address: str, court: str, arguments: Sequence[Any]) -> dict[str, bytes]:
    """What the constructors leave at the three addresses, by running them; LedgerError if they refuse."""
    from eth.db.atomic import AtomicDB
    from eth.vm.message import Message
    from eth_typing import Address

    from bcfl.ledger.devnet.evm import BLOCK_GAS, Evm

    class Elsewhere(Evm):
        """The embedded chain, with the number of another."""

    Elsewhere.chain_id = chain_id
    evm = Elsewhere.from_genesis(AtomicDB(), {"gas_limit": BLOCK_GAS, "timestamp": 1}, {})
    state = evm.get_vm().state
    sender = to_canonical_address(owner)
    context = state.get_transaction_context_class()(gas_price=0, origin=sender)
    content, codes = artifact(), {}
    for part, abi, at, values in (
        ("Court", "court_abi", court, arguments[:1]),
        ("Annex", "annex_abi", arguments[3], [arguments[0], court]),
        ("Federation", "abi", address, arguments),
    ):
        creation = bytes.fromhex(content["bytecode"][part][2:]) + Abi(content[abi]).constructor(values)
        message = Message(
            gas=CREATION_GAS,
            to=Address(b""),
            sender=sender,
            value=0,
            data=b"",
            code=creation,
            create_address=to_canonical_address(at),
        )
        computation = state.computation_class.apply_create_message(state, message, context)
        if computation.is_error:
            raise _stranger(address, f"its terms are none that the {part} of this version accepts")
        codes[part] = computation.output
    return codes
