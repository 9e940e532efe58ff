"""Completion, asked for the way each shell asks; and in the shells themselves, where they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Said, Specc
from tests.house.test_imports import HEAVY

SPEC = "specs/quickstart.yaml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with specs to complete, and a `specc` to call."""
    (tmp_path / "specs").symlink_to(ROOT / "specs")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/specc"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m specc "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return tmp_path


def shell(folder: Path, command: list[str], **variables: str) -> Said:
    """What a command says in the folder, with `specc` on its path."""
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "HOME": str(folder), **variables}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return Said(done.returncode, done.stdout, done.stderr)


def offered(folder: Path, *words: str) -> list[str]:
    """What is offered for the last word."""
    asking = {"_SPECC_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    said = shell(folder, [sys.executable, "-m", "specc"], **asking)
    assert said.err == ""
    return [line.partition(",")[2] for line in said.out.splitlines() if line]


def test_commands_specs_stages_and_codes_are_offered(folder: Path) -> None:
    assert offered(folder, "specc", "ch") == ["check"]
    assert offered(folder, "specc", "check", "sp") == ["specs/"]
    assert offered(folder, "specc", "check", "specs/q") == [SPEC]
    assert offered(folder, "specc", "run", SPEC, "") == ["pretrain", "evaluate"]
    assert offered(folder, "specc", "run", SPEC, "pretrain", "") == ["evaluate"]
    assert offered(folder, "specc", "compile", SPEC, "--stage", "ev") == ["evaluate"]
    assert offered(folder, "specc", "explain", "spc102") == ["SPC102"]
    assert offered(folder, "specc", "init", "--preset", "qu") == ["quickstart"]


def test_paths_of_set_are_those_of_the_spec_and_values_those_of_the_key(folder: Path) -> None:
    found = offered(folder, "specc", "check", SPEC, "--set", "stages.pretrain.sch")
    assert {"stages.pretrain.schedule.kind=", "stages.pretrain.schedule.min_ratio="} <= set(found)
    assert offered(folder, "specc", "check", SPEC, "--set", "model.num_l") == ["model.num_layers="]
    assert offered(folder, "specc", "check", SPEC, "--set", "model.position.kind=ro") == ["model.position.kind=rope"]
    ties = offered(folder, "specc", "check", SPEC, "--set", "model.tie_embeddings=")
    assert ties == ["model.tie_embeddings=true", "model.tie_embeddings=false"]


def test_every_path_that_is_offered_may_be_set(folder: Path) -> None:
    from specc.source import read
    from specc.spec import language
    from specc.spec.paths import paths

    root = read(ROOT / SPEC).root
    for path in paths(ROOT / SPEC):
        *above, key = path.split(".")
        section = tuple(int(part) if part.isdigit() else part for part in above)
        assert key.isdigit() or key in language.keys(section, root) or path in ("data", "suites", "stages"), path


def test_a_spec_that_cannot_be_read_offers_nothing_and_says_nothing(folder: Path) -> None:
    (folder / "broken.yaml").write_text("a: [", encoding="utf-8")
    assert offered(folder, "specc", "run", "broken.yaml", "") == []
    assert offered(folder, "specc", "run", "nowhere.yaml", "") == []


def test_completing_loads_nothing_heavy(folder: Path) -> None:
    probe = (
        "import sys\nfrom specc.cli import specc\n"
        "try:\n    specc(prog_name='specc')\nexcept SystemExit:\n    pass\n"
        f"print('loaded', sorted(set(sys.modules) & set({(*HEAVY, 'jinja2')!r})))"
    )
    words = f"specc check {SPEC} --set model."
    asking = {"_SPECC_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "4"}
    said = shell(folder, [sys.executable, "-c", probe], **asking).out
    assert "plain,model.num_layers=" in said
    assert said.splitlines()[-1] == "loaded []"


BASH = """
eval "$(specc completion bash)"
ask() {
    COMP_LINE=$1 COMP_POINT=${#1} COMPREPLY=()
    _specc_completion
    printf '%s|' "${COMPREPLY[@]}"; echo
}
ask 'specc che'
ask 'specc check specs/q'
ask 'specc run specs/quickstart.yaml '
ask 'specc check specs/quickstart.yaml --set model.num_l'
ask 'specc check specs/quickstart.yaml --set model.position.kind=ro'
"""


def test_bash_completes(folder: Path) -> None:
    said = shell(folder, ["bash", "--norc", "-c", BASH])
    # After `=`, bash is given what follows it: readline breaks words there.
    expected = ["check|", f"{SPEC}|", "pretrain|evaluate|", "model.num_layers=|", "rope|"]
    assert said.out.splitlines() == expected, said.err


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes(folder: Path) -> None:
    script = "specc completion fish | source; " + "; ".join(
        f"complete -C '{line}'"
        for line in ("specc che", "specc run specs/quickstart.yaml pre", "specc explain SPC102",
                     "specc check specs/quickstart.yaml --set model.position.kind=ro")
    )  # fmt: skip
    said = shell(folder, ["fish", "--no-config", "-c", script])
    words = [line.partition("\t")[0] for line in said.out.splitlines()]
    assert words == ["check", "pretrain", "SPC102", "model.position.kind=rope"], said.err


ZSH = """
autoload -Uz compinit && compinit -D
eval "$(specc completion zsh)"
# Outside of an editor line these two print what they are given: the name of an array is their fifth, or third, word.
compadd() { print -rl -- "${(@P)5}" }
_describe() { print -rl -- "${(@P)3}" }
words=(specc run specs/quickstart.yaml '') CURRENT=4
_specc_completion
words=(specc explain SPC102) CURRENT=3
_specc_completion
"""


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_completes(folder: Path) -> None:
    said = shell(folder, ["zsh", "-f", "-c", ZSH])
    offered_words = [line.partition(":")[0] for line in said.out.splitlines()]
    assert offered_words == ["pretrain", "evaluate", "SPC102"], said.err


def test_an_unknown_shell_is_wrong_usage(specc: Specc) -> None:
    assert specc("completion", "tcsh").code == 2
