"""`specc check --fix`: files are mended as the diagnostics say, and nothing else in them changes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from specc import fixing
from specc.driver import check_source
from tests.conftest import Specc

HEAD = "extends: presets/tiny.yaml\n"
# A spec, and what a fix makes of it.
MENDED = (
    ("model:\n  hiden_size: 128  # wide\n", "model:\n  hidden_size: 128  # wide\n"),
    ("model: {'hiden_size': 128}\n", "model: {'hidden_size': 128}\n"),
    ('model:\n  position: {kind: "ropee"}', 'model:\n  position: {kind: "rope"}'),
    ("model: {tie_embeddings: yes}\n", "model: {tie_embeddings: true}\n"),
    (
        "description: 日本語 é 👩‍👩‍👧\nmodel: {d_model: 128}\n",
        "description: 日本語 é 👩‍👩‍👧\nmodel: {hidden_size: 128}\n",
    ),
    (
        "stages:\n  pretrain: {optimizer: {kind: adamw, learning_rat: 1.0e-3}}\n",
        "stages:\n  pretrain: {optimizer: {kind: adamw, learning_rate: 1.0e-3}}\n",
    ),
    (
        "stages: {pretrain: {schedule: {kind: cosine, warmup_steps: 20}}}\n",
        "stages: {pretrain: {schedule: {kind: cosine, warmup: 20 steps}}}\n",
    ),
    (
        "model:\n  attention:\n    kind: gqa\n  num_heads: 8  # heads\n  num_layers: 3\n",
        "model:\n  attention:\n    kind: gqa\n    num_heads: 8  # heads\n  num_layers: 3\n",
    ),
    (
        "model: {num_heads: 8, num_layers: 3, attention: {kind: gqa}}\n",
        "model: {num_layers: 3, attention: {kind: gqa, num_heads: 8}}\n",
    ),
    ("stages: {pretrain: {data: tex}}\n", "stages: {pretrain: {data: text}}\n"),
)


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["", "bom"])
@pytest.mark.parametrize(("before", "after"), MENDED)
def test_a_safe_fix_changes_what_it_says_and_no_other_byte(
    before: str, after: str, newline: str, mark: str, tmp_path: Path
) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_bytes((mark + HEAD + before).replace("\n", newline).encode())
    fixed = fixing.fix(spec, (), check_source)
    fixing.write(fixed)
    assert spec.read_bytes() == (mark + HEAD + after).replace("\n", newline).encode()
    assert not fixed.outcome.failed
    assert [path.name for path in tmp_path.iterdir()] == ["spec.yaml"]


# Mistakes that a person has to decide.
LEFT = (
    "model:\n  attention: {kind: gga}\n",
    "model: {num_heads: x, attention: {kind: gqa}}\n",
    "stages: {pretrain: {duration: 500}}\n",
    "stages: {pretrain: {max_steps: 1.5}}\n",
    "model:\n  hiden_size: 64\n  hidden_size: 64\n",
    "data: {text: {holdout: 1}}\n",
    "stages:\n  pretrain: {data: &a tex, sample: {prompt: *a}}\n",
    "stages: {pretrain: {optimizer: {kind: adamw, learning_rate: 1.0e-3, beta1: 0.9}}}\n",
    "stages: {pretrain: {optimizer: {kind: adamw, learning_rate: 1.0e-3, beta: 0.9}}}\n",
    "stages: {pretrain: {data: text2}}\n",
    # Under a section that is not written yet, and not under that of another stage.
    "stages: {pretrain: {zero_stage: 1}, more: {kind: pretrain, parallelism: {data_parallel_size: 1}}}\n",
)
# Names of other things, each with where it stands: a choice that is near is not what was meant.
FOREIGN = (
    ("model.ffn.kind", ("geglu", "glu", "relu")),
    ("model.position.kind", ("nope",)),
    ("model.position.scaling.kind", ("llama2",)),
    ("stages.pretrain.optimizer.kind", ("adam", "lion")),
    ("stages.pretrain.precision", ("fp17", "int8", "tf32")),
    ("stages.pretrain.kind", ("orpo", "gspo", "ipo")),
    ("stages.pretrain.data", ("text2",)),
)


@pytest.mark.parametrize("text", LEFT)
def test_what_is_in_doubt_is_left_to_a_person(text: str, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(HEAD + text, encoding="utf-8")
    fixed = fixing.fix(spec, (), check_source)
    assert fixed.outcome.failed
    assert fixed.changed == ()


@pytest.mark.parametrize(("path", "words"), FOREIGN)
def test_the_name_of_another_thing_is_never_replaced(path: str, words: tuple[str, ...], tmp_path: Path) -> None:
    *sections, key = path.split(".")
    for word in words:
        text = f"{key}: {word}"
        for section in reversed(sections):
            text = f"{section}: {{{text}}}"
        spec = tmp_path / "spec.yaml"
        spec.write_text(f"{HEAD}{text}\n", encoding="utf-8")
        fixed = fixing.fix(spec, (), check_source)
        assert fixed.outcome.failed
        assert fixed.changed == ()
        asked = [found.help or "" for found in fixed.first.diagnostics if f"`{word}`" in found.headline]
        assert asked
        if not any(letter.isdigit() for letter in word):
            assert not any("did you mean" in text for text in asked), asked


def test_a_fix_that_would_leave_more_errors_is_refused(specc: Specc, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    model = "model:\n  attention:\n    kind: gqa\n    num_kv_heads: 2\n  num_heads: 3\n  tie_embeddings: yes\n"
    stages = "stages: {pretrain: {data: zzz}, out: {kind: export, from: nobody, format: huggingface}}\n"
    before = HEAD + model + stages
    spec.write_text(before, encoding="utf-8")
    assert specc("check", "spec.yaml").err.endswith("2 errors, 1 fixable with --fix\n")
    done = specc("check", "spec.yaml", "--fix")
    assert done.code == 1
    assert "has no key `num_heads`: after its fix " in done.err
    assert "fixed 1 mistake\n" in done.err
    assert spec.read_text(encoding="utf-8") == before.replace("yes", "true")


def test_diff_ends_like_check_for_the_files_as_they_are(specc: Specc, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(HEAD + "model: {hiden_size: 128}\n", encoding="utf-8")
    shown = specc("check", "spec.yaml", "--diff")
    assert shown.code == 1
    assert shown.err == "would fix 1 mistake\n"
    assert specc("check", "spec.yaml", "--fix").code == 0
    assert specc("check", "spec.yaml", "--diff").code == 0


def test_check_announces_as_many_fixes_as_are_made(specc: Specc, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(
        HEAD + "stages:\n  pretrain: {optimizr: {kind: adamw, lr: 1.0e-3}, data: tex, steps: 5, warmup_steps: 3}\n",
        encoding="utf-8",
    )
    announced = re.search(r"(\d+) fixable", specc("check", "spec.yaml").err)
    made = re.search(r"would fix (\d+) mistakes?", specc("check", "spec.yaml", "--diff").err)
    assert announced is not None
    assert made is not None
    assert announced[1] == made[1]


def test_check_fix_shows_the_diff_writes_and_says_what_is_left(specc: Specc, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(HEAD + "model: {hiden_size: 128, num_layers: 0}\n", encoding="utf-8")
    asked = specc("check", "spec.yaml")
    assert asked.err.endswith("2 errors, 1 fixable with --fix\n")
    shown = specc("check", "spec.yaml", "--diff")
    assert shown.code == 1
    assert "-model: {hiden_size: 128, num_layers: 0}\n+model: {hidden_size: 128, num_layers: 0}\n" in shown.out
    assert "hiden_size" in spec.read_text(encoding="utf-8")
    done = specc("check", "spec.yaml", "--fix")
    assert (done.code, done.out) == (1, shown.out)
    assert "fixed 1 mistake" in done.err
    assert "error[SPC007]: `num_layers` must be at least 1" in done.err
    assert spec.read_text(encoding="utf-8") == HEAD + "model: {hidden_size: 128, num_layers: 0}\n"


def test_a_fix_reaches_the_users_presets_and_no_others(specc: Specc, tmp_path: Path) -> None:
    for folder in ("mine", "theirs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "base.yaml").write_text(HEAD + "model: {hiden_size: 128}\n", encoding="utf-8")
    (tmp_path / "mine/spec.yaml").write_text("extends: base.yaml\n", encoding="utf-8")
    assert specc("check", "spec.yaml", "--fix", cwd=tmp_path / "mine").code == 0
    assert "hidden_size" in (tmp_path / "mine/base.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine/spec.yaml").write_text("extends: ../theirs/base.yaml\n", encoding="utf-8")
    said = specc("check", "spec.yaml", "--fix", cwd=tmp_path / "mine")
    assert said.code == 1
    assert "base.yaml is left as it is: it lies neither beside spec.yaml nor below this folder" in said.err
    assert "hiden_size" in (tmp_path / "theirs/base.yaml").read_text(encoding="utf-8")


def test_json_shows_the_edits(specc: Specc, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(HEAD + "model: {hiden_size: 128}\n", encoding="utf-8")
    (found,) = json.loads(specc("check", "spec.yaml", "--format", "json").out)
    assert set(found) == {"code", "severity", "headline", "labels", "notes", "help", "fix"}
    span = {"file": "spec.yaml", "line": 2, "column": 9, "end_line": 2, "end_column": 19}
    assert found["fix"] == {"safe": True, "edits": [{"span": span, "text": "hidden_size"}]}
