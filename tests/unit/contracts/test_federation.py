"""Federation.vy and its facets: one address, five pieces of code; several calls in a transaction."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from vyper.compiler.input_bundle import FilesystemInputBundle
from vyper.compiler.phases import CompilerData

from bcfl.errors import Reverted
from bcfl.ledger.artifact import FACETS, artifact
from bcfl.ledger.contract import Contract, transact
from bcfl.protocol.rewards import block_hash
from bcfl.protocol.types import Block, Phase
from testkit.harness import ETHER, TERMS, Federation, digest, reverts
from testkit.mocks import CONTRACTS

EIP_170 = 24_576
DEPLOYABLES = ("Federation", *(name for name, _ in FACETS))


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


def test_genesis_event_names_the_model() -> None:
    federation = Federation()
    (event,) = federation.contract.events(name="Genesis")
    assert (event.args["root"], event.args["cid"]) == federation.contract.call("model")
    assert event.args["block_hash"] == federation.contract.call("ledger", 0)


@pytest.mark.evm("pieces of bytecode at addresses of their own")
@pytest.mark.parametrize("is_missing", [(True, False), (False, True)])
def test_no_facets(is_missing: tuple[bool, bool]) -> None:
    federation = Federation()
    code = bytes.fromhex(artifact()["bytecode"]["Federation"][2:])
    facets = zip(federation.contract.call("facets"), is_missing, strict=True)
    places = [federation.outsider.address if missing else facet for facet, missing in facets]
    args = [TERMS, digest("root", 0), digest("cid", 0), *places]
    with reverts("federation: no facets"):
        federation.contract.deploy(federation.chain, federation.owner, artifact()["abi"], code, args)


@pytest.mark.evm("pieces of bytecode at addresses of their own")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("SettlementFacet", "settlement facet: no next facet"),
        ("MembershipFacet", "membership facet: no next facet"),
        ("ChallengeFacet", "challenge facet: no next facet"),
    ],
)
def test_no_next_facet(name: str, reason: str) -> None:
    federation = Federation()
    code, abi = bytes.fromhex(artifact()["bytecode"][name][2:]), artifact()["constructors"][name]
    with reverts(reason):
        federation.contract.deploy(
            federation.chain, federation.owner, abi, code, [TERMS, federation.outsider.address]
        )


def test_what_takes_no_ether_refuses_it() -> None:
    federation = Federation().open().until(Phase.PROPOSE)
    federation.expire()
    for function, args in (("skip", federation.skip_args()), ("withdraw", [federation.owner.address])):
        with pytest.raises(Reverted):
            federation.send(federation.outsider, function, *args, value=1)
    federation.send(federation.outsider, "skip", *federation.skip_args())


@pytest.mark.evm("gas")
def test_a_facet_that_runs_short_of_gas_is_told_from_one_that_refuses() -> None:
    """Who calls it keeps a 64th of the gas, so that not all of it is used."""
    federation = Federation().open().until(Phase.TALLY)
    args = federation.tally_args()
    with pytest.raises(Reverted, match="out of gas"):
        federation.contract.send(federation.outsider, "tally", *args, gas=120_000)
    with reverts("verification: lists differ"):
        federation.contract.send(federation.outsider, "tally", *args[:-2], [], args[-1], gas=2_000_000)
    federation.tally()


@pytest.mark.evm("pieces of bytecode at addresses of their own")
def test_facets_have_places() -> None:
    federation = Federation()
    places = {name: receipt.contract for (name, _), receipt in zip(FACETS, federation.deployed, strict=False)}
    assert federation.contract.call("facets") == (places["SettlementFacet"], places["MembershipFacet"])


@pytest.mark.evm("calldata that is no call")
@pytest.mark.parametrize(("data", "value"), [(b"", 0), (b"", 1), (b"abc", 0)])
def test_no_such_function(data: bytes, value: int) -> None:
    federation = Federation()
    with reverts("federation: no such function"):
        transact(federation.chain, federation.outsider, federation.contract.address, data, value)


@pytest.mark.evm("calldata that is no call")
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


def test_multicall_reaches_the_facets() -> None:
    federation = Federation()
    federation.multi(
        federation.owner, "all", [("start", []), ("register_devices", [[federation.outsider.address]])]
    )
    assert federation.contract.call("devices_registered") == 1


def test_multicall_inside_a_multicall() -> None:
    federation = Federation()
    start = federation.contract.encode("start")
    inner = federation.contract.encode("multicall", start * 2, [4, 4], 2)  # the second start may fail
    federation.send(federation.owner, "multicall", inner + start, [len(inner), 4], 2)
    assert federation.clock.round == 1
    with reverts("rounds: already started"):
        federation.send(federation.owner, "multicall", inner, [len(inner)], 0)


def test_multicall_keeps_the_sender() -> None:
    federation = Federation()
    with reverts("rounds: not the owner"):
        federation.multi(federation.outsider, "start", [("start", [])])


def test_multicall_takes_no_money() -> None:
    federation = Federation()
    data = federation.contract.encode("register_miner")
    with pytest.raises(Reverted):
        federation.send(federation.outsider, "multicall", data * 2, [4, 4], 0, value=ETHER)


@pytest.mark.parametrize("lengths", [[], [3], [4, 4]])
def test_multicall_lengths(lengths: list[int]) -> None:
    federation = Federation()
    data = federation.contract.encode("start")
    if sum(lengths) < len(data):
        with reverts("federation: lengths do not add up" if not lengths else "federation: no such function"):
            federation.send(federation.owner, "multicall", data, lengths, 0)
    else:
        with pytest.raises(Reverted):
            federation.send(federation.owner, "multicall", data, lengths, 0)


@pytest.mark.evm("pieces of bytecode at addresses of their own")
def test_a_facet_alone_moves_nothing_of_the_federation() -> None:
    federation = Federation().open()
    facet = Contract(federation.chain, artifact()["abi"], federation.contract.call("facets")[1])
    clock = federation.clock
    facet.send(federation.owner, "start")  # in a storage of its own
    assert federation.clock == clock
    assert federation.contract.call("devices_registered") == 4
    assert facet.call("devices_registered") == 0


@pytest.mark.parametrize("name", DEPLOYABLES)
def test_fits_eip_170(name: str) -> None:
    assert artifact()["runtime_bytes"][name] <= EIP_170


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
    return {reason for text in texts for reason in re.findall(r'"([a-z]+(?: facet)?: [^"]+)"', text)}


def test_every_refusal_has_a_test() -> None:
    sources = "".join(path.read_text() for path in Path(__file__).parent.glob("*.py"))
    assert {reason for reason in reasons() if f'"{reason}"' not in sources} == set()


def test_every_assert_has_a_reason() -> None:
    for path in CONTRACTS.rglob("*.vy"):
        for line in re.findall(r"^ +assert .*$", path.read_text(), re.M):
            assert re.search(r', "[a-z]+(?: facet)?: [^"]+"$', line), f"{path.name}: {line}"


def test_terms_stand_on_chain() -> None:
    terms = replace(TERMS, reward=123, engine=1)
    assert Federation(terms=terms).contract.call("agreed") == tuple(vars(terms).values())
