"""Read TOML files of users."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from bcfl.errors import ConfigError


def read_toml(path: Path, hint: str) -> dict[str, Any]:
    """Return the content of a TOML file; raises ConfigError, with `hint` where it is no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{path} cannot be read ({reason}): name another file or mend this one") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML ({error}): {hint}") from None
