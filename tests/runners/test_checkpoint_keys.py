"""What a spec says under `checkpoint` stands in the generated program, and only what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

SPEC = f"""\
extends: {ROOT}/specs/presets/tiny.yaml
stages:
  pretrain:
    checkpoint: {{every: 10 steps, keep_every: 50%, asynchronous: true, canary: false}}
"""
PLAIN = f"extends: {ROOT}/specs/presets/tiny.yaml\n"


def literals(folder: Path, spec: str) -> list[str]:
    """Lines of `train.py` about checkpoints, without comments."""
    folder.mkdir()
    (folder / "spec.yaml").write_text(spec)
    command = [sys.executable, "-m", "specc", "compile", str(folder / "spec.yaml"), "-o", str(folder / "out")]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    (program,) = (folder / "out").rglob("train.py")
    lines = (line.partition("#")[0].strip() for line in program.read_text().splitlines())
    return [line for line in lines if "checkpoint" in line and "=" in line and "activation" not in line]


def test_keys_of_checkpoints_are_literals_of_the_program(tmp_path: Path) -> None:
    assert literals(tmp_path / "said", SPEC) == [
        "checkpoint_every=10,",
        "keep_checkpoints=2,",
        "keep_checkpoint_every=50,",
        "checkpoint_asynchronous=True,",
        "checkpoint_canary=False,",
    ]
    assert literals(tmp_path / "plain", PLAIN) == ["checkpoint_every=10,", "keep_checkpoints=2,"]
