"""Federated learning whose rounds, verdicts, leaders and models stand on an EVM chain.

    report = bcfl.run(bcfl.Config(devices=20, miners=5, rounds=10))
    report.final_accuracy

Names load when they are first used, so that `import bcfl` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bcfl.errors import (
    BcflError,
    BundleError,
    ChallengeError,
    CidError,
    ConfigError,
    Corrupt,
    DataError,
    DiskError,
    LedgerError,
    NoNodeUrl,
    Oversized,
    PayloadError,
    RelayError,
    Reverted,
    RunError,
    Sealed,
    StoreError,
    Unavailable,
    Unfinished,
    Unreachable,
)
from bcfl.renamed import watch_imports

if TYPE_CHECKING:
    from bcfl.config import Config
    from bcfl.federation.reports import Progress, Rejection, Report, RoundReport
    from bcfl.federation.simulation import resume, run

__version__ = "0.1.0"

__all__ = [
    "BcflError",
    "BundleError",
    "ChallengeError",
    "CidError",
    "Config",
    "ConfigError",
    "Corrupt",
    "DataError",
    "DiskError",
    "LedgerError",
    "NoNodeUrl",
    "Oversized",
    "PayloadError",
    "Progress",
    "Rejection",
    "RelayError",
    "Report",
    "Reverted",
    "RoundReport",
    "RunError",
    "Sealed",
    "StoreError",
    "Unavailable",
    "Unfinished",
    "Unreachable",
    "__version__",
    "resume",
    "run",
]

_LAZY = {
    "Config": "bcfl.config",
    "Progress": "bcfl.federation.reports",
    "Rejection": "bcfl.federation.reports",
    "Report": "bcfl.federation.reports",
    "RoundReport": "bcfl.federation.reports",
    "resume": "bcfl.federation.simulation",
    "run": "bcfl.federation.simulation",
}

watch_imports()


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
