"""`python -m impasto` is `impasto`."""

from __future__ import annotations

import sys

from impasto.cli import main

sys.exit(main())
