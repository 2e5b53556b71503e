"""A summary of a training: the same from a run and from a bundle, exact in money, bounded in size."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from bcfl.bundle.reader import open_bundle
from bcfl.bundle.writer import write_bundle
from bcfl.federation.documents.markdown import to_markdown
from bcfl.federation.query import LocalQuery, RemoteQuery, open_run
from bcfl.federation.reports import Adversary
from bcfl.federation.subject import GasMeter, Subject, of_bundle, of_deployment, of_run
from bcfl.federation.views.costs import Prices
from bcfl.federation.views.figures import StatementView, figure_view
from bcfl.federation.views.summary import Summary, summary
from bcfl.federation.views.votematrix import LEGEND
from bcfl.protocol.rounds import History, Member, Round, Submission
from bcfl.protocol.types import Block, Engine, Opening, Update, Verdict, Voter
from bcfl.protocol.verification import Vote
from testkit.harness import TERMS
from tests.daemons import client_of
from tests.local_federation import LocalFederation
from tests.unit.cli.conftest import play_two_rounds


@pytest.fixture(scope="module")
def query(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalQuery]:
    """Two rounds of which the first has ended."""
    runs = tmp_path_factory.mktemp("recorded") / "runs"
    play_two_rounds(runs)
    with open_run(runs=runs) as query:
        yield query


def test_a_round_is_told_with_votes_costs_and_times(query: LocalQuery) -> None:
    view, round_ = summary(of_run(query)), query.round_view(1)
    first = view["rounds"][0]
    assert (first["gas"], first["transactions"]) == (round_["gas"], round_["transactions"])
    assert (first["accepted"], first["reasons"]) == (3, {"quality": 1})
    assert first["closed"] is not None
    assert 0 < sum(first["seconds"].values()) <= first["closed"] - first["opened"]
    assert first["leader"] == round_["leader"]
    assert [item["codes"][0] for item in view["devices"]] == ["3", "3", "3", "q"]
    matrix = view["votes"][0]
    assert [len(row["codes"]) for row in matrix["miners"]] == [4] * len(round_["votes"])
    assert [row["matches"] for row in matrix["miners"]] == [vote["matches"] for vote in round_["votes"]]
    assert set(matrix["tally"] + "".join(row["codes"] for row in matrix["miners"])) <= set(LEGEND)
    assert sum(item["led"] for item in view["miners"]) == view["totals"]["finalized"] == 1
    assert view["verify"]["contract"] == query.contract.address


def test_income_is_what_all_claims_come_to(query: LocalQuery) -> None:
    view = summary(of_run(query))
    for miner in view["miners"]:
        money = query.miner_view(miner["miner"])
        assert miner["income"] == money["claimed"] + money["unclaimed"]
    for device in view["devices"]:
        purse = query.device_view(device["device"])
        assert device["income"] == purse["claimed"] + purse["unclaimed"]
    assert any(miner["income"] for miner in view["miners"])
    assert [bool(device["income"]) for device in view["devices"]] == [True, True, True, False]


def test_a_bundle_says_the_same_as_its_node(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, devices=3, miners=3)
    local.play()
    client, _ = client_of(local)
    node = summary(of_deployment(RemoteQuery(client, local.store)))
    write_bundle(local.ledger.contract, local.store, tmp_path / "x.bcfl")
    with open_bundle(tmp_path / "x.bcfl") as source:
        bundle = summary(of_bundle("x.bcfl", source))
    same = ("rounds", "devices", "votes", "costs", "totals", "mode", "engine", "started", "ended", "miners")
    for name in same:
        assert bundle[name] == node[name], name  # type: ignore[literal-required]
    assert node["costs"]["gas"] > 0
    assert bundle["verify"]["block_hash"] == node["verify"]["block_hash"]
    name = "x`; touch bad #.bcfl"  # a stranger names the file, and a reader copies the command
    with open_bundle(tmp_path / "x.bcfl") as source:
        odd = summary(of_bundle(name, source))
    assert shlex.split(odd["verify"]["checks"][0]["command"])[:3] == ["bcfl", "audit", name]
    line = next(line for line in to_markdown(odd).splitlines() if "bcfl audit" in line)
    assert len(shlex.split(line.partition("`")[2].rpartition("`")[0])) == 5


def test_costs_are_in_money_at_the_stated_prices(query: LocalQuery) -> None:
    costs = summary(of_run(query), Prices(2 * 10**9, Decimal(3000), "EUR"))["costs"]
    assert costs["wei"] == costs["gas"] * 2 * 10**9
    assert costs["money"] is not None
    assert Decimal(costs["money"]) == pytest.approx(Decimal(costs["gas"] * 6) / 10**6, abs=Decimal("0.01"))
    assert summary(of_run(query))["costs"]["money"] is None


def test_a_node_is_asked_for_so_many_receipts_at_a_time(query: LocalQuery) -> None:
    meter = GasMeter(query.contract, most=3)
    subject = replace(of_run(query), gas_of=meter)
    assert summary(subject)["costs"]["known_rounds"] == 0
    for _ in range(100):
        meter.begin()
        costs = summary(subject)["costs"]
        if costs["known_rounds"] == 2:
            break
    assert costs == summary(of_run(query))["costs"]


def test_attackers_and_mistakes_are_told_where_the_run_knows_them(query: LocalQuery) -> None:
    assert summary(of_run(query))["mistakes"] is None
    honest, rejected = query.history.devices[0], query.history.devices[3]
    pair = (Adversary(honest, "device", "noise:0.2"), Adversary(rejected, "device", "noise:0.2"))
    view = summary(replace(of_run(query), adversaries=pair))
    assert view["mistakes"] is not None
    assert (view["mistakes"]["false_accepts"], view["mistakes"]["false_rejects"]) == (1, 0)
    assert view["devices"][0]["attack"] == "noise:0.2"
    none = summary(replace(of_run(query), adversaries=()))["mistakes"]
    assert none is not None
    assert (none["false_accepts"], none["false_rejects"]) == (0, 1)


def statement(role: str, loss: float | None, **metrics: float | None) -> StatementView:
    return {
        "round": 1, "party": "0x", "role": role, "samples": 9, "loss": loss, "metrics": metrics, "cid": "b",
    }  # fmt: skip


def test_the_figure_of_a_round_is_the_owners_or_the_median_of_its_miners() -> None:
    miners = [statement("miner", 0.2, accuracy=0.9), statement("miner", 0.4, accuracy=0.7)]
    miners.append(statement("miner", None, accuracy=0.8))
    device = statement("device", 9.0, accuracy=0.1)
    figure = figure_view([device, *miners])
    assert figure is not None
    assert (figure["role"], figure["parties"], figure["metrics"]) == ("miner", 3, {"accuracy": 0.8})
    assert figure["loss"] == pytest.approx(0.3)
    owner = figure_view([*miners, statement("owner", 0.5)])
    assert owner is not None
    assert (owner["role"], owner["parties"], owner["loss"]) == ("owner", 1, 0.5)
    assert figure_view([]) is None


def crowd(rounds: int, devices: int, miners: int) -> Subject:
    """Return a federation of any size, made up in memory: one device in ten is rejected in every round."""
    history = History(1)
    history.devices = [f"0x{number:040x}" for number in range(devices)]
    history.indices = {account: index for index, account in enumerate(history.devices)}
    history.join_rounds = dict.fromkeys(history.devices, 1)
    accounts = [f"0x{10**6 + number:040x}" for number in range(miners)]
    history.miners = {account: Member(account, i, 10**18, 1) for i, account in enumerate(accounts)}
    history.blocks = [Block(bytes(32), 0, bytes(32), bytes(32), bytes(32), accounts[0], 0)]
    levels = tuple(0 if index % 10 == 0 else 3 for index in range(devices))
    verdicts = tuple(Verdict.ACCEPTED if level else Verdict.OUTLIER for level in levels)
    for number in range(1, rounds + 1):
        round_ = history.rounds[number] = Round(number, number * 100, Engine.STAKE)
        updates = [Update(number, i, bytes(32), bytes(32), 100, 1000, 0) for i in range(devices)]
        round_.submissions = [Submission(i, update, accounts[0]) for i, update in enumerate(updates)]
        round_.commits = dict.fromkeys(accounts, b"")
        openings = [Opening(number, account, verdicts, bytes(32), None, levels) for account in accounts]
        voters = [Voter(account, 1, None, None, index) for index, account in enumerate(accounts)]
        round_.votes = [Vote(voter, opening) for voter, opening in zip(voters, openings, strict=True)]
        round_.levels, round_.samples = levels, 270 * devices
        round_.block = Block(
            bytes(32), number, bytes(32), bytes(32), bytes(32), accounts[0], 10**18, 0, 2**64 - 1
        )
        round_.block_hash, round_.closed = bytes(32), number * 100 + 90
        history.blocks.append(round_.block)
        round_.transactions = {number.to_bytes(2, "big") + bytes([i]): None for i in range(20)}
    return Subject(
        "network", "x", accounts[0], 1, 1, None, TERMS, history, [], lambda _: 1000, (), adversaries=None
    )


@pytest.fixture(scope="module")
def large() -> tuple[Summary, float]:
    subject = crowd(500, 1000, 10)
    start = time.process_time()
    return summary(subject), time.process_time() - start


def test_five_hundred_rounds_of_a_thousand_devices_are_no_matter_of_minutes(
    large: tuple[Summary, float],
) -> None:
    view, seconds = large
    assert len(view["rounds"]) == 500
    assert [len(item["codes"]) for item in view["devices"]] == [500] * 1000
    assert view["devices"][0]["codes"] == "o" * 500
    assert seconds < 20  # 2 on a slow core


def test_what_is_too_much_is_left_out_and_told(large: tuple[Summary, float]) -> None:
    assert sum(len(item["tally"]) * (1 + len(item["miners"])) for item in large[0]["votes"]) <= 250_000
    view = summary(crowd(6, 30, 2), most_rounds=4, most_devices=10, most_votes=200)
    assert [item["round"] for item in view["rounds"]] == [3, 4, 5, 6]
    assert len(view["devices"]) == 10
    assert (view["totals"]["left_out_rounds"], view["totals"]["left_out_devices"]) == (2, 20)
    assert [item["round"] for item in view["votes"]] == [5, 6]
    assert view["totals"]["updates"] == 180


def test_one_party_names_no_metric_for_all() -> None:
    """What the others do not say, or say is no finite number, would stand there as the median of them all."""
    honest = [statement("miner", None, accuracy=0.5) for _ in range(4)]
    figure = figure_view([statement("miner", 0.01, precision=0.99), *honest])
    assert figure is not None
    assert (figure["parties"], figure["metrics"], figure["loss"]) == (5, {"accuracy": 0.5}, None)
    alone = figure_view([statement("miner", 0.01, auc=0.99)])
    assert alone is not None
    assert alone["metrics"] == {"auc": 0.99}
