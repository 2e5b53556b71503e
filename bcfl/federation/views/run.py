"""View a run's folder: its options, and how many rounds its contract has closed."""

from __future__ import annotations

from typing import TypedDict

from bcfl.errors import BcflError
from bcfl.federation.runs import Listed


class RunView(TypedDict):
    """A run; the options are None and `error` says why where its folder cannot be read."""

    run_dir: str
    created: str
    state: str
    task: str | None
    devices: int | None
    miners: int | None
    mode: str | None
    engine: str | None
    rounds: int
    rounds_wanted: int | None
    contract: str | None
    error: str | None


def run_view(listed: Listed) -> RunView:
    """Return a run with the number of rounds that its contract has closed."""
    config = listed.config
    closed, error = _closed(listed)
    wanted = None if config is None else config.rounds
    return {
        "run_dir": str(listed.path),
        "created": listed.created.isoformat(timespec="seconds"),
        "state": _state(listed.busy, closed, wanted, error),
        "task": None if config is None else config.task,
        "devices": None if config is None else config.devices,
        "miners": None if config is None else config.miners,
        "mode": None if config is None else config.mode,
        "engine": None if config is None else config.first_engine,
        "rounds": closed,
        "rounds_wanted": wanted,
        "contract": listed.contract,
        "error": error,
    }


def _closed(listed: Listed) -> tuple[int, str | None]:
    """Return how many rounds have ended, or why nobody can tell."""
    if listed.error or listed.contract is None:
        return 0, listed.error
    from bcfl.ledger.artifact import federation_at
    from bcfl.ledger.devnet.embedded import EmbeddedChain

    try:
        chain = EmbeddedChain(listed.path / "chain.sqlite", read_only=True)
        try:
            return max(federation_at(chain, listed.contract).call("round_clock")[2] - 1, 0), None
        finally:
            chain.close()
    except BcflError as error:
        return 0, str(error)


def _state(busy: bool, closed: int, wanted: int | None, error: str | None) -> str:
    if error:
        return "damaged"
    if busy:
        return "running"
    return "done" if wanted is not None and closed >= wanted else "stopped"
