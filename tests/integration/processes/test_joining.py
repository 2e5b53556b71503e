"""How a party joins a deployed federation: what has to fit, and what is said on chain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bcfl.cli import start
from bcfl.errors import ConfigError
from bcfl.parties import Site, device, enrol, miner, open_first_round, peer
from bcfl.protocol.types import Layout, Mode, TensorSpec
from bcfl.protocol.wishes import parse
from tests.crew import site_of
from tests.village import LAYOUT, TERMS, Village


def test_the_first_round_waits_for_its_miners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    village = Village(tmp_path)
    site, _ = site_of(village)
    coming = iter(village.offices)

    def sleep(_: float) -> None:
        enrol(site, next(coming).account, "http://127.0.0.1:1", None)

    monkeypatch.setattr("bcfl.cli.start.time.sleep", sleep)
    start._await_miners(site, 2)
    said = capsys.readouterr().err.splitlines()
    assert said == [f"waiting: {ready} of 2 miners can be reached" for ready in (0, 1)]
    assert next(coming) is village.offices[2]


def test_another_model_is_refused(tmp_path: Path) -> None:
    village = Village(tmp_path)
    site, _ = site_of(village)
    other = Layout((TensorSpec("bias", (4,)),))
    with pytest.raises(ConfigError, match="another layout"):
        site.archive(other, village.store)
    assert site.archive(LAYOUT, village.store).layout == LAYOUT


def test_two_processes_do_not_share_a_journal(tmp_path: Path) -> None:
    village = Village(tmp_path)
    site, _ = site_of(village)
    made = (
        site,
        village.device_accounts[0],
        village.learners[0],
        LAYOUT,
        village.store,
        tmp_path / "journal",
    )
    device(*made)
    with pytest.raises(ConfigError, match="runs already"):
        device(*made)


def join(site: Site, village: Village, role: str, **options: Any) -> None:
    """Join as the first device, or the first miner, of a village."""
    account = (village.miner_accounts if role == "miner" else village.device_accounts)[0]
    learners = [village.learners[0]] * (2 if role == "peer" else 1)
    given = (site, account, *learners, LAYOUT, village.store, None)
    if role == "device":
        device(*given)
        return
    with (miner if role == "miner" else peer)(*given, **options):
        pass


def test_in_full_mode_every_party_is_both(tmp_path: Path) -> None:
    village = Village(tmp_path, shared=4, terms=replace(TERMS, mode=Mode.FULL))
    site, _ = site_of(village)
    for role in ("device", "miner"):
        with pytest.raises(ConfigError, match=r"village is of mode full, where every .* join as both"):
            join(site, village, role)
    join(site, village, "peer")
    me = village.device_accounts[0].address
    assert site.ledger.history().endpoints[me].startswith("http://127.0.0.1:")
    village.device_accounts[0] = village.owner
    with pytest.raises(ConfigError, match="is no device of village: its owner registers devices first"):
        join(site, village, "peer")


def test_in_other_modes_nobody_is(tmp_path: Path) -> None:
    village = Village(tmp_path)
    site, _ = site_of(village)
    with pytest.raises(ConfigError, match="village is not of mode full: join as a device or as a miner"):
        join(site, village, "peer")
    with pytest.raises(ConfigError, match="village is of mode partial: only hybrid changes its engine"):
        join(site, village, "miner", wishes=(parse("pow"),))


def test_a_miner_enrols_once_and_announces_what_is_new(tmp_path: Path) -> None:
    village = Village(tmp_path)
    site, _ = site_of(village)
    account = village.offices[0].account
    blocks = []
    for endpoint in ("http://127.0.0.1:1", "http://127.0.0.1:1", "https://miner.example"):
        enrol(site, account, endpoint, None)
        blocks.append(village.chain.request("eth_blockNumber"))  # type: ignore[union-attr]
    assert blocks[0] == blocks[1] != blocks[2]
    assert site.ledger.history().endpoints[account.address] == "https://miner.example"
    with pytest.raises(ConfigError, match="join with --stake, at least 1 ether"):
        enrol(site, village.device_accounts[0], "http://127.0.0.1:1", None)
    assert not open_first_round(site, village.owner)
    assert replace(site, name="x").address == site.address
