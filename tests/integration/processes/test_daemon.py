"""How one party follows a chain: time is pushed on, who is away comes back, a new chain is read anew."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bcfl.cli import doctor, start, status, watch
from bcfl.daemon import Daemon
from bcfl.errors import ConfigError, Reverted, StoreError, Unreachable
from bcfl.ledger.artifact import federation_at
from bcfl.ledger.embedded import EmbeddedChain
from bcfl.ledger.federation import FederationLedger
from bcfl.ledger.live import LiveLedger
from bcfl.ledger.networks import Network
from bcfl.parties import Site, device, enrol, miner, open_first_round, peer
from bcfl.protocol.types import Engine, Layout, Mode, Phase, TensorSpec
from bcfl.protocol.wishes import parse
from bcfl.roles.moment import look as look_at
from bcfl.roles.moment import next_change
from tests.village import LAYOUT, TERMS, Village


class Fork:
    """An embedded chain that can be exchanged for another, with the blocks that a node gives."""

    url = "http://127.0.0.1:1"

    def __init__(self, chain: EmbeddedChain) -> None:
        self.chain, self.away = chain, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.chain, name)

    def request(self, method: str, *params: Any) -> Any:
        if self.away:
            raise Unreachable("http://127.0.0.1:1: ConnectionError; is the node running and the URL right?")
        if method != "eth_getBlockByNumber":
            return self.chain.request(method, *params)
        last = int(self.chain.request("eth_blockNumber"), 16)
        number = last if params[0] == "latest" else int(params[0], 16)
        if number > last:
            return None
        header = self.chain._evm.get_canonical_block_header_by_number(number)  # type: ignore[arg-type]
        return {"number": hex(number), "hash": "0x" + header.hash.hex()}


def site_of(village: Village) -> tuple[Site, Fork]:
    """A village as a process reaches it."""
    assert village.chain is not None
    fork = Fork(village.chain)
    ledger = LiveLedger(federation_at(fork, str(village.contract)))  # type: ignore[arg-type]
    return Site("village", Network("local", fork.url), fork, ledger, {}, 0), fork  # type: ignore[arg-type]


def daemons(village: Village, *, devices: bool = True) -> list[Daemon]:
    """A daemon around every party of a village; all share its ledger."""
    parties = [*(village.homes if devices else []), *village.offices]
    miners = {id(office) for office in village.offices}
    return [
        Daemon(p, p.account, village.ledger, village.archive, pushes=id(p) in miners, poll=0.01)
        for p in parties
    ]


def until_closed(village: Village, running: list[Daemon], number: int, turns: int = 400) -> None:
    """Turn after turn until a round has ended; time passes where nobody has anything to do."""
    for _ in range(turns):
        if village.history.rounds[number].closed is not None:
            return
        pauses = [daemon.turn() for daemon in running]
        if all(pauses):
            moment = look_at(village.ledger)
            assert village.chain is not None
            village.chain.warp(village.chain.now() + 1 if moment is None else next_change(moment))
    raise AssertionError("the round stands still")


def test_parties_play_rounds_by_their_turns_alone(tmp_path: Path) -> None:
    village = Village(tmp_path)
    running = daemons(village)
    for number in (1, 2):
        until_closed(village, running, number)
        assert village.history.rounds[number].status == "finalized"
    assert all(daemon.health()[0] for daemon in running)
    assert "bcfl_acts_total" in running[0].counters.text()


def test_miners_push_on_what_time_has_brought_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No device ever comes: round after round is void, and somebody writes that down."""
    monkeypatch.setattr("bcfl.daemon.TURN_SECONDS", 0)
    village = Village(tmp_path)
    running = daemons(village, devices=False)
    until_closed(village, running, 1)
    until_closed(village, running, 2)
    assert village.history.rounds[1].status == "void"


def test_a_miner_without_a_vote_pushes_where_nobody_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bcfl.daemon.TURN_SECONDS", 0)
    village = Village(tmp_path)
    running = daemons(village, devices=False)
    village.history.seats = []
    for member in village.history.miners.values():
        member.weight = 0
    until_closed(village, running, 1)
    assert village.history.rounds[1].status == "void"


class Idle:
    """A party with nothing to do."""

    asked = 0

    def act(self) -> str | None:
        self.asked += 1
        return None


