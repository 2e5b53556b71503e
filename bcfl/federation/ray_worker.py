"""Make calls of learners in a process of a Ray cluster, which may be on another machine.

Ray carries bytes, which this module pickles, as those who start processes do: what is pickled by name is
imported there, and nothing of the run's own code travels.
"""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np

from bcfl.errors import BcflError, ConfigError, one_line
from bcfl.federation.jobs import Builder, Call, Outcome, perform, prepare

ALIKE: Final = ("bcfl", "torch", "numpy")  # packages whose other version would make another model
Answer = tuple[Outcome | None, BcflError | None]


@dataclass(frozen=True)
class Home:
    """What a worker takes over of the process that the run is in: where modules are, and which versions."""

    folder: str
    path: tuple[str, ...]
    versions: tuple[tuple[str, str], ...]

    @classmethod
    def here(cls) -> Home:
        """Return that of this process."""
        return cls(os.getcwd(), tuple(filter(os.path.isabs, sys.path)), tuple(map(_version, ALIKE)))


class RayWorker:
    """An actor of Ray's: one process, on one core."""

    def __init__(self) -> None:
        self._builder: Builder | None = None
        self._subject: Any = None  # the last model or case, and where it is
        self._place: Any = None

    def prepare(self) -> None:
        """Import what takes long; leave Ctrl-C to the run."""
        with suppress(ValueError):  # of a thread that is not the main one
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        prepare()

    def load(self, home: Home, builder: list[Any]) -> str | None:
        """Take a builder, as pickled bytes in the object store; return why that cannot be, None if it can."""
        with suppress(OSError):
            os.chdir(home.folder)
        sys.path += [item for item in home.path if item not in sys.path and Path(item).exists()]
        own = tuple(map(_version, ALIKE))
        for (name, here), (_, there) in zip(own, home.versions, strict=True):
            if here != there:
                return f"it has {name} {here}, and this process {there}: install the same"
        try:
            self._builder = pickle.loads(_get(builder[0]))  # from the run's own process
        except BcflError as error:
            return str(error)
        except Exception as error:
            return one_line(error)
        return None

    def work(self, call: bytes, subject: list[Any]) -> bytes:
        """Return what a call, pickled, comes to, pickled: an `Answer`."""
        assert self._builder is not None
        if subject[0] != self._place:
            self._place, self._subject = subject[0], _taken(subject[0])
        try:
            request: Call = pickle.loads(call)
            answer: Answer = perform(self._builder, request, self._subject), None
        except BcflError as error:
            answer = None, error
        return pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)


def refusal(cause: str) -> ConfigError:
    """Return the error of a run whose workers cannot do its work."""
    return ConfigError(
        f"a worker on Ray cannot do what this process can: {cause}; put the task into a module that it can "
        "import, or leave --ray out"
    )


def _taken(place: Any) -> Any:
    """Return a model, or a case, of this process's own: what is Ray's cannot be written to."""
    subject = _get(place)
    return pickle.loads(subject) if isinstance(subject, bytes) else np.array(subject)  # from the run itself


def _get(place: Any) -> Any:
    return importlib.import_module("ray").get(place)


def _version(name: str) -> tuple[str, str]:
    try:
        return name, version(name)
    except PackageNotFoundError:
        return name, "from a folder"
