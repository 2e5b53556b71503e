"""Find the network that `--network` names: where its chain is, which chain that is, who signs there.

A network's keys come from the user's `bcfl.toml`, and where that has none from the file that comes with bcfl.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, Final

from bcfl.errors import ConfigError
from bcfl.folders import expanded
from bcfl.toml import read_toml

if TYPE_CHECKING:
    from bcfl.ledger.rpc import RpcChain
    from bcfl.protocol.accounts import Account

USER_FILE: Final = Path("bcfl.toml")
NAME_VARIABLE: Final = "BCFL_NETWORK"
URL_VARIABLE: Final = "ETH_RPC_URL"
DEFAULT: Final = "local"
FROM_VARIABLE: Final = "rpc"  # the name of the network that only the variable describes
KEYSTORE: Final = Path("~/.bcfl/keystore")
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", re.ASCII)
INDEX: Final = re.compile(r"\d{1,4}", re.ASCII)


@dataclass(frozen=True)
class Network:
    """One network; its repr shows nothing that may be secret."""

    name: str
    rpc: str = field(repr=False)  # a URL may hold a key
    chain_id: int | None = None  # None: whatever the node answers
    mnemonic: str | None = field(default=None, repr=False)
    keystore: Path = KEYSTORE
    account: str | None = None  # the signer if none is named: an index of the mnemonic, or an address
    explorer: str | None = None  # address of a block explorer, for links
    private_endpoints: bool = False  # whether miners may be reached in private networks, as in a consortium's


KEYS: Final = {
    "rpc": str,
    "chain_id": int,
    "mnemonic": str,
    "keystore": str,
    "account": str,
    "explorer": str,
    "private_endpoints": bool,
}
KINDS: Final = {str: "a text that is not empty", int: "a whole number above 0", bool: "true or false"}


def resolve(name: str | None, *files: Path, env: Mapping[str, str] | None = None) -> Network:
    """Return the network of that name, from `files`, the strongest first, and the packaged file.

    Without files, `bcfl.toml` counts if it exists. Its `rpc` counts before ETH_RPC_URL, and that before the
    one that comes with bcfl. Without a name, it is that in BCFL_NETWORK, else the node at ETH_RPC_URL, else
    `local`. `env`: None means the process's own. Raises ConfigError for what cannot be used.
    """
    env = os.environ if env is None else env
    url = (env.get(URL_VARIABLE) or "").strip() or None
    name = name or env.get(NAME_VARIABLE) or None
    if name is None and url is not None:
        return Network(FROM_VARIABLE, url)
    return _network(name or DEFAULT, files or _user_files(), url, env)


def _network(name: str, files: Sequence[Path], url: str | None, env: Mapping[str, str]) -> Network:
    """Merge the sections of a network: the packaged one, the variable's URL, and those of the files."""
    layers = [_read(packaged()), *(_read(path) for path in reversed(files))]
    names = sorted({section for layer in layers for section in layer})
    if name not in names:
        raise ConfigError(_unknown(f"there is no network {name!r}", name, names))
    default, *overrides = [layer.get(name, {}) for layer in layers]
    variable = {} if url is None else {"rpc": url.replace("$", "$$")}
    values: dict[str, Any] = {}
    for section in (default, variable, *overrides):
        values |= section
    values = {key: _expand(name, key, value, env) for key, value in values.items()}
    if "rpc" not in values:
        raise ConfigError(f"network {name} has no rpc: add it to bcfl.toml, or set {URL_VARIABLE}")
    if "keystore" in values:
        values["keystore"] = Path(values["keystore"])
    return Network(name, **values)


def packaged() -> Path:
    """Return the file of networks that comes with bcfl."""
    return Path(__file__).with_name("networks.toml")


def connect(network: Network, **options: float) -> RpcChain:
    """Connect to the chain of a network; `options` are those of RpcChain.

    Raises Unreachable when no node answers, ConfigError when another chain does.
    """
    from bcfl.ledger.rpc import RpcChain

    chain = RpcChain(network.rpc, **options)
    if network.chain_id is not None and chain.chain_id != network.chain_id:
        chain.close()
        raise ConfigError(
            f"network {network.name} is chain {network.chain_id}, and {chain.url} serves chain "
            f"{chain.chain_id}: correct chain_id or rpc in bcfl.toml, or name another --network"
        )
    return chain


def signer(network: Network, name: str | None, password: Callable[[], str]) -> Account:
    """Return the account that signs on a network: an index of its mnemonic, or an address in its keystore.

    `name`: None means the network's own. `password` is called when a keystore has to be opened. Raises
    ConfigError when there is no such account or it cannot be opened.
    """
    from bcfl.ledger.deployment import keystore

    name = name or network.account
    if name is None:
        raise ConfigError(
            f"nobody signs on network {network.name}: name an account with --account (`bcfl account list`)"
        )
    if not INDEX.fullmatch(name):
        return keystore.unlock(expanded(network.keystore), name, password)
    if network.mnemonic is None:
        raise ConfigError(
            f"network {network.name} has no mnemonic to take account {name} from: "
            "give an address of the keystore, or --network local for the accounts of a test chain"
        )
    return keystore.derive(network.mnemonic, int(name), 1)[0]


def _user_files() -> Sequence[Path]:
    return [USER_FILE] if USER_FILE.exists() else []


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Read the networks of a file, each checked; raises ConfigError that names file, network and key."""
    table = read_toml(path, "mend it")
    networks = table.get("networks", {})
    if not isinstance(networks, dict) or not all(isinstance(section, dict) for section in networks.values()):
        raise ConfigError(f"{path}: networks are tables: write [networks.NAME], and its keys below")
    for name, section in networks.items():
        if not NAME.fullmatch(name):
            raise ConfigError(f"{path}: {name!r} cannot name a network: use letters, digits, - and _")
        for key, value in section.items():
            _check(f"[networks.{name}] in {path}", key, value)
    return networks


def _check(section: str, key: str, value: object) -> None:
    if key not in KEYS:
        raise ConfigError(_unknown(f"{section}: {key!r} is not a key of a network", key, list(KEYS)))
    is_empty = value == "" or (KEYS[key] is int and isinstance(value, int) and value <= 0)
    if type(value) is not KEYS[key] or is_empty:
        raise ConfigError(f"{section}: {key} must be {KINDS[KEYS[key]]}")


def _expand(name: str, key: str, value: str | int, env: Mapping[str, str]) -> str | int:
    """Return a value with its variables replaced; raises ConfigError for one that is not set."""
    if isinstance(value, int):
        return value
    try:
        return Template(value).substitute(env)
    except KeyError as error:
        variable = error.args[0]
        raise ConfigError(f"{key} of network {name} takes ${variable} from the environment: set it") from None
    except ValueError:
        raise ConfigError(
            f"{key} of network {name} has a $ that starts no variable: write $$ for a $"
        ) from None


def _unknown(message: str, name: str, names: Sequence[str]) -> str:
    matches = get_close_matches(name, names, 1, 0.5)
    return f"{message}: did you mean {matches[0]}?" if matches else f"{message}: there is {', '.join(names)}"
