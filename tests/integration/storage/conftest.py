"""One real IPFS daemon for all tests of a worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ipfs import ipfs


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ipfs.Daemon]:
    """A running daemon without peers; the test is skipped where none is installed."""
    if reason := ipfs.absence():
        pytest.skip(reason)
    running = ipfs.Daemon(tmp_path_factory.mktemp("ipfs"))
    running.start()
    yield running
    running.kill()
