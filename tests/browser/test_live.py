"""A page keeps up with a training that goes on, and shows a bundle and a deployment as it shows a run."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from bcfl.bundle.writer import write_bundle
from bcfl.cli import main
from bcfl.cli.query.target import QueryTarget
from bcfl.explorer.target import Target, bundle_target
from bcfl.ledger.artifact import federation_at
from bcfl.ledger.deployment import keystore, networks, records
from bcfl.ledger.devnet.server import serve
from tests.browser.conftest import Watch
from tests.explorers import Gate, run_target, serving
from tests.local_federation import LocalFederation
from tests.played_run import begin_run

MNEMONIC = "test test test test test test test test test test test junk"
SMALL = [
    "--task",
    "breast-cancer",
    "--max-samples",
    "500",
    "--devices",
    "2",
    "--miners",
    "1",
    "--pool",
    "1 ether",
]
SCRIPT = '"><img src=x onerror="window.bad=1"><script>window.bad=1</script>\u202eevil\x1b[2J'
ETHER = 10**18


def test_a_page_keeps_up_with_a_run(tmp_path: Path, watch: Watch) -> None:
    local = begin_run(tmp_path / "runs")
    with serving(run_target(local.path), measures=False) as served, watch(served) as watched:
        page = watched.open(served.url("/"))
        page.evaluate("window.kept = 'the same page'")
        page.locator(".live[data-state=live]").wait_for()
        local.play()
        page.locator("table th a[href='/rounds/1']").first.wait_for(timeout=10_000)
        local.play()
        page.locator("table th a[href='/rounds/2']").first.wait_for(timeout=10_000)
        assert page.locator(".facts").get_by_text("4 miners").count() == 0
        assert page.locator("figure[data-chart] canvas").count() == page.locator("figure[data-chart]").count()
        assert page.evaluate("window.kept") == "the same page"
        watched.check()


def test_a_page_fills_itself_when_everything_is_read(played: LocalFederation, watch: Watch) -> None:
    gate = Gate()
    try:
        with serving(gate.target(played.path), measures=False) as served, watch(served) as watched:
            page = watched.open(served.url("/rounds/3"))
            page.evaluate("window.kept = 'the same page'")
            assert page.get_by_role("heading", name="Still reading").is_visible()
            gate.opened.set()
            page.get_by_role("heading", name="Round 3").wait_for(timeout=10_000)
            assert page.locator("[data-reading]").count() == 0
            assert page.title().startswith("Round 3")
            assert page.evaluate("window.kept") == "the same page"
            watched.check()
    finally:
        gate.opened.set()


def test_without_scripts_a_page_asks_again_by_itself(played: LocalFederation, watch: Watch) -> None:
    gate = Gate()
    try:
        with (
            serving(gate.target(played.path), measures=False) as served,
            watch(served, java_script_enabled=False) as watched,
        ):
            page = watched.open(served.url("/"))
            assert page.get_by_role("heading", name="Still reading").is_visible()
            gate.opened.set()
            page.get_by_text("Every device in every round").first.wait_for(timeout=10_000)
            watched.check()
    finally:
        gate.opened.set()


def test_a_bundle_of_a_stranger_is_shown_as_text(
    tmp_path: Path, played: LocalFederation, watch: Watch
) -> None:
    path = tmp_path / "<img src=x onerror=window.bad=1>.car"
    write_bundle(played.ledger.contract, played.store, path)
    with serving(bundle_target(path, None)) as served, watch(served) as watched:
        served.explorer.measuring.statements[1] = [
            {
                "round": 1,
                "party": SCRIPT,
                "role": "owner",
                "samples": 3,
                "loss": 0.5,
                "metrics": {SCRIPT: 0.25},
                "cid": SCRIPT,
            }
        ]
        for place in (
            "/",
            "/rounds",
            "/rounds/3",
            "/devices/2",
            "/miners/1",
            "/models/3",
            "/contract",
            "/events",
        ):
            page = watched.open(served.url(place))
            assert page.locator("main img, main script:not([type='application/json'])").count() == 0
            assert page.evaluate("window.bad") is None
        page = watched.open(served.url("/"))
        assert "onerror" in page.locator("h1").inner_text()
        assert "onerror" in page.locator("figure[data-chart]").first.inner_text()
        assert "\u202e" not in page.content()
        watched.open(served.url("/audit"))
        page.get_by_role("button", name="Run").click()
        page.get_by_text("All of it holds").wait_for(timeout=20_000)
        watched.check()


def test_a_deployment_is_read_from_its_node(
    tmp_path: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = keystore.derive(MNEMONIC, 0, 3)
    monkeypatch.chdir(tmp_path)
    with ExitStack() as stack:
        node = stack.enter_context(serve(None, [account.address for account in accounts], port=0))
        Path("bcfl.toml").write_text(
            f'[networks.local]\nrpc = "{node.url}"\nmnemonic = "{MNEMONIC}"\nexplorer = "https://scan.example/"\n'
        )
        assert main(["deploy", "--network", "local", *SMALL, "--json"]) == 0
        target = Target(QueryTarget(network="local", deployment="federation").open, 0.2)
        with serving(target) as served, watch(served) as watched:
            page = watched.open(served.url("/parties"))
            page.locator(".live[data-state=live]").wait_for()
            _register(records.read(records.FOLDER, "local", "federation").address)
            page.get_by_text("onerror").wait_for(timeout=10_000)
            assert page.locator("main img").count() == 0
            for place in ("/", "/contract", "/events", "/rounds", "/models", "/miners/0"):
                page = watched.open(served.url(place))
                assert page.evaluate("window.bad") is None
            page = watched.open(served.url("/contract"))
            link = page.locator(".lead a[href^='https://scan.example/address/0x']")
            assert link.get_attribute("rel") == "noreferrer noopener"
            assert page.locator("main").get_by_text("Ask the contract").is_visible()
            watched.open(served.url("/parties"))
            stack.close()
            page.get_by_text("The node cannot be asked now").wait_for(timeout=15_000)
            assert page.get_by_text("onerror").is_visible()
            watched.check()


def _register(address: str) -> None:
    """Join as a miner whose endpoint is a trap."""
    chain = networks.connect(networks.resolve("local"))
    try:
        contract = federation_at(chain, address)
        signer = keystore.derive(MNEMONIC, 1, 1)[0]
        contract.send(signer, "register_miner", value=2 * ETHER)
        contract.send(signer, "announce", SCRIPT[:180])
    finally:
        chain.close()
