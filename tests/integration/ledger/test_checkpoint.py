"""A history on disk: what a restart and a reorganisation of a long chain cost, and files that are torn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from bcfl.errors import Unfinished, Unreachable
from bcfl.ledger.artifact import federation_at
from bcfl.ledger.checkpoint import Checkpoint
from bcfl.ledger.contract import RANGE
from bcfl.ledger.live import FINAL_BLOCKS, LiveLedger
from testkit.harness import Federation

BLOCKS = 200_000


class LongChain:
    """The events of a small federation spread over 200,000 blocks, and requests that are counted."""

    view = "latest"

    def __init__(self, federation: Federation) -> None:
        self.chain, self.chain_id = federation.chain, federation.chain.chain_id
        self.address = federation.contract.address
        self.head, self.fork = BLOCKS, {BLOCKS + 1: ""}  # from which block on hashes are others
        self.finality = 64
        self.hidden = range(0)  # blocks whose events it does not tell
        self.counts: Counter[str] = Counter()
        self.switches = 0
        self.switch_at: int | None = (
            None  # the block up to which another node, asked from there, has the chain
        )
        last = int(self.chain.request("eth_blockNumber"), 16)
        logs = self.chain.request("eth_getLogs", {"address": self.address, "fromBlock": 0, "toBlock": last})
        step = (BLOCKS - 1_000) // last
        self.logs = [
            log | {"blockNumber": hex(int(log["blockNumber"], 16) * step), "blockHash": "0x" + "11" * 32}
            for log in logs
        ]

    def request(self, method: str, *params: Any) -> Any:
        self.counts[method] += 1
        if method == "eth_getLogs":
            first, last = (int(params[0][name], 16) for name in ("fromBlock", "toBlock"))
            if self.switch_at is not None and last >= self.switch_at:
                self.head, self.switch_at, self.switches = self.switch_at, None, self.switches + 1
                self.hidden = range(self.head, BLOCKS)
            numbers = ((log, int(log["blockNumber"], 16)) for log in self.logs)
            return [log for log, block in numbers if first <= block <= last and block not in self.hidden]
        if method != "eth_getBlockByNumber":
            return self.chain.request(method, *params)
        names = {"latest": self.head, "finalized": self.head - self.finality}
        number = names[params[0]] if params[0] in names else int(params[0], 16)
        if number > self.head:
            return None
        salt = max((fork, text) for fork, text in [(0, ""), *self.fork.items()] if fork <= number)[1]
        name = "0x" + sha256(f"{number}{salt}".encode()).hexdigest()
        return {"number": hex(number), "hash": name, "timestamp": hex(number)}

    def ledger(self, folder: Path) -> LiveLedger:
        ledger = LiveLedger(federation_at(self, self.address))  # type: ignore[arg-type]
        ledger.keep_in(folder)
        return ledger

    def cost(self, action: Callable[[], Any]) -> int:
        before = self.counts.total()
        action()
        return self.counts.total() - before


@pytest.fixture(scope="module")
def federation() -> Federation:
    federation = Federation(4, 3).open()
    federation.finish()
    return federation


@pytest.fixture
def chain(federation: Federation) -> LongChain:
    return LongChain(federation)


def facts(ledger: LiveLedger) -> Any:
    history = ledger.history()
    return (
        history.blocks,
        list(history.rounds),
        history.rounds[1].submissions,
        history.rounds[1].votes,
        history.endpoints,
        history.devices,
        history.rounds[1].transactions,
    )


def close(ledger: LiveLedger) -> None:
    assert ledger._checkpoint is not None
    ledger._checkpoint.close()


def test_a_restart_reads_only_what_is_new(chain: LongChain, tmp_path: Path) -> None:
    first = chain.ledger(tmp_path)
    all_of_it = chain.cost(first.history)
    close(first)
    second = chain.ledger(tmp_path)
    rest = chain.cost(second.history)
    print(f"{BLOCKS} blocks: {all_of_it} requests at first, {rest} after a restart")
    assert all_of_it > BLOCKS // 1_000
    assert rest <= 5
    assert facts(first) == facts(second)
    close(second)


def test_a_reorganisation_reads_only_what_may_have_changed(chain: LongChain, tmp_path: Path) -> None:
    ledger = chain.ledger(tmp_path)
    before = facts(ledger)
    chain.head, chain.fork = BLOCKS + 3, {BLOCKS - 5: "fork"}
    cost = chain.cost(ledger.history)
    print(f"{cost} requests after a reorganisation")
    assert (ledger.reorganisations, cost <= 6) == (1, True)
    assert facts(ledger) == before
    close(ledger)


def test_a_chain_that_takes_final_blocks_back_is_read_from_there(chain: LongChain, tmp_path: Path) -> None:
    ledger = chain.ledger(tmp_path)
    before = facts(ledger)
    chain.head += 1_000
    ledger.history()  # a second segment
    chain.fork = {BLOCKS - 10: "fork"}
    assert chain.cost(ledger.history) <= 8
    assert facts(ledger) == before
    chain.fork = {5: "another chain"}  # begun anew, with the same number
    assert chain.cost(ledger.history) > BLOCKS // 1_000
    assert facts(ledger) == before
    close(ledger)


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "noise", "swapped", "another contract"])
def test_a_torn_file_is_read_as_far_as_it_proves_itself(
    chain: LongChain, tmp_path: Path, damage: str
) -> None:
    ledger = chain.ledger(tmp_path)
    before = facts(ledger)
    chain.head += 1_000
    ledger.history()
    close(ledger)
    path = next(tmp_path.iterdir())
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    assert len(lines) == 3
    middle = len(content) // 2
    torn = {
        "cut": content[:middle],
        "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "emptied": b"",
        "noise": bytes(range(256)) * 40,
        "swapped": lines[0] + lines[2] + lines[1],
        "another contract": content.replace(chain.address.encode(), b"0x" + b"1" * 40),
    }[damage]
    path.write_bytes(torn)
    for _ in range(2):  # the second time from what the first has mended
        ledger = chain.ledger(tmp_path)
        assert facts(ledger) == before
        close(ledger)
    assert chain.cost(chain.ledger(tmp_path).history) <= 5


@pytest.mark.parametrize(
    "fields", [{"block": None}, {"block": 1e400}, {"events": [["Voted", [], *"12345"]]}, {}]
)
def test_a_line_of_another_shape_ends_no_party(
    chain: LongChain, tmp_path: Path, fields: dict[str, Any]
) -> None:
    """Its digest is right, as that of any line that somebody else, or another version, has written."""
    ledger = chain.ledger(tmp_path)
    before = facts(ledger)
    assert ledger._checkpoint is not None
    shape = {"block": BLOCKS, "hash": "0x", "events": []} if fields else {"other": 1}
    ledger._checkpoint._write(shape | fields)
    close(ledger)
    ledger = chain.ledger(tmp_path)
    assert facts(ledger) == before
    close(ledger)


def test_one_process_writes_and_others_read(chain: LongChain, tmp_path: Path) -> None:
    writer = chain.ledger(tmp_path)
    before = facts(writer)
    reader = chain.ledger(tmp_path)
    content = next(tmp_path.iterdir()).read_bytes()
    assert chain.cost(reader.history) <= 5
    chain.head += 10_000
    assert facts(reader) == before
    assert next(tmp_path.iterdir()).read_bytes() == content
    close(writer)


def test_a_folder_that_cannot_be_written_costs_requests_only(chain: LongChain, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ledger = chain.ledger(tmp_path / "file" / "folder")
    assert not Checkpoint(tmp_path / "file", 1, chain.address, 0).is_writable
    assert len(facts(ledger)[0]) == 2


def test_what_a_node_kept_back_is_not_missing_for_ever(chain: LongChain, tmp_path: Path) -> None:
    """Its events do not make a history any more: what the checkpoint holds of them is read again as well."""
    truth = facts(chain.ledger(tmp_path / "true"))
    chain.head, chain.hidden = BLOCKS // 2, range(1, BLOCKS // 2)
    ledger = chain.ledger(tmp_path / "partial")
    reader = chain.ledger(tmp_path / "partial")  # of the same folder
    ledger.history()
    chain.head, chain.hidden = BLOCKS, range(0)
    for each in (reader, ledger):
        for _ in range(2):
            with pytest.raises(Unreachable, match="those of no chain"):
                each.history()
        assert facts(each) == truth
    close(ledger)
    assert facts(chain.ledger(tmp_path / "partial")) == truth


def test_what_a_node_behind_its_head_left_out_is_not_kept(chain: LongChain, tmp_path: Path) -> None:
    """A node of several may lack the last blocks, and tell of no events there: as if there were none."""
    truth = facts(chain.ledger(tmp_path / "true"))
    last = max(int(log["blockNumber"], 16) for log in chain.logs)
    chain.head, chain.hidden = last, range(last - 2, last + 1)
    ledger = chain.ledger(tmp_path / "behind")
    ledger.history()  # keeps nothing of the last blocks yet
    chain.head, chain.hidden = BLOCKS, range(0)
    with pytest.raises(Unreachable, match="other events before"):
        ledger.history()
    assert facts(ledger) == truth
    close(ledger)
    assert facts(chain.ledger(tmp_path / "behind")) == truth


def test_a_head_that_is_far_away_ends_no_party(chain: LongChain, tmp_path: Path) -> None:
    """A node that names a wrong head once, and tells of no events there, would be read for years."""
    truth = facts(chain.ledger(tmp_path / "true"))
    ledger = chain.ledger(tmp_path / "lied to")
    honest = ledger._ask_head()
    chain.counts.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "_ask_head", lambda: replace(honest, number=2**40, hash="0x" + "0" * 64))
        with pytest.raises(Unreachable, match="head is gone"):
            ledger.history()
    assert chain.counts.total() < 500
    assert facts(ledger) == truth
    close(ledger)


def test_a_turn_reads_for_a_bounded_time(
    chain: LongChain, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A node that confirms its head of 2^40 would be read in one turn for ever."""
    truth = facts(chain.ledger(tmp_path / "true"))
    ledger = chain.ledger(tmp_path / "slow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bcfl.ledger.live.READ_SECONDS", 0.0)
        for turn in range(1, 4):
            with ledger.turn(), pytest.raises(Unfinished, match=f"block {turn * RANGE - 1} of {BLOCKS}"):
                ledger.history()
    assert ledger._next_block > 3 * RANGE - 1
    assert facts(ledger) == truth
    assert not caplog.messages
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bcfl.ledger.live.READ_SECONDS", 0.0)
        assert facts(chain.ledger(tmp_path / "query")) == truth, "outside of a turn it goes on, and says so"
    assert len(caplog.messages) > 100
    assert f"events are read up to block 1999 of {BLOCKS}" in caplog.messages
    close(ledger)


