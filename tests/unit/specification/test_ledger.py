"""The frame of the specification: a chain that can be taken back, calls that leave nothing, the port."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bcfl.errors import LedgerError, Reverted
from bcfl.ledger.artifact import artifact
from bcfl.ledger.federation import FederationLedger
from bcfl.ledger.live import LiveLedger
from bcfl.ledger.transcript import gather
from bcfl.ports import ContractCall
from bcfl.protocol.types import Phase
from bcfl.specification.call import Call
from bcfl.specification.chain import KEPT, VirtualChain
from bcfl.specification.contract import Specification
from bcfl.specification.federation import FUNCTIONS
from bcfl.specification.ledger import SpecificationLedger
from bcfl.specification.vectors import Step, load
from testkit.accounts import account, digest
from testkit.harness import ETHER, Federation, reverts
from testkit.ledgers import SPECIFICATION
from testkit.terms import TERMS

VECTORS = sorted((Path(__file__).parents[2] / "vectors").glob("*.json"))


def federation(devices: int = 4) -> Federation:
    return Federation(devices, kind=SPECIFICATION)


def parts(played: Federation) -> tuple[VirtualChain, Specification]:
    assert isinstance(played.contract, Specification)
    return played.contract.chain, played.contract


def all_steps() -> Iterator[Step]:
    for path in VECTORS:
        yield from load(path.read_text())[0].steps


def test_every_function_of_the_interface_is_there() -> None:
    names = {entry["name"] for entry in artifact()["abi"] if entry["type"] == "function"}
    assert names == {*FUNCTIONS, "multicall", "facets"}


def test_a_call_that_reverts_leaves_a_block_and_nothing_else() -> None:
    played = federation().open()
    chain, contract = parts(played)
    before, height = chain.state.copy(), chain.head.number
    nonce = before.accounts.nonces[played.owner.address]
    with reverts("registry: already a device"):
        contract.send(
            played.owner, "register_devices", [account("late").address, played.device_keys[0].address]
        )
    assert chain.head.number == height + 1
    assert chain.head.events == ()
    before.accounts.nonces[played.owner.address] = nonce + 1
    assert chain.state == before


def test_of_several_calls_the_optional_ones_may_fail() -> None:
    played = federation().open()
    _, contract = parts(played)
    ledger, owner = SpecificationLedger(contract), played.owner
    admit = ContractCall("register_devices", ([account("late").address],))
    wrong = ContractCall("leave_miner", optional=True)
    assert ledger.send(owner, [admit, wrong, ContractCall("announce", ("x",), optional=True)]) == 0  # type: ignore[arg-type]
    assert contract.call("devices_registered") == 5
    with reverts("registry: not a miner"):
        ledger.send(owner, [ContractCall("fund"), replace(wrong, optional=False)])  # type: ignore[arg-type]
    assert contract.call("devices_registered") == 5
    with reverts("registry: already a device"):
        ledger.price(owner, [admit, wrong])  # type: ignore[arg-type]


def test_the_size_of_calldata_is_known_without_it() -> None:
    contract = parts(federation())[1]
    names = set()
    for step in all_steps():
        invocation = contract.invocation(step.function, *step.args)
        assert contract.size(invocation) == len(contract.encode(step.function, *step.args))
        names.add(step.function)
    assert names >= {"reveal", "tally", "unveil", "multicall", "announce", "claim_device", "claim_miner"}


def test_transactions_are_cut_where_those_of_a_chain_are() -> None:
    contract = parts(federation())[1]
    calls = [
        ContractCall(step.function, step.args, step.value)
        for step in all_steps()
        if step.function != "multicall"
    ]
    bytewise = FederationLedger(contract)._batches(calls)
    groups = SpecificationLedger(contract)._groups(calls)
    sizes = [[call for call, _ in batch] for batch in bytewise]
    assert sizes == [[call for call, _ in group] for group in groups]
    assert max(map(len, sizes)) > 3


@pytest.mark.parametrize(
    ("function", "args"),
    [
        ("commit", (5,)),
        ("commit", (b"x" * 33,)),
        ("withdraw", ("nobody",)),
        ("tally", ([-1], [], [], [], [], 0)),
    ],
)
def test_arguments_of_another_type_are_no_call(function: str, args: tuple[object, ...]) -> None:
    played = federation()
    height = parts(played)[0].head.number
    with pytest.raises(LedgerError, match=f"^{function}: arguments that do not fit"):
        played.send(played.owner, function, *args)
    assert parts(played)[0].head.number == height


def test_without_the_ether_it_is_no_transaction() -> None:
    played = federation()
    with pytest.raises(LedgerError, match="has not the"):
        played.send(account("poor"), "fund", value=1)
    with reverts("reverted without a reason"):  # takes no ether
        played.send(played.owner, "start", value=1)
    assert played.balance(played.contract.address) == played.pool


def test_a_reorganisation_is_noticed_and_read_again() -> None:
    played = federation().open()
    chain, contract = parts(played)
    ledger = LiveLedger(contract)
    snapshot = chain.snapshot()
    played.finish()
    old = chain.head.hash
    assert ledger.history().head.round == 1
    chain.revert(snapshot)
    assert contract.call("model") == (played.genesis, digest("cid", 0))
    played.ledger = SpecificationLedger(contract)
    played.commit(played.miner_keys[1], played.share(1))
    while chain.head.number < 40:
        chain.mine()
    assert ledger.history().head.round == 0
    assert ledger.reorganisations == 1
    assert old not in {block.hash for block in chain.blocks}
    chain.revert(snapshot)
    played.ledger = SpecificationLedger(contract)
    played.finish()
    assert chain.head.hash == old  # the same calls at the same times
    assert ledger.history().head.round == 1


def test_a_hash_depends_on_all_that_came_before() -> None:
    def play(seconds: int, amount: int) -> bytes:
        played = federation().open()
        played.wait(seconds)
        played.send(played.owner, "fund", value=amount)
        return parts(played)[0].mine().hash

    assert play(5, 1) == play(5, 1)
    assert len({play(5, 1), play(5, 2), play(6, 1)}) == 3


def test_what_was_is_read_as_long_as_it_is_kept() -> None:
    played = federation()
    chain, contract = parts(played)
    for _ in range(KEPT + 5):
        played.send(played.owner, "fund", value=1)
    last = chain.head.number
    assert contract.call("pool", block=last - 3) == played.pool + KEPT + 2
    chain.mine()
    assert (
        contract.call("pool", block=last) == contract.call("pool", block=last + 1) == played.pool + KEPT + 5
    )
    for number in (1, last + 9):
        with pytest.raises(LedgerError, match="cannot be read"):
            contract.call("pool", block=number)


def test_an_audit_finds_calls_and_storage() -> None:
    played = federation().open().finish()
    chain, contract = parts(played)
    transcript = gather(contract)
    reveals = [call for calls in transcript.calls.values() for call in calls if call.function == "reveal"]
    assert len(reveals) == played.miners
    assert transcript.storage_snapshot.round == 2
    assert transcript.endowment == played.pool
    assert transcript.storage_snapshot.balance == chain.balance(contract.address)


def leaving(played: Federation) -> str:
    """Let a miner leave before the first round, whose stake is free at once."""
    key = played.miner_keys[0]
    played.send(key, "register_miner", value=ETHER)
    played.send(key, "leave_miner")
    return key.address


def test_a_receiver_may_refuse_and_gets_nothing_twice() -> None:
    played = federation()
    chain, contract = parts(played)
    miner = leaving(played)
    before = contract.call("staked"), chain.balance(miner)

    def refuse(call: Call, amount: int) -> None:
        call.log("Funded", sender=miner, amount=amount)
        raise Reverted("no, thanks")

    def again(call: Call, _: int) -> None:
        FUNCTIONS["release_stake"](call.inner(miner))

    for receiver in (refuse, again):
        chain.receivers[miner] = receiver
        with reverts("treasury: receiver refused"):
            played.send(played.miner_keys[0], "release_stake")
        assert (contract.call("staked"), chain.balance(miner)) == before
    del chain.receivers[miner]
    played.send(played.miner_keys[0], "release_stake")
    assert (contract.call("staked"), chain.balance(miner)) == (0, before[1] + ETHER)


def test_there_is_no_machine_behind_it() -> None:
    chain, contract = parts(federation())
    for failing in (
        lambda: chain.w3,
        lambda: chain.request("eth_call", {}),
        lambda: contract.call("nothing"),
    ):
        with pytest.raises(LedgerError):
            failing()
    assert contract.gas_of(bytes(32)) == 0
    assert contract.price(account("owner"), "start") == 0
    assert chain.gas({}) == 0


def test_the_port_says_what_the_roles_ask() -> None:
    played = federation().open()
    ledger = SpecificationLedger(parts(played)[1])
    assert ledger.terms == TERMS
    assert ledger.clock().phase is Phase.COMMIT
    assert not ledger.overdue()
    played.expire()
    assert ledger.overdue()
    assert ledger.clock().phase is Phase.REVEAL
    assert (ledger.now(), ledger.target()) == (played.chain.now(), TERMS.pow_target)
