"""Twenty thousand specs with something wrong: each is answered by diagnostics or accepted, within half a gigabyte."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.spec.mutations import mutated

BLOCK, BLOCKS = 1_000, 20
MOST_BYTES = 500 * 10**6


def test_the_same_seed_is_the_same_spec_and_another_seed_another() -> None:
    assert [mutated(seed) for seed in range(20)] == [mutated(seed) for seed in range(20)]
    assert len({mutated(seed) for seed in range(200)}) > 190


@pytest.mark.parametrize("block", [pytest.param(n, marks=[] if n == 0 else pytest.mark.slow) for n in range(BLOCKS)])
def test_a_mutated_spec_is_answered_and_never_with_a_traceback(block: int) -> None:
    # A process of its own: what it holds at most is what checking specs takes, and nothing that other tests loaded.
    command = [sys.executable, "-m", "tests.spec.mutations", str(block * BLOCK), str((block + 1) * BLOCK)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["specs"] == BLOCK
    assert not found["failures"], "\n".join(found["failures"])
    assert found["peak_bytes"] < MOST_BYTES
    # The mutations reach both sides and the cross-field checks, or they show nothing.
    assert 0.02 < found["clean"] / BLOCK < 0.5
    assert len(found["codes"]) > 15
