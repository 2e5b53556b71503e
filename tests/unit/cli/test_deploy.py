"""`bcfl deploy`, `verify-contract`, `register-devices` and examples/deploy.py on a chain behind a socket."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from bcfl.cli.node import deploy, fund, status
from bcfl.config import Config
from bcfl.errors import Reverted
from bcfl.federation.genesis import set_up_data
from bcfl.learning import Split
from bcfl.ledger.artifact import federation_at
from bcfl.ledger.deployment import keystore, records
from bcfl.ledger.deployment.networks import connect, resolve
from bcfl.ledger.devnet.server import serve
from bcfl.protocol.types import Terms
from testkit.terms import ETHER

from .conftest import Bcfl

ROOT = Path(__file__).parents[3]
MNEMONIC = "test test test test test test test test test test test junk"
SAID = ["--max-samples", "700"]
LOCAL = ["--network", "local"]
OWN = "examples.device:task"  # whose data are with its devices
SMALL = [*SAID, "--devices", 3, "--miners", 2, "--pool", "2 ether"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    addresses = [account.address for account in keystore.derive(MNEMONIC, 0, 3)]
    with serve(None, addresses, port=0) as server:
        yield server.url


@pytest.fixture(autouse=True)
def command(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    app = typer.Typer()
    for part in (deploy, fund, status):
        part.register(app)
    monkeypatch.setattr("bcfl.cli.app.app", app)
    monkeypatch.setenv("ETH_RPC_URL", url)
    monkeypatch.delenv("ETH_KEYSTORE_PASSWORD", raising=False)


def test_the_data_of_a_task_that_comes_with_bcfl_say_what_may_be_claimed(bcfl: Bcfl) -> None:
    options = {"devices": 4, "miners": 2, "partition": "iid"}
    flags = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    answer = bcfl("deploy", "--network", "local", *flags, "--json").json
    _, shares = set_up_data(Config.load(options))
    assert isinstance(shares, Split)
    largest = max(map(len, shares.devices))
    contract = federation_at(connect(resolve("local")), answer["address"])
    assert Terms(*contract.call("agreed")).max_samples == largest


def test_the_pool_is_told_and_topped_up(bcfl: Bcfl) -> None:
    assert bcfl("deploy", "--task", OWN, *SMALL, "--pool", "0 ether", *LOCAL, "--name", "poor").code == 0
    words = "0: no round is paid in full; `bcfl fund AMOUNT` adds to it"
    assert f"pool        {words}" in bcfl("status", *LOCAL, "--deployment", "poor").out
    assert bcfl("status", *LOCAL, "--deployment", "poor", "--json").json["paid_rounds"] == 0
    added = bcfl("fund", "2.5 ether", *LOCAL, "--deployment", "poor", "--account", 1, "--json").json
    assert added == {"added": 5 * ETHER // 2, "pool": 5 * ETHER // 2, "rounds": 2}
    again = bcfl("fund", "7", *LOCAL, "--deployment", "poor", "--account", 1)
    assert "the rewards of 2 rounds" in again.out
    assert "2 rounds" in bcfl("status", *LOCAL, "--deployment", "poor").out
    for amount, reason in (("0", "AMOUNT must be more than 0"), ("lots", "must be an amount")):
        assert reason in bcfl("fund", amount, *LOCAL, "--deployment", "poor", "--account", 1).refusal


def test_from_nothing_to_a_checked_federation(bcfl: Bcfl, tmp_path: Path) -> None:
    first, second, third = (account.address for account in keystore.derive(MNEMONIC, 0, 3))
    (tmp_path / "devices").write_text(f"{second}\n")
    network = ["--network", "local"]
    answer = bcfl("deploy", *network, "--name", "demo", "--register", "devices", *SMALL, "--json").json
    record = records.read(tmp_path / "deployments", "local", "demo")
    assert answer["record"] == "deployments/local/demo.json"
    assert answer["address"] == record.address
    assert record.options["devices"] == 3
    chain = connect(resolve("local"))
    contract = federation_at(chain, record.address)
    assert Terms(*contract.call("agreed")).max_updates == 3
    assert (contract.call("owner"), contract.call("pool")) == (first, 2 * 10**18)
    assert contract.call("device_of", second) == 0
    root, cid = contract.call("model")
    assert any(cid_bytes(path) == cid for path in (tmp_path / "store").rglob("b*"))
    assert record.constructor["root"] == "0x" + root.hex()

    assert "demo is deployed on local already" in bcfl("deploy", *network, "--name", "demo", *SMALL).refusal
    assert bcfl("verify-contract", "demo", *network, "--json").json["address"] == record.address
    assert "this version's" in bcfl("verify-contract", record.address, *network).text

    (tmp_path / "devices").write_text(f"{second}\n{third}\n")
    text = bcfl("register-devices", "devices", "--name", "demo", *network).text
    assert text == "registered 1 device\nbefore 1 device"
    assert contract.call("device_of", third) == 1
    with pytest.raises(Reverted):
        contract.call("device_of", first)
    chain.close()


def test_what_a_committee_is_worth(bcfl: Bcfl) -> None:
    options = ["--network", "local", *SMALL]
    answer = bcfl("deploy", *options, "--name", "small", "--engine", "committee")
    assert answer.err == (
        "warning: committee_size=5: 21 of 64 miners (33% of the weight) would capture 3.6% of committees, "
        "more than one in a thousand; take committee_size=15, or engine=stake\n"
    )
    words = " ".join(answer.out.split())
    assert "committee 5 members captured never by 1 of 3 miners (33% of the weight)" in words
    assert (
        "captured 3.6% of committees by 21 of 64 miners (33% of the weight): 4 of 5 members decide" in words
    )

    answer = bcfl("deploy", *options, "--name", "hybrid", "--mode", "hybrid", "--json")
    assert answer.err.rstrip().endswith(
        "take committee_size=15, or a mode in which nobody wishes for a committee"
    )
    view = json.loads(answer.out)["committee"]
    assert (view["chosen"], view["risky"], view["rounds"], len(view["cases"])) == (False, True, 1000, 2)
    safe = ["--engine", "committee", "--committee-size", 15]
    assert "0.03% of committees by 21 of 64" in bcfl("deploy", *options, "--name", "safe", *safe).text
    assert "committee" not in bcfl("deploy", *options, "--name", "stake", "--json").json


def test_what_challenges_there_are(bcfl: Bcfl) -> None:
    options = ["--network", "local", *SMALL]
    words = "none: who attests a wrong model risks nothing"
    none = ["--challenge-seconds", 0]
    assert f"challenges {words}" in bcfl("deploy", *options, "--name", "first", *none).text
    assert bcfl("deploy", *options, "--name", "second", *none, "--json").json["challenges"] == words
    window = ["--propose-seconds", 7]
    assert "challenges open for 14 s after each proposal" in bcfl("deploy", *options, *window).text
    assert "challenges" not in bcfl("deploy", *options, "--name", "third", "--json").json


def cid_bytes(path: Path) -> bytes:
    """The digest in the name of a file of the store."""
    from bcfl.protocol import cid

    return cid.parse(path.name).digest if path.is_file() else b""


def test_account_of_a_keystore(bcfl: Bcfl, tmp_path: Path) -> None:
    key = keystore.derive(MNEMONIC, 1, 1)[0]
    keystore.save(tmp_path / "keys", key.key, "open sesame", keystore.LIGHT)
    (tmp_path / "password").write_text("open sesame")
    signer = ["--keystore", "keys", "--account", key.address, "--password-file", "password"]
    deployment = bcfl("deploy", *SMALL, *signer, "--json").json
    assert (deployment["owner"], deployment["network"]) == (key.address, "rpc")
    (tmp_path / "password").write_text("close sesame")
    assert "not the password" in bcfl("deploy", *SMALL, *signer, "--name", "other").refusal


def test_too_many_devices(bcfl: Bcfl, tmp_path: Path) -> None:
    (tmp_path / "devices").write_text("\n".join("0x" + f"{number:040x}" for number in range(1, 5)))
    refusal = bcfl("deploy", "--network", "local", "--register", "devices", *SMALL).refusal
    assert refusal == "devices has 4 devices, more than devices=3"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["deploy", *SAID, "--network", "locl"], "did you mean local?"),
        (
            ["deploy", *SAID, "--network", "sepolia"],
            "network sepolia is chain 11155111, and http://127.0.0.1",
        ),
        (["deploy", *SAID], "nobody signs on network rpc"),
        (["deploy", *SAID, "--network", "local", "--pool", "3000000 ether"], "needs 3,000,000."),
        (
            ["deploy", *SAID, "--network", "local", "--account", "7", "--pool", "0"],
            "has 0 ether and needs 0.",
        ),
        (["deploy", *SAID, "--network", "local", "--name", "../x"], "cannot name a deployment"),
        (["deploy", *SAID, "--network", "local", "--store", "http://x"], "is no store"),
        (["deploy", *SAID, "--network", "local", "--register", "absent"], "absent cannot be read"),
        (["deploy", "--network", "local", "--devices", "0"], "devices=0"),
        (["deploy", "--network", "local", "--task", OWN], "max_samples is not set, and no data is read here"),
        (["deploy", "--network", "local", "--runs", "x"], "No such option"),
        (["verify-contract", "absent", "--network", "local"], "absent is not deployed on local"),
        (["verify-contract", "0x12", "--network", "local"], "is not an address"),
        (["verify-contract", "0x" + "77" * 20, "--network", "local"], "no contract at 0x7777"),
        (["register-devices", "absent", "--network", "local"], "federation is not deployed on local"),
    ],
)
def test_refusals(bcfl: Bcfl, tmp_path: Path, arguments: list[str], words: str) -> None:
    assert words in bcfl(*arguments).refusal
    assert [*tmp_path.rglob("*.json")] == []


def test_nobody_answers(bcfl: Bcfl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETH_RPC_URL", "http://127.0.0.1:9")
    assert "is the node running" in bcfl("verify-contract", "0x" + "77" * 20).refusal


def test_script_does_the_same(
    tmp_path: Path, bcfl: Bcfl, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["devices=3", "miners=2", "pool=1 ether", "max_samples=700"]
    monkeypatch.setattr("sys.argv", ["deploy.py", "--network", "local", "--name", "scripted", *options])
    runpy.run_path(str(ROOT / "examples" / "deploy.py"), run_name="__main__")
    record = json.loads((tmp_path / "deployments" / "local" / "scripted.json").read_text())
    assert record["address"] in capsys.readouterr().out
    assert "this version's" in bcfl("verify-contract", "scripted", "--network", "local").text
    with pytest.raises(SystemExit, match="error: scripted is deployed on local already"):
        runpy.run_path(str(ROOT / "examples" / "deploy.py"), run_name="__main__")