class Failing:
    """A party whose every act goes wrong."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def act(self) -> str | None:
        raise self.error


def test_what_is_away_is_tried_again_ever_more_seldom(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    village = Village(tmp_path)
    party = Failing(Unreachable("the node is away"))
    daemon = Daemon(party, village.owner, village.ledger, village.archive, poll=0.5)
    with caplog.at_level(logging.WARNING, "bcfl"):
        assert [daemon.turn() for _ in range(6)] == [1, 2, 4, 8, 15, 15]
    assert "the node is away" in caplog.text
    assert village.owner.key.hex() not in caplog.text
    party.error = Reverted("submissions: already revealed")
    assert daemon.turn() == 0.5


def test_time_is_pushed_on_even_where_the_own_store_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a phase that nobody can act in would not even begin to end."""
    monkeypatch.setattr("bcfl.daemon.TURN_SECONDS", 0)
    village = Village(tmp_path)
    assert village.chain is not None
    office = village.offices[0]
    party = Failing(StoreError("the store is away"))
    daemon = Daemon(party, office.account, village.ledger, village.archive, pushes=True)
    village.chain.warp(village.chain.now() + village.terms.commit_seconds)
    before = village.ledger._head()
    assert daemon.turn() > daemon._poll  # it is tried again, later
    assert village.ledger._head() == before + 1
    assert not village.ledger.overdue()


def test_a_chore_that_fails_does_not_hold_the_party_up(tmp_path: Path) -> None:
    village = Village(tmp_path)

    class Ill:
        tried = 0

        def act(self, _: object) -> str | None:
            self.tried += 1
            raise StoreError("the store is away")

        def end(self, _: object) -> None:
            raise StoreError("the store is away")

    ill, party = Ill(), Idle()
    daemon = Daemon(party, village.owner, village.ledger, village.archive, chores=[ill], longest=3600)
    assert [daemon.turn() for _ in range(3)] == [0.5, 0.5, 0.5]
    assert (ill.tried, party.asked) == (1, 3)
    daemon.stop()
    daemon.run()


def test_pauses_are_short_where_phases_are(tmp_path: Path) -> None:
    village = Village(tmp_path)
    party = Failing(Unreachable("the node is away"))
    daemon = Daemon(party, village.owner, village.ledger, village.archive, poll=0.5, longest=3)
    assert [daemon.turn() for _ in range(5)] == [1, 2, 3, 3, 3]
    site, _ = site_of(village)
    assert site.longest == site.search == 7.5


def test_what_trying_again_cannot_mend_ends_it(tmp_path: Path) -> None:
    village = Village(tmp_path)
    daemon = Daemon(Failing(ConfigError("no")), village.owner, village.ledger, village.archive)
    with pytest.raises(ConfigError):
        daemon.run()


def test_stop_ends_it_and_so_do_enough_rounds(tmp_path: Path) -> None:
    village = Village(tmp_path)
    daemon = daemons(village)[0]
    daemon.stop()
    daemon.run()
    assert not village.history.rounds[1].commits
    counting = daemons(village)[0]
    counting._rounds = 1
    until_closed(village, [counting, *daemons(village)[1:]], 1)
    counting.turn()
    counting.run(1)


def test_a_reorganised_chain_is_read_again(tmp_path: Path) -> None:
    one, other = Village(tmp_path / "one"), Village(tmp_path / "other")
    site, fork = site_of(one)
    assert site.ledger.history().rounds[1].number == 1
    one.until(Phase.VOTE)
    other.dead(other.homes[0])
    other.until(Phase.VOTE)
    before = site.ledger.history()
    assert len(before.rounds[1].submissions) == 4
    fork.chain = other.chain  # type: ignore[assignment]
    after = site.ledger.history()
    fresh = FederationLedger(federation_at(other.chain, str(other.contract))).history()  # type: ignore[arg-type]
    assert site.ledger.reorganisations == 1
    assert after == fresh
    assert after != before
    assert site.ledger.history() is after


def test_a_chain_that_only_grows_is_read_once(tmp_path: Path) -> None:
    village = Village(tmp_path)
    site, _ = site_of(village)
    first = site.ledger.history()
    village.play()
    assert site.ledger.history() is first
    assert site.ledger.reorganisations == 0
    assert first.rounds[1].status == "finalized"


def test_status_says_who_is_awaited_for_what_until_when(tmp_path: Path) -> None:
    village = Village(tmp_path)
    site, _ = site_of(village)
    seen = set()
    for phase in (Phase.COMMIT, Phase.REVEAL, Phase.VOTE, Phase.UNVEIL, Phase.PROPOSE, Phase.ATTEST):
        village.until(phase)
        content = status.standing(site)
        assert content["phase"] == phase.name.lower()
        assert content["awaited"]
        assert content["deadline"] > content["now"]
        seen.add(status.standing_line(content))
    assert len(seen) == 6
    assert "waits for 4 devices" in status.standing_line(
        {**content, "awaited": [{"role": "device", "account": ""}] * 4}
    )


