"""Federation.vy, Annex.vy, Court.vy: one address, three pieces of code; several calls in a transaction."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from vyper.compiler.input_bundle import FilesystemInputBundle
from vyper.compiler.phases import CompilerData

from bcfl.errors import Reverted
from bcfl.ledger.artifact import artifact
from bcfl.ledger.contract import Contract, transact
from bcfl.protocol.rewards import block_hash
from bcfl.protocol.types import Block, Phase
from testkit.harness import ETHER, TERMS, Federation, digest, reverts
from testkit.mocks import CONTRACTS, compiled

EIP_170 = 24_576


def test_default_behavior() -> None:
    federation = Federation(pool=7)
    genesis = Block(bytes(32), 0, bytes(32), digest("root", 0), digest("cid", 0), "0x" + "00" * 20, 0)
    call = federation.contract.call
    assert call("model") == (digest("root", 0), digest("cid", 0))
    assert call("ledger", 0) == block_hash(genesis)
    assert call("owner") == federation.owner.address
    assert call("agreed") == tuple(vars(TERMS).values())
    assert federation.money() == (7, 0, 0, 7)
    assert federation.clock.phase is Phase.IDLE


def test_genesis_event_names_model_and_seed() -> None:
    federation = Federation()
    (event,) = federation.contract.events(name="Genesis")
    assert event.args["seed"] == federation.contract.call("round_seed")
    assert event.args["block_hash"] == federation.contract.call("ledger", 0)


def test_no_annex() -> None:
    federation = Federation()
    code = bytes.fromhex(artifact()["bytecode"]["Federation"][2:])
    args = [TERMS, digest("root", 0), digest("cid", 0), federation.outsider.address]
    with reverts("federation: no annex"):
        federation.contract.deploy(federation.chain, federation.owner, artifact()["abi"], code, args)


def test_no_court() -> None:
    federation = Federation()
    code, abi = bytes.fromhex(artifact()["bytecode"]["Annex"][2:]), artifact()["annex_abi"]
    args = [TERMS, federation.outsider.address]
    with reverts("annex: no court"):
        federation.contract.deploy(federation.chain, federation.owner, abi, code, args)


def test_what_takes_no_ether_refuses_it() -> None:
    federation = Federation().open().until(Phase.PROPOSE)
    federation.expire()
    for function, args in (("skip", federation.skip_args()), ("withdraw", [federation.owner.address])):
        with pytest.raises(Reverted):
            federation.send(federation.outsider, function, *args, value=1)
    federation.send(federation.outsider, "skip", *federation.skip_args())


def test_annex_and_court_have_places() -> None:
    federation = Federation()
    call, receipts = federation.contract.call, federation.deployed
    assert (call("court"), call("annex")) == (receipts[0].contract, receipts[1].contract)


@pytest.mark.parametrize(("data", "value"), [(b"", 0), (b"", 1), (b"abc", 0)])
def test_no_such_function(data: bytes, value: int) -> None:
    federation = Federation()
    with reverts("federation: no such function"):
        transact(federation.chain, federation.outsider, federation.contract.address, data, value)


def test_an_unknown_selector_is_refused() -> None:
    federation = Federation()
    with pytest.raises(Reverted):
        transact(federation.chain, federation.outsider, federation.contract.address, b"abcdefgh")


def test_multicall_does_all_in_order() -> None:
    federation = Federation().open()
    federation.until(Phase.UNVEIL)
    openings = [federation.opening(i) for i in range(3)]
    federation.multi(federation.outsider, "all", [("unveil", federation.unveil_args(o)) for o in openings])
    assert [args["miner"] for args in federation.round_events("Voted")] == [o.miner for o in openings]
    assert federation.clock.phase is Phase.TALLY


def test_multicall_does_all_or_nothing_and_tells_why() -> None:
    federation = Federation().open()
    key = federation.miner_keys[0]
    with reverts("submissions: already committed"):
        federation.multi(key, "both", [("commit", [digest(1)]), ("commit", [digest(2)])])
    assert federation.clock.acted == 0


def test_multicall_reaches_the_annex() -> None:
    federation = Federation()
    federation.multi(
        federation.owner, "all", [("start", []), ("register_devices", [[federation.outsider.address]])]
    )
    assert federation.contract.call("devices_registered") == 1


def test_multicall_keeps_the_sender() -> None:
    federation = Federation()
    with reverts("rounds: not the owner"):
        federation.multi(federation.outsider, "start", [("start", [])])


def test_multicall_takes_no_money() -> None:
    federation = Federation()
    data = federation.contract.encode("register_miner", digest("tail"))
    with pytest.raises(Reverted):
        federation.send(federation.outsider, "multicall", data * 2, [36, 36], value=ETHER)


@pytest.mark.parametrize("lengths", [[], [3], [4, 4]])
def test_multicall_lengths(lengths: list[int]) -> None:
    federation = Federation()
    data = federation.contract.encode("start")
    if sum(lengths) < len(data):
        with reverts("federation: lengths do not add up" if not lengths else "federation: no such function"):
            federation.send(federation.owner, "multicall", data, lengths)
    else:
        with pytest.raises(Reverted):
            federation.send(federation.owner, "multicall", data, lengths)


def test_the_annex_alone_moves_nothing_of_the_federation() -> None:
    federation = Federation().open()
    annex = replace_address(federation, federation.contract.call("annex"))
    with pytest.raises(Reverted):
        annex.send(federation.owner, "start")
    assert federation.contract.call("devices_registered") == 4
    assert annex.call("devices_registered") == 0


def replace_address(federation: Federation, address: str) -> Contract:
    return Contract(federation.chain, artifact()["abi"], address)


@pytest.mark.parametrize("name", ["Federation", "Annex", "Court"])
def test_fits_eip_170(name: str) -> None:
    assert artifact()["runtime_bytes"][name] <= EIP_170


def test_all_pieces_agree_on_storage() -> None:
    names = ("Federation", "Annex", "Court")
    layouts = [compiled(f"{name}.vy").storage_layout["storage_layout"] for name in names]
    assert layouts[0] == layouts[1] == layouts[2]


def test_the_interface_is_the_abi() -> None:
    bundle = FilesystemInputBundle([CONTRACTS])
    module = CompilerData(bundle.load_file(Path("interfaces/IFederation.vyi")), bundle).annotated_vyper_module
    interface = module._metadata["type"].interface.to_toplevel_abi_dict()
    entries = [entry for entry in artifact()["abi"] if entry["type"] not in ("constructor", "fallback")]
    assert sorted(map(signature, interface)) == sorted(map(signature, entries))


def signature(entry: dict[str, object]) -> str:
    def types(fields: object) -> list[object]:
        return [
            (field["type"], field.get("indexed"), types(field.get("components", ())))
            for field in fields  # type: ignore[attr-defined]
        ]

    parts = [entry["type"], entry["name"], entry.get("stateMutability")]
    return repr([*parts, types(entry["inputs"]), types(entry.get("outputs", ()))])


def functions() -> list[tuple[str, str, str]]:
    """File, name and parameters, docstring of every function in contracts/."""
    names = []
    for path in [*CONTRACTS.rglob("*.vy"), *CONTRACTS.rglob("*.vyi")]:
        for match in re.finditer(
            r"^def (\w+)\(([^)]*)\)[^\n]*:\n(\s+\"\"\".*?\"\"\")?", path.read_text(), re.M | re.S
        ):
            names.append((f"{path.name}:{match[1]}", match[2], match[3] or ""))
    return names


@pytest.mark.parametrize(("name", "parameters", "text"), functions(), ids=lambda value: str(value)[:40])
def test_every_function_is_explained(name: str, parameters: str, text: str) -> None:
    assert "@notice" in text, name
    names = re.findall(r"(\w+):", parameters)
    assert re.findall(r"@param (\w+)", text) == names


def reasons() -> set[str]:
    texts = [path.read_text() for path in CONTRACTS.rglob("*.vy") if path.parent.name != "mocks"]
    return {reason for text in texts for reason in re.findall(r'"([a-z]+: [^"]+)"', text)}


def test_every_refusal_has_a_test() -> None:
    sources = "".join(path.read_text() for path in Path(__file__).parent.glob("*.py"))
    assert {reason for reason in reasons() if f'"{reason}"' not in sources} == set()


def test_every_assert_has_a_reason() -> None:
    for path in CONTRACTS.rglob("*.vy"):
        for line in re.findall(r"^ +assert .*$", path.read_text(), re.M):
            assert re.search(r', "[a-z]+: [^"]+"$', line), f"{path.name}: {line}"


def test_terms_stand_on_chain() -> None:
    terms = replace(TERMS, reward=123, engine=1)
    assert Federation(terms=terms).contract.call("agreed") == tuple(vars(terms).values())
