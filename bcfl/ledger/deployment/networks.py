"""The networks that `--network` names (step 1, initialization): where a chain is, which one, who signs there.

A network's keys come from the user's `bcfl.toml`, and where that is silent from the file that comes along.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, Final

from bcfl.errors import ConfigError

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
    """One network; what may be secret does not show in its repr."""

    name: str
    rpc: str = field(repr=False)  # a URL may hold a key
    chain_id: int | None = None  # None: whatever the node answers
    mnemonic: str | None = field(default=None, repr=False)
    keystore: Path = KEYSTORE
    account: str | None = None  # who signs if nobody is named: an index of the mnemonic, or an address


KEYS: Final = {"rpc": str, "chain_id": int, "mnemonic": str, "keystore": str, "account": str}


def resolve(name: str | None, *files: Path, env: Mapping[str, str] | None = None) -> Network:
    """The network of that name, from `files`, the strongest first, and the file that comes with bcfl.

    No files: `bcfl.toml`, if it is there. Its `rpc` counts before ETH_RPC_URL, and that before the one that
    comes with bcfl. No name: the one in BCFL_NETWORK, else the node at ETH_RPC_URL, else `local`. `env`: None
    takes the process's own. Raises ConfigError for what cannot be used.
    """
    env = os.environ if env is None else env
    url = env.get(URL_VARIABLE) or None
    name = name or env.get(NAME_VARIABLE) or None
    if name is None and url is not None:
        return Network(FROM_VARIABLE, url)
    name = name or DEFAULT
    layers = [_read(packaged()), *(_read(path) for path in reversed(files or _user_files()))]
    known = sorted({known for layer in layers for known in layer})
    if name not in known:
        raise ConfigError(_unknown(f"there is no network {name!r}", name, known))
    ours, *theirs = [layer.get(name, {}) for layer in layers]
    found: dict[str, Any] = {}
    for section in (ours, {} if url is None else {"rpc": url.replace("$", "$$")}, *theirs):
        found |= section
    found = {key: _expanded(name, key, value, env) for key, value in found.items()}
    if "rpc" not in found:
        raise ConfigError(f"network {name} has no rpc: add it to bcfl.toml, or set {URL_VARIABLE}")
    if "keystore" in found:
        found["keystore"] = Path(found["keystore"])
    return Network(name, **found)


def packaged() -> Path:
    """Return the file of networks that comes with bcfl."""
    return Path(__file__).with_name("networks.toml")


def connect(network: Network, **options: float) -> RpcChain:
    """The chain of a network; `options` are those of RpcChain.

    Raises Unreachable when nobody answers, ConfigError when another chain does.
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


def signer(network: Network, who: str | None, password: Callable[[], str]) -> Account:
    """The account that signs on a network: an index of its mnemonic, or an address in its keystore.

    `who`: None takes the network's own. `password` is asked for when a keystore has to be opened. Raises
    ConfigError when there is no such account or it cannot be opened.
    """
    from bcfl.ledger.deployment import keystore

    chosen = who or network.account
    if chosen is None:
        raise ConfigError(
            f"nobody signs on network {network.name}: name an account with --account (`bcfl account list`)"
        )
    if not INDEX.fullmatch(chosen):
        return keystore.unlock(network.keystore.expanduser(), chosen, password)
    if network.mnemonic is None:
        raise ConfigError(
            f"network {network.name} has no mnemonic to take account {chosen} from: "
            "give an address of the keystore"
        )
    return keystore.derive(network.mnemonic, int(chosen), 1)[0]


def _user_files() -> Sequence[Path]:
    return [USER_FILE] if USER_FILE.exists() else []


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """The networks of a file, each checked; raises ConfigError that names file, network and key."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{path} cannot be read ({reason}): name another file or mend this one") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML ({error}): mend it") from None
    networks = table.get("networks", {})
    if not isinstance(networks, dict) or not all(isinstance(section, dict) for section in networks.values()):
        raise ConfigError(f"{path}: networks are tables: write [networks.NAME], and its keys below")
    for name, section in networks.items():
        if not NAME.fullmatch(name):
            raise ConfigError(f"{path}: {name!r} cannot name a network: use letters, digits, - and _")
        for key, value in section.items():
            _check(f"[networks.{name}] in {path}", key, value)
    return networks


def _check(where: str, key: str, value: object) -> None:
    if key not in KEYS:
        raise ConfigError(_unknown(f"{where}: {key!r} is not a key of a network", key, list(KEYS)))
    if type(value) is not KEYS[key] or value in ("", 0) or (isinstance(value, int) and value < 0):
        kind = "a whole number above 0" if KEYS[key] is int else "a text that is not empty"
        raise ConfigError(f"{where}: {key} must be {kind}")


def _expanded(name: str, key: str, value: str | int, env: Mapping[str, str]) -> str | int:
    """A value with its variables replaced; raises ConfigError for one that is not set."""
    if isinstance(value, int):
        return value
    try:
        return Template(value).substitute(env)
    except KeyError as missing:
        variable = missing.args[0]
        raise ConfigError(f"{key} of network {name} takes ${variable} from the environment: set it") from None
    except ValueError:
        raise ConfigError(
            f"{key} of network {name} has a $ that starts no variable: write $$ for a $"
        ) from None


def _unknown(what: str, name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, 1, 0.5)
    return f"{what}: did you mean {near[0]}?" if near else f"{what}: there is {', '.join(known)}"