def test_a_restart_in_a_long_read_goes_on_from_there(chain: LongChain, tmp_path: Path) -> None:
    truth = facts(chain.ledger(tmp_path / "true"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bcfl.ledger.live.READ_SECONDS", 0.0)
        for turn in range(1, 51):
            ledger = chain.ledger(tmp_path / "often restarted")
            with ledger.turn(), pytest.raises(Unfinished):
                ledger.history()
            assert ledger._next_block >= turn * (RANGE - FINAL_BLOCKS), "each goes further"
            close(ledger)
    ledger = chain.ledger(tmp_path / "often restarted")
    assert facts(ledger) == truth
    close(ledger)


def test_another_node_that_knows_less_hides_no_events(chain: LongChain, tmp_path: Path) -> None:
    """It tells of no events in blocks that it does not have: what it said of them is not kept."""
    truth = facts(chain.ledger(tmp_path / "true"))
    ledger = chain.ledger(tmp_path / "switched")
    chain.switch_at = 40 * RANGE
    chain.counts.clear()
    with pytest.raises(Unreachable, match="head is gone"):
        ledger.history()
    assert chain.counts["eth_getLogs"] == 41, "at once: later it may have caught up"
    chain.head, chain.hidden = BLOCKS, range(0)
    assert facts(ledger) == truth
    close(ledger)
