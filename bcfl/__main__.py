"""`python -m bcfl` is `bcfl`."""

from __future__ import annotations

import sys

from bcfl.cli import main

sys.exit(main())
