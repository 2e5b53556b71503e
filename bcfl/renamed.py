"""Tell whoever imports a module or a name by its former place where it is now."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final, NoReturn

# Former modules below bcfl, and where what was in them stands now.
MODULES: Final[Mapping[str, str]] = {
    "adversaries.cast": "adversaries.assignment",
    "adversaries.colluder": "adversaries.collusion",
    "cli.elsewhere": "federation.query",
    "cli.opened": "federation.query",
    "cli.supervisor": "federation.supervisor",
    "daemon": "federation.daemon",
    "http": "transport.server",
    "ledger.bundled": "bundle.blocks",
    "ledger.database": "ledger.devnet.database",
    "ledger.deadline": "ledger.devnet.deadline",
    "ledger.deployments": "ledger.deployment.deploy",
    "ledger.embedded": "ledger.devnet.embedded",
    "ledger.encodings": "bundle.encodings",
    "ledger.evm": "ledger.devnet.evm",
    "ledger.filters": "ledger.devnet.filters",
    "ledger.inspection": "ledger.deployment.inspection",
    "ledger.jsonrpc": "ledger.devnet.jsonrpc",
    "ledger.keystore": "ledger.deployment.keystore",
    "ledger.manifest": "bundle.manifest",
    "ledger.methods": "ledger.devnet.methods",
    "ledger.networks": "ledger.deployment.networks",
    "ledger.node": "ledger.devnet.node",
    "ledger.proofs": "bundle.proofs",
    "ledger.records": "ledger.devnet.records",
    "ledger.server": "ledger.devnet.server",
    "ledger.tester": "ledger.devnet.tester",
    "ledger.testimony": "ledger.transcript",
    "parties": "federation.node",
    "protocol.testimony": "protocol.transcript",
    "relay.http": "relay.client",
    "reports": "federation.reports",
    "roles.archive": "roles.common.archive",
    "roles.auditor.books": "roles.auditor.balances",
    "roles.auditor.reading": "roles.auditor.replay",
    "roles.auditor.standings": "roles.auditor.storage",
    "roles.ballots": "roles.miner.voting",
    "roles.batches": "roles.miner.batches",
    "roles.checks.effort": "roles.checks.min_norm",
    "roles.checks.split": "roles.checks.clusters",
    "roles.claims": "roles.background.claims",
    "roles.clerk": "roles.miner.context",
    "roles.collector": "roles.background.claiming",
    "roles.desk": "roles.miner.inbox",
    "roles.disputes": "roles.common.disputes",
    "roles.journal": "roles.common.journal",
    "roles.keeper": "roles.background.pinning",
    "roles.lead": "roles.miner.lead",
    "roles.lengths": "roles.common.norm_bound",
    "roles.memory": "roles.miner.sketches",
    "roles.moment": "roles.common.snapshot",
    "roles.notes": "roles.miner.findings",
    "roles.panel": "roles.checks.pipeline",
    "roles.spool": "roles.watchtower.spool",
    "roles.trainer": "roles.device.trainer",
    "roles.verifier": "roles.miner.verifier",
    "runs": "federation.runs",
    "simulation": "federation.simulation",
    "sources": "config.sources",
    "storage.blocks": "storage.ipld.blocks",
    "storage.bundle": "bundle.store",
    "storage.car": "storage.ipld.car",
    "storage.dag": "storage.ipld.dag",
    "storage.opening": "storage.address",
    "storage.transport": "transport.client",
    "terms": "federation.terms",
    "values": "config.values",
}
# Where a module was split or its names changed, the names that scripts use.
NAMES: Final[Mapping[str, str]] = {
    "ledger.deployments": "found is deploy_federation; the record is in bcfl.ledger.deployment.records",
    "parties": (
        "reach is connect and Site is FederationClient, both in bcfl.federation.client; "
        "device, miner and peer are methods of Node; "
        "enrol is register_miner in bcfl.federation.registration, beside open_first_round"
    ),
    "simulation": "Federation.found is Simulation.open; material is set_up_data in bcfl.federation.genesis",
}


class FormerModules(MetaPathFinder):
    """A finder of last resort, which finds nothing and says where a former module has gone."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raise ModuleNotFoundError with the new name of a former module; return None for any other."""
        del path, target
        package, _, name = fullname.partition(".")
        if package != "bcfl" or name not in MODULES:
            return None
        more = f" ({NAMES[name]})" if name in NAMES else ""
        raise ModuleNotFoundError(f"{fullname} is now bcfl.{MODULES[name]}{more}", name=fullname)


def watch_imports() -> None:
    """Have the imports of this process name the new places of former modules."""
    if not any(isinstance(finder, FormerModules) for finder in sys.meta_path):
        sys.meta_path.append(FormerModules())


def former_names(module: str, names: Mapping[str, str]) -> Callable[[str], NoReturn]:
    """Return a module's `__getattr__` that names the new place of names that it no longer has."""

    def __getattr__(name: str) -> NoReturn:
        if name in names:
            raise ImportError(f"{module}.{name} is now {names[name]}", name=module)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return __getattr__
