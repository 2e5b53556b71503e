"""Processes that live and die together (`bcfl up`): restarted when they die, gone with their supervisor."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bcfl.errors import RunError
from bcfl.federation.stall_timeout import StallTimeout

SET_PDEATHSIG: Final = 1  # of prctl(2)
FIRST_PAUSE: Final = 0.5  # seconds before a process that died is started again; twice as long each time
LONGEST_PAUSE: Final = 15.0
HEALTHY: Final = 30.0  # seconds after which a process is no longer one that keeps dying
GRACE: Final = 30.0  # seconds to end before a process is killed
PAUSE: Final = 0.05  # seconds between two looks whether all have ended
TAIL: Final = 2_000  # bytes of a log that may tell why a process died
TELL: Final = signal.SIGUSR1  # asks a party to write down where it stands
TELLING: Final = 1.0  # seconds to do so


@dataclass
class Child:
    """One process: what it runs, and how often it had to be started again."""

    name: str
    command: Sequence[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    done: bool = False  # ended by itself, with success
    _begun: float = 0.0
    _next: float = 0.0
    _quick: int = field(default=0)  # deaths in a row, each soon after the start

    @property
    def pid(self) -> int | None:
        """The process's number while it runs."""
        return self.process.pid if self.process is not None and self.process.poll() is None else None

    @property
    def state(self) -> str:
        """In one word."""
        if self.pid is not None:
            return "running"
        return "done" if self.done else "waiting"

    def last_line(self) -> str:
        """The last thing that the process said."""
        with suppress(OSError), self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - TAIL))
            lines = file.read().decode("utf-8", "replace").split("\n")
            return _message(next((line.strip() for line in reversed(lines) if line.strip()), ""))
        return ""

    def standing(self) -> str:
        """What it does and said last, for whoever waits for it."""
        said = self.last_line()
        times = f", restarted {self.restarts}x" if self.restarts else ""
        return f"{self.name} ({self.state}{times}): {said or 'has said nothing'}"

    def unhang(self) -> bool:
        """Kill a process that is stuck, its log telling where it stood; False if there is none to kill."""
        process = self.process
        if process is None or process.poll() is not None:
            return False
        process.send_signal(TELL)  # to one that has not even begun it is deadly, which will do
        with suppress(subprocess.TimeoutExpired):
            process.wait(TELLING)
        process.kill()
        return True


class Supervisor:
    """Keeps children alive; leaves none behind, however it ends itself. For one thread."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.children: list[Child] = []
        self.env = dict(env)

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def add(self, name: str, arguments: Sequence[str], log: Path) -> Child:
        """Start `bcfl` with some arguments, its output in a file; raises RunError if that is impossible."""
        child = Child(name, [sys.executable, "-m", "bcfl", *arguments], log)
        self.children.append(child)
        self._start(child)
        return child

    def check(self) -> Iterator[tuple[Child, str]]:
        """Start again what has died and waited long enough; every death is told once, with its reason."""
        now = time.monotonic()
        for child in self.children:
            if child.process is None:
                if not child.done and now >= child._next:
                    child.restarts += 1
                    self._start(child)
                continue
            code = child.process.poll()
            if code is None:
                continue
            child.process = None
            child.done = code == 0
            child._quick = child._quick + 1 if now - child._begun < HEALTHY else 0
            child._next = now + min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**child._quick)
            yield child, _death(code, child)

    def stop(self) -> None:
        """End all children, the first to be started last, and wait until they are gone."""
        first, rest = self.children[:1], self.children[1:]
        for group in (rest, first):
            running = [child.process for child in group if child.process is not None]
            for process in running:
                process.terminate()
            patience = StallTimeout(GRACE)
            while any(process.poll() is None for process in running) and not patience.over:
                time.sleep(PAUSE)
                patience.look(0)
            for process in running:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        self.children.clear()

    def _start(self, child: Child) -> None:
        child._begun = time.monotonic()
        try:
            with child.log.open("ab") as log:
                child.process = subprocess.Popen(
                    child.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self.env,
                    start_new_session=True,  # Ctrl-C is for the supervisor alone
                    preexec_fn=die_with(os.getpid()),
                )
        except OSError as error:
            raise RunError(f"{child.name} cannot be started: {error.strerror}") from None


def die_with(parent: int) -> Callable[[], None] | None:
    """What makes a new process die when its parent does, even by SIGKILL; None where nothing can."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def bind() -> None:
        prctl(SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before
            os._exit(1)

    return bind


def _message(line: str) -> str:
    """What a line of a log says, if it is JSON as well."""
    try:
        return str(json.loads(line)["message"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return line


def _death(code: int, child: Child) -> str:
    if code == 0:
        return "has ended"
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    said = child.last_line()
    return f"{how}: {said}" if code > 0 and said else how