def test_status_when_all_miners_have_committed(tmp_path: Path) -> None:
    """What is left of the phase is for a device that its miner left out."""
    village = Village(tmp_path)
    site, _ = site_of(village)
    while (clock := village.ledger.clock()).acted != clock.expected:
        if not village.federation.turn(Phase.COMMIT):
            village.federation.let_time_pass()
    assert clock.phase is Phase.COMMIT
    assert "waits for 4 devices to commit alone, if a miner left" in status.standing_line(
        status.standing(site)
    )


def test_status_gives_the_address_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site, _ = site_of(Village(tmp_path))
    monkeypatch.setattr(status, "joined", contextmanager(lambda *_: iter([site])))
    status.status(network=None, deployment="x", folder=tmp_path, address=True, as_json=False)
    assert capsys.readouterr().out == f"{site.address}\n"


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


def test_status_prints_one_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    village = Village(tmp_path)
    village.play()
    status._print(status.standing(site_of(village)[0]))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 24
    assert any(line.startswith("so far") and "1 block, 0 void rounds" in line for line in lines)


def test_status_and_watch_show_engine_and_committee(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    village = Village(tmp_path, terms=replace(TERMS, engine=Engine.COMMITTEE))
    site, _ = site_of(village)
    content = status.standing(site)
    assert (content["mode"], content["engine"]) == ("partial", "committee")
    assert content["committee"] == list(village.history.rounds[1].committee)
    assert len(content["committee"]) == 3
    status._print(content)
    shown = " ".join(capsys.readouterr().out.split())
    assert f"mode partial engine committee committee {', '.join(content['committee'])}" in shown
    told = (watch.words(event) for event in watch.follow(site, from_start=True, poll=0.01))
    assert next(line for line in told if line.startswith("round 1")) == (
        "round 1 is open, led by a committee of 3"
    )


def test_watch_tells_every_event_in_words(tmp_path: Path) -> None:
    village = Village(tmp_path)
    village.play()
    site, _ = site_of(village)
    told = []
    for event in watch.follow(site, from_start=True, poll=0.01):
        told.append(watch.words(event))
        if event.name == "Finalized":
            break
    assert told[0] == "the federation was deployed"
    assert sum("revealed" in line for line in told) >= 1
    assert told[-1].startswith("round 1 is final: block 0x")
    assert not any("(" in line for line in told)


def test_watch_goes_on_when_the_node_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    village = Village(tmp_path)
    site, fork = site_of(village)
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        fork.away = len(pauses) < 4
        if len(pauses) == 5:
            village.play()

    monkeypatch.setattr("bcfl.cli.watch.time.sleep", sleep)
    event = next(watch.follow(site, from_start=False, poll=1.0))
    assert event.name == "Committed"
    assert pauses == [1, 2, 4, 8, 1]


def test_foreign_text_cannot_write_to_the_terminal() -> None:
    class Announced:
        name = "Announced"
        args: Mapping[str, Any] = {"miner": "0x" + "a" * 40, "endpoint": "http://x\x1b[2J{miner}"}

    assert "\x1b" not in watch.words(Announced())  # type: ignore[arg-type]


def test_doctor_tells_an_error_from_what_to_do_about_it() -> None:
    error = Unreachable("http://127.0.0.1:1: ConnectionError; is the node running and the URL right?")
    found = doctor._failed("node", error)
    assert found.found == "http://127.0.0.1:1: ConnectionError"
    assert found.advice == "is the node running and the URL right?"


@pytest.mark.parametrize(
    ("ahead", "own", "expected"),
    [
        (0, False, "ok"),
        (-30, False, "ok"),
        (100, False, "warning"),
        (-4000, False, "warning"),
        (100, True, "warning"),
    ],
)
def test_doctor_compares_the_clocks(ahead: int, own: bool, expected: str) -> None:
    found = doctor.clock(1_000_000 + ahead, 1_000_000.0, own)
    assert found.status == expected
    assert bool(found.advice) == (expected != "ok")


def test_doctor_looks_at_disk_and_store(tmp_path: Path) -> None:
    assert doctor.disk(tmp_path / "not" / "there").check == "disk"
    assert doctor._store(str(tmp_path / "store"), None).status == "ok"
    assert doctor._store("ipfs:nonsense", None).status == "failed"


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
