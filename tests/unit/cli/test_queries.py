"""Every query on federations played by hand: what the chain holds is what is printed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bcfl.protocol.rewards import block_hash
from bcfl.protocol.types import Engine, Mode, Phase
from testkit.harness import ETHER, TERMS, Account, Federation
from tests.unit.cli.conftest import VERDICTS, Bcfl, Played


def hexed(data: bytes) -> str:
    return "0x" + data.hex()


def addresses(keys: list[Account]) -> list[str]:
    return [key.address for key in keys]


def test_a_finished_round(bcfl: Bcfl, two_rounds: Federation) -> None:
    federation, view = two_rounds, bcfl("round", "--json").json
    block = federation.block(1)
    devices = [federation.device_keys[update.device].address for update in federation.updates(1)]
    assert (view["round"], view["status"], view["reason"], view["engine"]) == (1, "finalized", None, "stake")
    assert view["leader"] == block.leader
    assert view["global_root"] == hexed(block.root)
    assert view["block_hash"] == hexed(block_hash(block)) == hexed(federation.contract.call("ledger", 1))
    assert view["parent"] == hexed(block.parent)
    assert view["accepted"] == [devices[0], *devices[2:]]
    assert view["rejected"] == [{"device": devices[1], "reason": "quality"}]
    assert view["reward"] == TERMS.reward
    assert [entry["verdict"] for entry in view["submissions"]] == [
        "accepted",
        "quality",
        "accepted",
        "accepted",
    ]
    assert [entry["matches"] for entry in view["votes"]] == [4, 3, 4]
    assert len(view["commits"]) == len(view["vote_commits"]) == 3
    assert view["due"] is None


def test_the_gas_of_a_round_is_that_of_its_receipts(bcfl: Bcfl, open_rounds: Federation) -> None:
    setup = {"register_devices", "register_miner", "start"}
    spent = sum(gas for step, gas in open_rounds.gas.items() if step not in setup)
    open_rounds.send(open_rounds.outsider, "claim_miner", *open_rounds.claim_miner_args(1, 0))
    view = bcfl("round", 1, "--json").json
    assert view["gas"] == spent == sum(phase["gas"] for phase in view["phases"])
    assert [phase["phase"] for phase in view["phases"]] == [
        "commit", "reveal", "vote", "unveil", "tally", "propose", "attest", "finalize",
    ]  # fmt: skip
    assert f"{spent:,} in" in bcfl("round", 1).out


def test_a_round_in_words(bcfl: Bcfl, two_rounds: Federation) -> None:
    text = bcfl("round").text
    assert "status finalized" in text
    assert f"leader {two_rounds.block(1).leader} (stake)" in text
    assert "updates 3 of 4 accepted" in text
    assert "reward 0.5 ether" in text
    assert two_rounds.device_keys[0].address in text


@pytest.mark.parametrize(
    "phase", [Phase.COMMIT, Phase.REVEAL, Phase.VOTE, Phase.UNVEIL, Phase.TALLY, Phase.ATTEST]
)
def test_a_running_round(bcfl: Bcfl, open_rounds: Federation, phase: Phase) -> None:
    federation = open_rounds
    federation.until(phase)
    view = bcfl("round", 2, "--json").json
    assert view["due"]["phase"] == phase.name.lower()
    awaited = set() if phase is Phase.TALLY else set(addresses(federation.miner_keys))
    assert set(view["due"]["awaited"]) >= awaited - {view["leader"]}
    assert view["block_hash"] is None
    assert view["global_root"] == hexed(federation.block(1).root)
    assert "running" in bcfl("round", 2).text
    for command in (("votes", 2), ("leader", 2), ("device", 0), ("miner", 0), ("model",)):
        assert bcfl(*command).text
        assert bcfl(*command, "--json").json


def test_the_last_round_is_the_one_in_which_something_happened(bcfl: Bcfl, open_rounds: Federation) -> None:
    assert bcfl("round", "--json").json["round"] == 1
    open_rounds.commit(open_rounds.miner_keys[0], open_rounds.share(0))
    view = bcfl("round", "--json").json
    assert view["round"] == 2
    assert open_rounds.miner_keys[0].address not in view["due"]["awaited"]


def test_a_void_round(bcfl: Bcfl, play_federation: Played) -> None:
    federation = play_federation().open()
    federation.commit(federation.miner_keys[0], federation.share(0))
    federation.expire()
    federation.send(federation.outsider, "advance")
    federation.expire()
    federation.send(federation.outsider, "advance")
    view = bcfl("round", 1, "--json").json
    assert (view["status"], view["reason"]) == ("void", "few_updates")
    assert (view["block_hash"], view["leader"], view["accepted"]) == (None, None, [])
    assert "status void (few updates)" in bcfl("round", 1).text
    assert "has no updates" in bcfl("votes", 1).out
    model = bcfl("model", 1, "--json").json
    assert (model["round"], model["block_round"]) == (1, 0)
    assert "(void: the model of round 0)" in bcfl("model", 1).out


def test_who_never_unveils_is_shown_with_its_penalty(bcfl: Bcfl, play_federation: Played) -> None:
    federation = play_federation(stakes=(2 * ETHER,) * 3).open().until(Phase.VOTE)
    openings = [federation.opening(i) for i in range(3)]
    for opening in openings:
        federation.commit_vote(opening)
    for opening in openings[:2]:
        federation.unveil(opening)
    federation.expire()
    federation.tally()
    federation.finish()
    silent = federation.miner_keys[2].address
    penalty = 2 * TERMS.vote_penalty  # for a weight of two
    assert bcfl("round", 1, "--json").json["penalties"] == [{"miner": silent, "amount": penalty}]
    assert "Penalties\nminer amount\n" + silent in bcfl("round", 1).text
    assert bcfl("votes", 1, "--json").json["silent"] == [silent]
    assert f"never unveiled: {silent}" in bcfl("votes", 1).out
    view = bcfl("miner", 2, "--json").json
    assert (view["voted"], view["penalties"]) == (0, penalty)
    assert view["stake"] == federation.contract.call("miner", silent)[2]


def test_a_leader_that_missed_its_turn(bcfl: Bcfl, play_federation: Played) -> None:
    federation = play_federation().open().until(Phase.PROPOSE)
    first = federation.leader().address
    federation.expire()
    federation.send(federation.outsider, "skip", *federation.skip_args())
    federation.finish()
    view = bcfl("leader", 1, "--json").json
    assert view["skipped"] == [first]
    assert view["leader"] == federation.block(1).leader != first
    assert view["turn"] == 1
    assert "skipped" in bcfl("leader", 1).out
    assert f"skipped {first}" in bcfl("round", 1).text
    assert "skipped" in bcfl("miner", first).out


def test_who_stood_in_line(bcfl: Bcfl, play_federation: Played) -> None:
    federation = play_federation(stakes=(ETHER, 3 * ETHER, 2 * ETHER)).open().until(Phase.PROPOSE)
    ranking = federation.ranking()
    federation.finish()
    view = bcfl("leader", "--json").json
    assert [entry["miner"] for entry in view["order"]] == ranking
    assert view["leader"] == ranking[0]
    assert sum(entry["share"] for entry in view["order"]) == pytest.approx(1, abs=1e-5)
    assert [entry["credit"] for entry in view["order"]] == [-1, -1, -1]  # nobody has led before
    text = bcfl("leader").text
    assert "Whose turn it was" in text
    assert f"1 {ranking[0]} -1.000 3 50.0% led" in text
    view = bcfl("round", 1, "--json").json
    assert view["electorate"] == {"whole": 6, "deciding": 4}
    assert view["proposals"][0]["attested_weight"] >= 4
    assert "decides 4 of 6" in bcfl("round", 1).text


def test_a_race(bcfl: Bcfl, play_federation: Played) -> None:
    federation = play_federation(terms=replace(TERMS, engine=1)).open().finish()
    view = bcfl("leader", "--json").json
    assert (view["engine"], view["leader"]) == ("pow", federation.block(1).leader)
    assert view["nonce"] >= 0
    assert view["order"] == []
    assert "nonce" in bcfl("leader").out
    assert "elect" in [phase["phase"] for phase in bcfl("round", "--json").json["phases"]]


def test_the_matrix_of_votes(bcfl: Bcfl, two_rounds: Federation) -> None:
    view = bcfl("votes", 1, "--json").json
    miners = addresses(two_rounds.miner_keys)
    matrix = [[update["verdicts"][miner] for update in view["updates"]] for miner in miners]
    assert matrix == [[verdict.name.lower() for verdict in verdicts] for verdicts in VERDICTS]
    assert [update["verdict"] for update in view["updates"]] == [
        "accepted",
        "quality",
        "accepted",
        "accepted",
    ]
    rows = [line.split()[2:] for line in bcfl("votes", 1).text.splitlines() if line.startswith("1 ")]
    assert rows == [["quality", "quality", "quality", "duplicate"]]


def test_a_device(bcfl: Bcfl, two_rounds: Federation) -> None:
    updates = two_rounds.updates(1)
    device = updates[1].device
    view = bcfl("device", device, "--json").json
    assert view["device"] == two_rounds.device_keys[device].address
    assert (view["submitted"], view["accepted"], view["samples"]) == (1, 0, 0)
    (entry,) = view["rounds"]
    assert (entry["verdict"], entry["samples"], entry["microseconds"]) == ("quality", 50 + device, 900)
    assert entry["root"] == hexed(updates[1].root)
    assert bcfl("device", view["device"].lower(), "--json").json == view
    assert bcfl("device", view["device"][:8], "--json").json == view
    assert bcfl("device", f"{view['device'][:6]}…{view['device'][-4:]}", "--json").json == view
    assert "1 submitted, 0 accepted" in bcfl("device", device).text


def test_a_device_that_leaves(bcfl: Bcfl, open_rounds: Federation) -> None:
    leaver = open_rounds.device_keys[2]
    open_rounds.send(open_rounds.owner, "leave_device", leaver.address)
    assert bcfl("device", leaver.address, "--json").json["until_round"] == 3
    assert "takes part from round 1 to 2" in bcfl("device", 2).text


def test_what_was_claimed(bcfl: Bcfl, open_rounds: Federation) -> None:
    position = next(i for i, update in enumerate(open_rounds.updates(1)) if update.device == 0)
    open_rounds.send(open_rounds.outsider, "claim_device", *open_rounds.claim_device_args(1, position))
    open_rounds.send(open_rounds.outsider, "claim_miner", *open_rounds.claim_miner_args(1, 0))
    account = open_rounds.device_keys[0].address
    view = bcfl("device", 0, "--json").json
    assert view["claimed_rounds"] == [1]
    assert view["credits"] == view["claimed"] == open_rounds.contract.call("credits", account) > 0
    assert "claimed round 1" in bcfl("device", 0).text
    voter = open_rounds.round_events("Voted", 1)[0]["miner"]
    assert bcfl("miner", voter, "--json").json["claimed_rounds"] == [1]
    assert bcfl("device", 1, "--json").json["claimed_rounds"] == []


def test_a_miner(bcfl: Bcfl, two_rounds: Federation) -> None:
    leader = two_rounds.block(1).leader
    view = bcfl("miner", leader, "--json").json
    stake = two_rounds.contract.call("miner", leader)[2]
    assert (view["led"], view["voted"], view["weight"], view["stake"]) == ([1], 1, 1, stake)
    assert view["rest"] == {
        "missed": 0, "since": None, "strikes": 0, "suspended": False, "until_round": None,
    }  # fmt: skip
    assert [entry["author"] for entry in view["rounds"]] == [True]
    assert "missed" not in bcfl("miner", leader).text
    assert bcfl("miner", view["index"], "--json").json == view
    assert "led round 1" in bcfl("miner", leader).text


def test_a_miner_that_leaves(bcfl: Bcfl, open_rounds: Federation) -> None:
    open_rounds.send(open_rounds.miner_keys[1], "leave_miner")
    open_rounds.finish()
    view = bcfl("miner", open_rounds.miner_keys[1].address, "--json").json
    assert view["exit_round"] == 2 + 1 + TERMS.exit_rounds
    assert view["weight"] == 0


def test_the_engine_changes_by_the_miners_votes(bcfl: Bcfl, play_federation: Played) -> None:
    federation = play_federation(terms=replace(TERMS, mode=Mode.HYBRID, committee_size=2)).open()
    federation.until(Phase.VOTE)
    openings = [replace(federation.opening(i), wish=Engine.COMMITTEE if i else None) for i in range(3)]
    for opening in openings:
        federation.commit_vote(opening)
    for opening in openings:
        federation.unveil(opening)
    federation.finish()
    first, second = (bcfl("round", number, "--json").json for number in (1, 2))
    assert [(view["engine"], len(view["committee"])) for view in (first, second)] == [
        ("stake", 0),
        ("committee", 2),
    ]
    assert [vote["wish"] for vote in bcfl("votes", 1, "--json").json["miners"]] == [None, *["committee"] * 2]
    assert "wishes for" in bcfl("round", 1).text
    assert f"engine committee\ncommittee {', '.join(second['committee'])}" in bcfl("round", 2).text
    federation.finish()
    view = bcfl("leader", 2, "--json").json
    assert (view["engine"], view["committee"]) == ("committee", second["committee"])
    assert {entry["miner"] for entry in view["order"]} == set(second["committee"])
    assert f"committee {', '.join(second['committee'])}" in bcfl("leader", 2).text


def test_the_list_of_runs_shows_modes(bcfl: Bcfl, two_rounds: Federation) -> None:
    assert two_rounds is not None
    (run,) = bcfl("ls", "--json").json["runs"]
    assert (run["mode"], run["engine"]) == ("partial", "stake")
    assert "partial, stake" in bcfl("ls").text


def test_models(bcfl: Bcfl, two_rounds: Federation) -> None:
    genesis, latest = bcfl("model", 0, "--json").json, bcfl("model", "latest", "--json").json
    assert latest == bcfl("model", 1, "--json").json == bcfl("model", "--json").json
    assert latest["parent"] == genesis["block_hash"] == hexed(two_rounds.contract.call("ledger", 0))
    assert (genesis["leader"], genesis["held"], genesis["bytes"]) == (None, False, None)
    assert "in the store no" in bcfl("model").text
    assert "does not hold the model of round 1" in bcfl("export").refusal


def test_events(bcfl: Bcfl, two_rounds: Federation) -> None:
    every = bcfl("events", "--json").json["events"]
    assert [event["name"] for event in every[:1]] == ["Genesis"]
    events = bcfl("events", "Voted", "--json").json["events"]
    assert [event["args"]["miner"] for event in events] == addresses(two_rounds.miner_keys)
    late = bcfl("events", "--from-block", events[0]["block"], "--json").json["events"]
    assert late == [event for event in every if event["block"] >= events[0]["block"]]
    assert len(bcfl("events").out.splitlines()) == len(every) + 1
    assert bcfl("events", "Withdrawn").text == "no such events"
    assert "did you mean Voted?" in bcfl("events", "Vote").refusal


def test_calls(bcfl: Bcfl, two_rounds: Federation) -> None:
    miner = two_rounds.miner_keys[0].address
    assert bcfl("call", "devices_registered").out == "4\n"
    assert bcfl("call", "miner_at", 0).out.strip() == miner
    assert bcfl("call", "credits", miner.lower(), "--json").json["result"] == 0
    assert bcfl("call", "ledger", "0x1", "--json").json["result"] == hexed(
        two_rounds.contract.call("ledger", 1)
    )
    fields = bcfl("call", "round_clock", "--json").json["result"]
    assert (fields["round"], fields["phase"]) == (2, 0)
    assert "round 2" in bcfl("call", "round_clock").text
    root, cid = bcfl("call", "model", "--json").json["result"]
    assert [root, cid] == [hexed(part) for part in two_rounds.contract.call("model")]


def test_the_last_round_is_what_is_asked_for_where_none_is_named(bcfl: Bcfl, two_rounds: Federation) -> None:
    assert two_rounds is not None
    for command in ("round", "leader", "votes"):
        last = bcfl(command, "--json").json
        assert last["round"] == 1
        assert bcfl(command, "latest", "--json").json == bcfl(command, 1, "--json").json == last


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("round", 9), "the federation has rounds 1 to 2"),
        (("round", -1), "there is no round -1: the federation has rounds 1 to 2"),
        (("round", 0), "there is no round 0"),
        (("round", "x"), "'x' is not the number of a round"),
        (("round", 10**30), "not the number of a round"),
        (("round", "--jsn"), "no such option: --jsn"),
        (("leader", 3), "the federation has rounds 1 to 2"),
        (("votes", -5), "the federation has rounds 1 to 2"),
        (("votes", "--journal", "nowhere"), "nowhere is not a folder"),
        (("device", 0, "--journal", "nowhere"), "nowhere is not a folder"),
        (("round", "--run", "r", "--network", "n"), "--network for a deployed federation: leave one out"),
        (("round", "--run", "r", "--deployment", "d"), "--deployment for a deployed federation"),
        (("model", 2), "the federation has rounds 0 to 1"),
        (("model", -2), "the federation has rounds 0 to 1"),
        (("export", 7), "the federation has rounds 0 to 1"),
        (("export", "--format", "pickle"), "take one of safetensors"),
        (("device", 4), "the federation has devices 0 to 3"),
        (("device", "0x" + "12" * 20), "the federation has devices 0 to 3"),
        (("device", "0x"), "there is no device 0x"),
        (("device", "nobody"), "there is no device nobody"),
        (("device",), "Missing argument 'ADDRESS'"),
        (("miner", 3), "the federation has miners 0 to 2"),
        (("events", "Votid"), "did you mean Voted?"),
        (("events", "--from-block", -1), "--from-block"),
        (("call", "round_clok"), "the nearest that only reads is round_clock"),
        (("call", "propose", 1, 2, 3), "propose changes the chain"),
        (("call", "miner_at"), "miner_at takes (uint256 index), not 0 arguments"),
        (("call", "miner_at", -1), "'-1' is not a whole number that fits uint256"),
        (("call", "miner_at", 2**256), "is not a whole number"),
        (("call", "miner", "0x12"), "'0x12' is not an address"),
        (("call", "miner", "0x" + "12" * 20), "registry: not a miner"),
        (("call",), "Missing argument 'FUNCTION'"),
        (("fetch", "../../etc/passwd"), "not a CID"),
        (("fetch", "bafkreigh2akiscaildcqabsygg3dfr6chu3fgpregiymsck7e7aqa4s52zy"), "not a CID"),
        (("fetch", "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"), "does not hold"),
    ],
)
def test_what_cannot_be_asked(
    bcfl: Bcfl, two_rounds: Federation, arguments: tuple[object, ...], words: str
) -> None:
    assert two_rounds is not None
    assert words in bcfl(*arguments).refusal


def test_before_the_first_round(bcfl: Bcfl, play_federation: Played) -> None:
    play_federation()
    assert "no round yet" in bcfl("round").refusal
    assert "no round yet" in bcfl("votes", 1).refusal
    assert "there is no round 1: the federation has round 0 only" in bcfl("model", 1).refusal
    assert bcfl("model", "--json").json["round"] == 0
    assert "the federation has no devices" in bcfl("device", 0).refusal
