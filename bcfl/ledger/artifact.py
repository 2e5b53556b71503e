"""Read the compiled contracts that the package ships, and deploy them."""

from __future__ import annotations

import json
from dataclasses import fields
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from bcfl.ledger.abi import Abi
from bcfl.ledger.chain import Chain
from bcfl.ledger.contract import Contract, Key, Receipt
from bcfl.ledger.devnet.chainreader import Unusual
from bcfl.ledger.words import WORD, Plan, address_of
from bcfl.protocol.addresses import ADDRESS_BYTES, address_bytes
from bcfl.protocol.hashing import keccak
from bcfl.protocol.types import Terms

if TYPE_CHECKING:
    from bcfl.ledger.devnet.chainreader import ChainReader

# The facets in the order of their deployment, and to which each hands what it does not know.
FACETS: Final = (
    ("DisputeFacet", None),
    ("ChallengeFacet", "DisputeFacet"),
    ("MembershipFacet", "ChallengeFacet"),
    ("SettlementFacet", "MembershipFacet"),
)
SHORT: Final = 0x80  # in RLP: how a string of fewer than 56 bytes begins, its length added
LIST: Final = 0xC0  # and how a list of so many does


@cache
def artifact() -> dict[str, Any]:
    """Return ABI, bytecode and source hash of the deployables."""
    file = resources.files("bcfl.ledger") / "artifacts" / "Federation.json"
    content: dict[str, Any] = json.loads(file.read_text())
    return content


def federation_at(chain: Chain, address: str) -> Contract:
    """Return the federation that is deployed at `address`."""
    return Contract(chain, artifact()["abi"], address)


def creation(terms: Terms, root: bytes, cid: bytes, settlement: str, membership: str) -> str:
    """Return the data of the transaction that creates a federation, as JSON-RPC shows it."""
    content = artifact()
    arguments = Abi(content["abi"]).constructor([terms, root, cid, settlement, membership])
    return str(content["bytecode"]["Federation"]) + arguments.hex()


def deploy(
    chain: Chain, key: Key, terms: Terms, root: bytes, cid: bytes, pool: int
) -> tuple[Contract, tuple[Receipt, ...]]:
    """Deploy the facets and the federation; `pool` wei go into the pool of rewards.

    Returns the federation's contract and the receipts in the order of the deployment.
    """
    content = artifact()
    code = {name: bytes.fromhex(text[2:]) for name, text in content["bytecode"].items()}
    facets: dict[str, str] = {}
    receipts = []
    for name, following in FACETS:
        args = [terms, *([facets[following]] if following else [])]
        facet, receipt = Contract.deploy(chain, key, content["constructors"][name], code[name], args)
        facets[name] = facet.address
        receipts.append(receipt)
    args = [terms, root, cid, facets["SettlementFacet"], facets["MembershipFacet"]]
    contract, receipt = Contract.deploy(chain, key, content["abi"], code["Federation"], args, pool)
    return contract, (*receipts, receipt)


def stored_terms(reader: ChainReader, contract: str, deployer: str) -> Terms | None:
    """Return the terms of a federation from the transactions that `deploy` made, as `agreed` returns them.

    None where they are not those of this version, or their terms differ: then a call has to say it.
    """
    content = artifact()
    code = {name: bytes.fromhex(text[2:]) for name, text in content["bytecode"].items()}
    kinds = Abi(content["abi"]).constructor_types
    try:
        federation = reader.creation(contract)
        first = federation.block - len(FACETS)
        facets = [reader.created_in(first + place) for place in range(len(FACETS))]
    except Unusual:
        return None
    start = len(code["Federation"])
    values = Plan(kinds).decode(federation.data[start:])
    if values is None or not federation.data.startswith(code["Federation"]):
        return None
    words = federation.data[start : start + WORD * len(fields(Terms))]
    addresses: dict[str, str] = {}
    for (name, following), facet in zip(FACETS, facets, strict=True):
        end = b"" if following is None else bytes.fromhex(addresses[following][2:]).rjust(WORD, b"\0")
        if facet.data != code[name] + words + end:
            return None
        addresses[name] = created_address(deployer, facet.nonce)
    is_it = created_address(deployer, federation.nonce) == address_of(contract)
    has_them = values[3:] == (addresses["SettlementFacet"], addresses["MembershipFacet"])
    return Terms(*values[0]) if is_it and has_them else None


def created_address(deployer: str, nonce: int) -> str:
    """Return the address of the contract that an account creates with a nonce."""
    number = nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
    if nonce >= SHORT:
        number = bytes([SHORT + len(number)]) + number
    content = bytes([SHORT + ADDRESS_BYTES]) + address_bytes(deployer) + (number or bytes([SHORT]))
    return address_of(keccak(bytes([LIST + len(content)]) + content)[12:])
