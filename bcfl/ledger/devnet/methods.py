"""Answer what foreign clients of a served chain ask: web3, `cast` and explorers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import BoundedSemaphore
from typing import Any, Final

from eth.abc import BlockAPI, BlockHeaderAPI, SignedTransactionAPI
from eth.exceptions import HeaderNotFound, OutOfGas
from eth_typing import Address, BlockNumber, Hash32

from bcfl.ledger.devnet.deadline import TOO_MUCH, TooLong, within
from bcfl.ledger.devnet.evm import Evm, in_words
from bcfl.ledger.devnet.filters import Filters
from bcfl.ledger.devnet.logs import LogRow
from bcfl.ledger.devnet.node import NOBODY, REFUSED, Node, NodeError, call_error, check_creation
from bcfl.ledger.devnet.values import Json, parse_address, parse_bytes, parse_number, to_hex
from bcfl.ledger.devnet.views import gas_price
from bcfl.protocol.limits import TRANSACTION_GAS

CLIENT: Final = "bcfl/embedded/py-evm"
INVALID_PARAMS: Final = -32602
TOO_MANY: Final = TOO_MUCH
MAX_LOGS: Final = 10_000
MAX_LOG_BYTES: Final = 32 * 2**20  # of an answer: data of logs, in hexadecimal text
SLOW_SECONDS: Final = 300.0  # for which who sent a transaction that took too long sends none
LONG_SHARE: Final = 0.25  # of TRANSACTION_SECONDS: who sent one that took longer waits in proportion
MAX_SLOW: Final = 1_000  # senders that are remembered for that
MAX_NAMES: Final = 1_000  # addresses, or values of one topic, in a query of logs
MAX_TOPICS: Final = 4
MAX_HISTORY: Final = 1_024  # blocks of eth_feeHistory
MAX_SECONDS: Final = 2**34  # the clock of the contract has 36 bits
BLOCK_FIELDS: Final = ("fromBlock", "toBlock", "blockHash")  # of a query of logs
QUERY_FIELDS: Final = ("address", "topics", *BLOCK_FIELDS)
MAX_NAME: Final = 66  # letters of an address or a topic
CALL_SECONDS: Final = 10.0  # of the processor
TRANSACTION_SECONDS: Final = 20.0  # of the processor
CALLS_AT_ONCE: Final = 4  # that compute at once; whoever sends a transaction competes with so many
CALLS: Final = frozenset({"eth_call", "eth_estimateGas"})
FILTERS: Final = frozenset({"eth_newFilter", "eth_newBlockFilter"})
PRECISION: Final = 64  # an estimate of gas is at most a 64th above what is needed
BASE_GAS, CREATION_GAS, WORD_GAS = 21_000, 32_000, 2
ZERO_GAS, BYTE_GAS, FLOOR_GAS, TOKENS = 4, 16, 10, 4  # of calldata: EIP-2028, EIP-7623


class BlockClock:
    """The time of the next block: the wall's and what was skipped, or, simulated, a second a block.

    It starts where the chain ended if that is ahead of the wall, and continues from there.
    """

    def __init__(self, evm: Evm, *, simulated: bool = False, wall: Callable[[], float] = time.time) -> None:
        self._evm, self._simulated, self._wall = evm, simulated, wall
        self._parent = evm.last_header()
        self._pinned_time: int | None = None
        self._skipped_seconds = max(0, self._parent.timestamp - int(wall()))

    def tick(self) -> None:
        """Give the header of the next block the time that it is now."""
        header = self._evm.header
        if header.parent_hash != self._parent.hash:
            self._parent = self._evm.last_header()
            if self._pinned_time is not None:
                self._skipped_seconds, self._pinned_time = self._parent.timestamp - int(self._wall()), None
        timestamp = self._pinned_time or max(self._parent.timestamp + 1, self._now())
        if timestamp != header.timestamp:
            self._evm.header = header.copy(timestamp=timestamp)

    def skip(self, seconds: int) -> int:
        """Move time forward by `seconds`; returns all seconds that were skipped so far."""
        if not 0 <= seconds < MAX_SECONDS - self._evm.header.timestamp:
            raise NodeError(
                INVALID_PARAMS, f"time goes forward, and by no skip to {MAX_SECONDS} seconds since 1970"
            )
        if self._simulated:
            self.pin(self._evm.header.timestamp + seconds)
            return seconds
        self._skipped_seconds += seconds
        if self._pinned_time is not None:
            self._pinned_time += seconds
        return self._skipped_seconds

    def pin(self, timestamp: int) -> None:
        """Give the next block exactly this time; time continues from there."""
        if not self._parent.timestamp < timestamp < MAX_SECONDS:
            raise NodeError(
                INVALID_PARAMS,
                f"the next block comes after the last, at {self._parent.timestamp}, and before {MAX_SECONDS}",
            )
        self._pinned_time = timestamp

    def _now(self) -> int:
        return 0 if self._simulated else int(self._wall()) + self._skipped_seconds


class ServedNode(Node):
    """A node for foreign clients: blocks, transactions, estimates, fees, filters and a clock to move."""

    def __init__(self, evm: Evm, accounts: Sequence[str], clock: BlockClock) -> None:
        super().__init__(evm, read_only=False)
        self._accounts, self._clock = list(accounts), clock
        self._filters = Filters(lambda query: Node._logs(self, query), self._hashes)
        self._slots = BoundedSemaphore(CALLS_AT_ONCE)
        self._slow: dict[Address, float] = {}  # who sent what took too long, and until when it sends no more
        self.observe: Callable[[str, bool], None] = lambda *_: None  # hears of each request, and its outcome
        self.methods |= {
            "web3_clientVersion": lambda: CLIENT,
            "net_version": lambda: str(evm.chain_id),
            "net_listening": lambda: True,
            "eth_syncing": lambda: False,
            "eth_accounts": lambda: self._accounts,
            "eth_getBlockByNumber": self._block_by_number,
            "eth_getBlockByHash": self._block_by_hash,
            "eth_getTransactionByHash": self._transaction,
            "eth_getBalance": self._balance,
            "eth_getCode": self._code,
            "eth_getStorageAt": self._storage,
            "eth_estimateGas": self._estimate,
            "eth_gasPrice": lambda: hex(self._evm.header.base_fee_per_gas or 0),
            "eth_maxPriorityFeePerGas": lambda: "0x0",
            "eth_feeHistory": self._fee_history,
            "eth_newFilter": self._new_filter,
            "eth_newBlockFilter": lambda client: self._filters.add(client, None, self._height("latest") + 1),
            "eth_getFilterChanges": lambda key: self._filters.changes(key, self._height("latest")),
            "eth_getFilterLogs": lambda key: self._logs(self._filters.query(key)),
            "eth_uninstallFilter": lambda key: self._filters.remove(key),
            "evm_increaseTime": lambda seconds: self._clock.skip(parse_number(seconds)),
            "evm_setNextBlockTimestamp": lambda timestamp: self._clock.pin(parse_number(timestamp)),
            "evm_mine": self._mine,
        }

    def head(self) -> tuple[int, int]:
        """Return number and timestamp of the last block."""
        with self.lock():
            header = self._evm.last_header()
            return header.block_number, header.timestamp

    def answer(self, method: str, params: Sequence[Any], client: str = "") -> Any:
        """Return the result of a client's call.

        Raises NodeError, RunError for a chain that is damaged, or what decoding foreign values raises.
        """
        if method in CALLS:
            return self._compute(method, params)
        with self.lock(), in_words(self._evm.database):
            self._clock.tick()
            if method == "eth_sendRawTransaction":
                with within(TRANSACTION_SECONDS):
                    return self.methods[method](*params)
            return self.methods[method](*([client] if method in FILTERS else []), *params)

    def _compute(self, method: str, params: Sequence[Any]) -> Any:
        """Return the result of a call, which takes the lock to choose its block only: writes go on."""
        with self.lock():
            self._clock.tick()
        if not self._slots.acquire(timeout=CALL_SECONDS):
            raise NodeError(TOO_MANY, f"{CALLS_AT_ONCE} calls are computed already: try again in a moment")
        try:
            with within(CALL_SECONDS), in_words(self._evm.database):
                return self.methods[method](*params)
        finally:
            self._slots.release()

    def _mine(self, *_: Any) -> str:
        self._evm.mine(())
        return "0x0"

    def _hashes(self, first: int, last: int) -> list[str]:
        """Return the hashes of the blocks `first` to `last`."""
        numbers = range(first, last + 1)
        return [to_hex(self._evm.get_canonical_block_hash(BlockNumber(number))) for number in numbers]

    def _block_by_hash(self, block_hash: Any, full: bool = False) -> Json | None:
        header = self._header_of(block_hash)
        return None if header is None else self._block_by_number(header.block_number, full)

    def _header_of(self, block_hash: Any) -> BlockHeaderAPI | None:
        try:
            return self._evm.get_block_header_by_hash(Hash32(parse_bytes(block_hash)))
        except HeaderNotFound:
            return None

    def _code(self, address: str, block: Any = "latest") -> str:
        return to_hex(self._evm.get_vm(self._header(block)).state.get_code(parse_address(address)))

    def _storage(self, address: Any, slot: Any, block: Any = "latest") -> str:
        state = self._evm.get_vm(self._header(block)).state
        return to_hex(state.get_storage(parse_address(address), parse_number(slot)).to_bytes(32, "big"))

    def _logs(self, query: Mapping[str, Any]) -> list[Json]:
        _check_query(query)
        if "blockHash" in query:
            header = self._header_of(query["blockHash"])
            if header is None:
                raise NodeError(REFUSED, "no block of that hash")
            query = {**query, "fromBlock": header.block_number, "toBlock": header.block_number}
        return super()._logs(query)

    def _log_objects(self, rows: Iterator[LogRow]) -> Iterator[Json]:
        logs, size = list[Json](), 0
        for log in super()._log_objects(rows):
            size += len(log["data"])
            if len(logs) == MAX_LOGS or size > MAX_LOG_BYTES:
                words = f"more than {MAX_LOGS} logs, or {MAX_LOG_BYTES} letters of data"
                raise NodeError(TOO_MANY, f"{words}: ask for fewer blocks at once")
            logs.append(log)
        return iter(logs)

    def _mine_one(self, transaction: SignedTransactionAPI) -> None:
        """Put a transaction into the next block, unless its sender's last one took long.

        All others wait for the lock meanwhile. One that takes too long is refused and costs nothing, one that
        nearly does costs next to nothing: with other data both could be sent again for ever.
        """
        sender, began = transaction.sender, time.thread_time()
        wait, longest = self._slow.get(sender, 0.0) - time.monotonic(), LONG_SHARE * TRANSACTION_SECONDS
        if wait > 0:
            words = f"this account's last transaction took more than {longest:g} seconds to compute"
            raise NodeError(TOO_MANY, f"{words}: it can send another in {wait:.0f} seconds")
        try:
            super()._mine_one(transaction)
        except TooLong:
            self._hold_off(sender, SLOW_SECONDS)
            raise
        if (seconds := time.thread_time() - began) > longest:
            self._hold_off(sender, seconds / TRANSACTION_SECONDS * SLOW_SECONDS)

    def _hold_off(self, sender: Address, seconds: float) -> None:
        """Take no transaction of an account for so long."""
        self._slow.pop(sender, None)
        while len(self._slow) >= MAX_SLOW:
            del self._slow[next(iter(self._slow))]
        self._slow[sender] = time.monotonic() + seconds

    def _new_filter(self, client: str, query: Mapping[str, Any]) -> str:
        _check_query(query)
        kept = {name: query[name] for name in QUERY_FIELDS if name in query}
        return self._filters.add(client, kept, self._height("latest") + 1)

    def _estimate(self, call: Json, block: Any = "pending", *_: Any) -> str:
        """Find the least gas, within a 64th, with which the call succeeds, by trying."""
        sender, to = parse_address(call.get("from")) or NOBODY, parse_address(call.get("to"))
        data = parse_bytes(call.get("input") or call.get("data") or b"")
        value = parse_number(call.get("value") or 0)
        check_creation(to, data)
        with self.lock():
            header = self._header(block)
        if value > self._evm.get_vm(header).state.get_balance(sender):
            raise NodeError(REFUSED, "insufficient funds for gas * price + value")
        intrinsic = _intrinsic(to, data)
        limit = parse_number(call.get("gas") or TRANSACTION_GAS)
        max_gas = min(limit, TRANSACTION_GAS, header.gas_limit) - intrinsic

        def gas_used(gas: int) -> int | None:
            """Return what the call uses of `gas`, None if that is too little."""
            computation = self._evm.call(header, sender=sender, to=to, value=value, data=data, gas=gas)
            if not computation.is_error:
                return computation.get_gas_used()
            if gas == max_gas and not isinstance(computation.error, OutOfGas):
                raise call_error(computation)
            return None

        min_gas = gas_used(max_gas) if max_gas >= 0 else None
        if min_gas is None:
            raise NodeError(REFUSED, f"gas required exceeds allowance ({max_gas + intrinsic})")
        return hex(max(intrinsic + _search(gas_used, min_gas, max_gas), _floor(data)))

    def _fee_history(self, count: Any, newest: Any = "latest", percentiles: Sequence[float] = ()) -> Json:
        last = min(self._height(newest), self._evm.header.block_number - 1)
        first = max(0, last + 1 - min(max(parse_number(count), 0), MAX_HISTORY))
        blocks = [self._evm.get_canonical_block_by_number(BlockNumber(n)) for n in range(first, last + 1)]
        headers = [*(block.header for block in blocks), self._header(last + 1)]
        fees = [header.base_fee_per_gas or 0 for header in headers]
        history = {
            "oldestBlock": hex(first),
            "baseFeePerGas": [hex(fee) for fee in fees],
            "gasUsedRatio": [block.header.gas_used / block.header.gas_limit for block in blocks],
        }
        if percentiles:
            history["reward"] = [self._tips(block, len(percentiles)) for block in blocks]
        return history

    def _tips(self, block: BlockAPI, count: int) -> list[str]:
        """Return the tip of a block at each percentile: the same, for a block has at most one transaction."""
        base_fee = block.header.base_fee_per_gas or 0
        tips = [gas_price(transaction, block.header) - base_fee for transaction in block.transactions]
        return [hex(tips[0] if tips else 0)] * min(count, 100)


def _search(gas_used: Callable[[int], int | None], min_gas: int, max_gas: int) -> int:
    """Return the gas, between `least` and `most`, that suffices; each inner call gets a 64th less of it."""
    if gas_used(min_gas) is not None:
        return min_gas
    while max_gas - min_gas > max(1, min_gas // PRECISION):
        middle = min((min_gas + max_gas) // 2, 2 * min_gas)
        min_gas, max_gas = (middle, max_gas) if gas_used(middle) is None else (min_gas, middle)
    return max_gas


def _intrinsic(to: Address, data: bytes) -> int:
    """Return the gas that a transaction costs before its first instruction."""
    zeros = data.count(0)
    creation = 0 if to else CREATION_GAS + WORD_GAS * -(-len(data) // 32)
    return BASE_GAS + creation + ZERO_GAS * zeros + BYTE_GAS * (len(data) - zeros)


def _floor(data: bytes) -> int:
    """Return the gas that a transaction with this data costs at least."""
    return BASE_GAS + FLOOR_GAS * (data.count(0) + TOKENS * (len(data) - data.count(0)))


def _check_query(query: Mapping[str, Any]) -> None:
    """Refuse a query of logs that is larger than any real one."""
    lists = [query.get("address"), *(query.get("topics") or ())]
    if len(lists) > MAX_TOPICS + 1:
        raise NodeError(INVALID_PARAMS, f"a log has at most {MAX_TOPICS} topics")
    if any(isinstance(names, list) and len(names) > MAX_NAMES for names in lists):
        raise NodeError(INVALID_PARAMS, f"more than {MAX_NAMES} addresses or topics in one query")
    values = [query.get(field) for field in BLOCK_FIELDS]
    for names in lists:
        values += names if isinstance(names, list) else [names]
    if any(isinstance(value, (list, dict)) or len(str(value)) > MAX_NAME for value in values):
        raise NodeError(INVALID_PARAMS, "a block, an address or a topic is a text of its length")
