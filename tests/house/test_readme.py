"""The README tells the truth: its commands run on a fresh copy, and what it quotes is what is there."""

from __future__ import annotations

import csv
import io
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT, Specc

README = (ROOT / "README.md").read_text(encoding="utf-8")
# What is not run here, and why.
NOT_RUN = {"make test": "it is what runs this test"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    lines = [line.partition("  #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line and line not in NOT_RUN]


def test_the_spec_that_is_quoted_is_the_quickstart() -> None:
    assert (ROOT / "specs/quickstart.yaml").read_text(encoding="utf-8") in blocks("yaml")


def test_the_mistake_that_is_quoted_is_what_specc_says(specc: Specc) -> None:
    (quoted,) = [block for block in blocks("text") if block.startswith("$ specc check")]
    command, _, said = quoted.partition("\n")
    arguments = command.removeprefix("$ specc ").split()
    assert specc(*arguments, cwd=ROOT).err.strip() == said.strip()


def test_every_file_that_is_linked_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert all((ROOT / link).exists() for link in links)
    folders = re.findall(r"^\| `(.+?)` ", README, re.MULTILINE)
    assert all((ROOT / name).exists() for cell in folders for name in cell.split("`, `"))


@pytest.mark.slow
def test_the_commands_run_on_a_fresh_copy_and_the_model_beats_the_trigram(tmp_path: Path) -> None:
    """Everything that git would clone, in a folder and an environment of its own: install, train twice, compare."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            target = tmp_path / "clone" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
            target.chmod((ROOT / name).stat().st_mode)
    outside = ("VIRTUAL_ENV", "PYTHONPATH", "MAKEFLAGS", "MAKELEVEL")
    environment = {key: value for key, value in os.environ.items() if key not in outside}
    script = "\n".join(["set -e", *commands()])
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path / "clone", env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    query = "SELECT experiment, model, value FROM evaluations WHERE metric = 'bits_per_byte'"
    answer = subprocess.run(
        [tmp_path / "clone/.venv/bin/specc", "sql", "--format", "csv", query],
        cwd=tmp_path / "clone", capture_output=True, text=True, check=True,
    )  # fmt: skip
    scores = {(row[0], row[1]): float(row[2]) for row in list(csv.reader(io.StringIO(answer.stdout)))[1:]}
    for experiment in ("quickstart", "quickstart@rope"):
        assert scores[experiment, "pretrain"] < 0.9 * scores[experiment, "byte_trigram"], scores
