"""Read the compiled contracts that the package ships, and deploy them."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any, Final

from bcfl.ledger.abi import Abi
from bcfl.ledger.chain import Chain
from bcfl.ledger.contract import Contract, Key, Receipt
from bcfl.protocol.types import Terms

# The facets in the order of their deployment, and to which each hands what it does not know.
FACETS: Final = (
    ("DisputeFacet", None),
    ("ChallengeFacet", "DisputeFacet"),
    ("MembershipFacet", "ChallengeFacet"),
    ("SettlementFacet", "MembershipFacet"),
)


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
