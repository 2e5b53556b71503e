"""IPFS daemons that say what a test wants, and the store on such a one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from bcfl.errors import StoreError
from bcfl.protocol import cid as cids
from bcfl.storage import KuboStore, Retries
from tests.ipfs.fake import Request, Script, Server, reply

DATA = b"weights of a model"
CID = cids.compute(DATA)
VERSION = {"Version": "0.29.0", "Commit": "", "Repo": "15", "Golang": "go1.22"}
ONCE = Retries(times=0)


def error_reply(message: str) -> list[bytes]:
    """An error as a daemon gives it."""
    return reply({"Message": message, "Code": 0, "Type": "error"}, 500)


def daemon(command: str, script: Script) -> Server:
    """A daemon that does all well but for one command."""
    usual: dict[str, object] = {
        "version": VERSION,
        "add": {"Name": CID, "Hash": CID, "Size": "18"},
        "cat": DATA,
        "pin/add": {"Pins": [CID]},
        "pin/rm": {"Pins": [CID]},
        "pin/ls": {"Keys": {CID: {"Type": "recursive"}}},
    }

    def answer(request: Request) -> Iterable[bytes]:
        path = request.path.removeprefix("/api/v0/")
        return script(request) if path == command else reply(usual[path])

    return Server(answer)


def store(server: Server, **options: Any) -> KuboStore:
    return KuboStore(server.address, **{"timeout": 5.0, "retries": ONCE, **options})


def one_line(error: pytest.ExceptionInfo[StoreError]) -> bool:
    return "\n" not in str(error.value) and len(str(error.value)) < 500
