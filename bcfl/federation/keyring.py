"""Hold what a reader opens sealed bytes with, and collect the keys of a federation's rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bcfl.errors import ConfigError, PayloadError, StoreError
from bcfl.protocol.accounts import Account
from bcfl.protocol.rounds import History
from bcfl.protocol.submissions import Domain
from bcfl.protocol.types import Block
from bcfl.roles.common.keys import Keys, update_name

if TYPE_CHECKING:
    from bcfl.config import Config
    from bcfl.ports import Relay
    from bcfl.roles.common.archive import Archive
    from bcfl.roles.common.vault import Vault

HOW_TO: Final = "read it with --keys FILE, of `bcfl keys fetch` or of `bcfl disclose`"


@dataclass(frozen=True)
class Keyring:
    """The accounts of a federation that a reader has, and the keys that it was given."""

    accounts: tuple[Account, ...] = ()
    given: Keys = field(default_factory=Keys)

    def vault(self, domain: Domain, history: Callable[[], History], relay: Relay | None = None) -> Vault:
        """Return what finds keys with it; `relay`: the way to miners, whom the first account asks."""
        from bcfl.roles.common.vault import Vault

        return Vault(domain, history, self.accounts, relay if self.accounts else None, self.given)

    def adding(self, keys: Keys) -> Keyring:
        """Return the same with more keys; where two differ the new one counts."""
        updates, models = {**self.given.updates, **keys.updates}, {**self.given.models, **keys.models}
        return Keyring(self.accounts, Keys(updates, models))


@dataclass(frozen=True)
class RoundHolding:
    """Which keys of a round are at hand. `model` is None where the round made none, or a public one."""

    round: int
    opened: int  # updates
    revealed: int  # updates
    model: bool | None
    is_reader: bool  # whether an account is a voter of the round
    keys: Keys

    @property
    def is_whole(self) -> bool:
        """Whether nothing of the round stays sealed."""
        return self.opened == self.revealed and self.model is not False


def run_accounts(config: Config) -> tuple[Account, ...]:
    """Return the accounts of a run's devices and miners, which follow from its seed."""
    devices = [Account.derive(config.seed, "device", i) for i in range(config.devices)]
    miners = [Account.derive(config.seed, "miner", i) for i in range(config.miners)]
    return tuple(dict.fromkeys(devices if config.mode == "full" else [*miners, *devices]))


def hold_round(archive: Archive, history: History, number: int) -> RoundHolding:
    """Open everything of a round that can be opened, and return its keys, each proven by what it opened.

    Raises ConfigError where the federation seals nothing.
    """
    vault, round_ = archive.vault, history.rounds[number]
    require_sealed(archive)
    assert vault is not None
    keys, opened = Keys(), 0
    for item in round_.submissions:
        if not vault.has_key(item):
            continue
        with suppress(PayloadError, StoreError):
            archive.update(item)
            opened += 1
        archive.forget()
        key = vault.key_of(item)
        if key is not None:
            keys.updates[update_name(item)] = key
    model = None if round_.block is None else hold_model(archive, history, round_.block, keys)
    return RoundHolding(number, opened, len(round_.submissions), model, vault.is_reader(number), keys)


def hold_rounds(archive: Archive, history: History, numbers: Iterable[int]) -> Keys:
    """Return the keys of some rounds together, as far as they are at hand; raises as `hold_round`."""
    keys = Keys()
    for number in numbers:
        holding = hold_round(archive, history, number)
        keys.updates.update(holding.keys.updates)
        keys.models.update(holding.keys.models)
    return keys


def hold_for_audit(archive: Archive, history: History, number: int) -> tuple[RoundHolding, bool | None]:
    """Return what recomputes a round: its keys and that of the model that it starts from, if it is sealed.

    The second value says if the latter is at hand, None where it is public. Raises as `hold_round`.
    """
    holding = hold_round(archive, history, number)
    parent = hold_model(archive, history, history.model_before(number), holding.keys)
    return holding, parent


def hold_model(archive: Archive, history: History, block: Block, keys: Keys) -> bool | None:
    """Add the key of a block's model to `keys`; return if there is one, None where the model is public."""
    from bcfl.roles.common.unsealing import open_model

    if archive.vault is None or not archive.sizes.seals_model(block.round):
        return None
    archive.forget()  # what is in memory proves no key
    with suppress(PayloadError, StoreError):
        open_model(archive, block, history)
    archive.forget()
    key = archive.vault.keys.models.get((block.round, block.root))
    if key is not None:
        keys.models[block.round, block.root] = key
    return key is not None


def require_sealed(archive: Archive) -> None:
    """Raise ConfigError where everybody can read everything."""
    if not archive.privacy.confidential:
        raise ConfigError("this federation seals nothing: whoever has chain and store can read all of it")
