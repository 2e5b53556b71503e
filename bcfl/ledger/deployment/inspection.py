"""Check whether the contract at an address is a federation of this version.

The transaction that created it is compared with what this version deploys. The code of the federation and of
each of its facets is compared, bit for bit, with what this version's constructors return for the same sender,
chain, addresses and terms. The constructors run here, so that no node has to be believed about them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from eth_utils.address import to_canonical_address

from bcfl.errors import LedgerError, Unreachable
from bcfl.ledger.abi import Abi, address_of
from bcfl.ledger.artifact import FACETS, artifact, creation, federation_at
from bcfl.ledger.chain import Chain, code_at
from bcfl.ledger.contract import Contract, Event
from bcfl.protocol.limits import BLOCK_GAS
from bcfl.protocol.types import Terms

CREATION_GAS: Final = 2**26  # more than any constructor takes
NAMED: Final = ("SettlementFacet", "MembershipFacet")  # by the federation itself, in this order
ADDRESS_BYTES: Final = 20


@dataclass(frozen=True)
class InspectedFederation:
    """A federation whose contracts are those of this version."""

    address: str
    facets: dict[str, str]  # address by name
    owner: str
    terms: Terms
    root: bytes  # of the genesis model
    cid: bytes
    block: int
    transaction: bytes
    sources_sha256: str


def inspect(chain: Chain, address: str) -> InspectedFederation:
    """Inspect the contract at `address`; raises LedgerError, which says what differs, unless it is ours."""
    code = code_at(chain, address)
    contract = federation_at(chain, address)
    try:
        named = [address_of(address) for address in contract.call("facets")]
        terms = Terms(*contract.call("agreed"))
        genesis = _genesis(contract)
    except Unreachable:
        raise
    except LedgerError:
        raise _foreign_error(address, "it does not answer as a federation") from None
    arguments = [terms, genesis.args["root"], genesis.args["cid"], *named]
    owner = _creator(chain, contract, genesis.transaction, arguments)
    facets = _facets(chain, contract.address, named)
    codes = {name: code_at(chain, facet) for name, facet in facets.items()} | {"Federation": code}
    expected_codes = _codes(chain.chain_id, owner, facets | {"Federation": contract.address}, arguments)
    for part, bytecode in codes.items():
        if bytecode != expected_codes[part]:
            raise _foreign_error(address, f"the code of its {part} differs")
    return InspectedFederation(
        contract.address,
        facets,
        owner,
        terms,
        genesis.args["root"],
        genesis.args["cid"],
        genesis.block,
        genesis.transaction,
        artifact()["sources_sha256"],
    )


def _foreign_error(address: str, reason: str) -> LedgerError:
    sources = artifact()["sources_sha256"][:12]
    return LedgerError(
        f"{address} is not a federation of this version of bcfl (sources {sources}): {reason}; "
        "use the version that deployed it, or do not trust it"
    )


def _facets(chain: Chain, address: str, named: Sequence[str]) -> dict[str, str]:
    """Return the addresses of all facets; `named` are those that the federation's constructor was given.

    Each facet names the next one in the last word of its code, which is compared as a whole later.
    """
    facets = dict(zip(NAMED, named, strict=True))
    for name, following in reversed(FACETS):
        if following is None:
            continue
        following_address = address_of(
            code_at(chain, facets[name])[-ADDRESS_BYTES:].rjust(ADDRESS_BYTES, b"\0")
        )
        if facets.setdefault(following, following_address) != following_address:
            raise _foreign_error(address, f"its {name} hands on to another {following} than it names")
    return facets


def _genesis(contract: Contract) -> Event:
    """Return the event of the contract's constructor; raises LedgerError."""
    event = next(contract.events(_first_block(contract), name="Genesis"), None)
    if event is None:
        raise LedgerError("no genesis")
    return event


def _first_block(contract: Contract) -> int:
    """Find the first block with code there, by bisection; 0 where the node does not know old states."""
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
    """Return who created the contract; raises LedgerError unless this version sends that very transaction."""
    name = "0x" + transaction_hash.hex()
    transaction = chain.request("eth_getTransactionByHash", name)
    receipt = chain.request("eth_getTransactionReceipt", name)
    address = (receipt or {}).get("contractAddress")
    if (
        not transaction
        or not address
        or address_of(address) != contract.address
        or transaction["input"] != creation(*arguments)
    ):
        raise _foreign_error(
            contract.address, "it was created by another transaction than this version sends"
        )
    return address_of(transaction["from"])


def _codes(
    chain_id: int, owner: str, addresses: Mapping[str, str], arguments: Sequence[Any]
) -> dict[str, bytes]:
    """Run the constructors; returns the code they leave, by contract. Raises LedgerError if they refuse."""
    from eth.db.atomic import AtomicDB
    from eth.vm.message import Message
    from eth_typing import Address

    from bcfl.ledger.devnet.evm import Evm

    class ForeignEvm(Evm):
        """The embedded chain, with the chain id of another."""

    ForeignEvm.chain_id = chain_id
    evm = ForeignEvm.from_genesis(AtomicDB(), {"gas_limit": BLOCK_GAS, "timestamp": 1}, {})
    state = evm.get_vm().state
    sender = to_canonical_address(owner)
    context = state.get_transaction_context_class()(gas_price=0, origin=sender)
    content, codes = artifact(), dict[str, bytes]()
    for part, values in (*_facet_arguments(addresses, arguments[0]), ("Federation", arguments)):
        abi = content["abi"] if part == "Federation" else content["constructors"][part]
        creation = bytes.fromhex(content["bytecode"][part][2:]) + Abi(abi).constructor(values)
        message = Message(
            gas=CREATION_GAS,
            to=Address(b""),
            sender=sender,
            value=0,
            data=b"",
            code=creation,
            create_address=to_canonical_address(addresses[part]),
        )
        computation = state.computation_class.apply_create_message(state, message, context)
        if computation.is_error:
            raise _foreign_error(
                addresses["Federation"], f"its terms are none that the {part} of this version accepts"
            )
        codes[part] = computation.output
    return codes


def _facet_arguments(addresses: Mapping[str, str], terms: Terms) -> Iterator[tuple[str, list[Any]]]:
    """Yield the facets in the order of their deployment, with what their constructors are given."""
    for name, following in FACETS:
        yield name, [terms] if following is None else [terms, addresses[following]]
