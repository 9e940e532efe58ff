"""The Python that has torch-xla, for tests: they need an environment of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import ROOT

REQUIRED = "SPECC_TEST_XLA"
"""Set where the tests must not be skipped: in CI."""


def python() -> Path:
    """Skips the test where there is none, unless it is required."""
    named = Path(os.environ.get("SPECC_XLA_PYTHON", ROOT / ".venv-xla/bin/python"))
    if not named.is_file():
        reason = f"torch-xla needs an environment of its own, and there is no {named}: `make xla` makes it"
        if os.environ.get(REQUIRED):
            pytest.fail(reason)
        pytest.skip(reason)
    return named


def environment() -> dict[str, str]:
    """Without what chose another number of devices."""
    kept = {name: value for name, value in os.environ.items() if name not in ("CPU_NUM_DEVICES", "PJRT_DEVICE")}
    return {**kept, "SPECC_XLA_PYTHON": str(python()), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
