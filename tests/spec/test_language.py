"""The language as a whole: every field is described and classed, and mistakes are answered once, at their place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from specc.diagnostics.near import nearest
from specc.driver import check
from specc.spec.base import Node
from specc.spec.language import _all_sections, fields
from specc.spec.spec import Spec
from specc.spec.synonyms import SYNONYMS
from tests.conftest import ROOT, Specc


def sections(model: type[BaseModel] = Spec) -> Iterator[type[BaseModel]]:
    yield model
    for below in _all_sections(model).values():
        for part in below:
            yield from sections(part)


SECTIONS = sorted(set(sections()), key=lambda model: model.__qualname__)


@pytest.mark.parametrize("model", SECTIONS, ids=lambda model: model.__name__)
def test_every_field_is_described_and_classed(model: type[BaseModel]) -> None:
    assert issubclass(model, Node)
    assert model.__doc__
    for key, info in fields(model).items():
        assert info.description, key
        extra = info.json_schema_extra
        assert isinstance(extra, dict), key
        assert extra["effect"] in ("identity", "numerics", "execution", "annotation", "section"), key


def test_every_synonym_names_a_key_of_ours_and_is_none_itself() -> None:
    keys = {key for model in SECTIONS for key in fields(model)}
    assert set(SYNONYMS.values()) <= keys
    # Keys of evaluation stages, of shards and of attention, and not of training stages or rules.
    same_word_elsewhere = {"batch_size", "dtype", "pattern"}
    assert not (set(SYNONYMS) - same_word_elsewhere) & keys


MISTAKES = {
    "model.hiden_size=4": ("SPC003", "model.hiden_size=4", 1, "did you mean `hidden_size`?"),
    "model.position.kind=ropee": ("SPC006", "ropee", 21, "did you mean `rope`?"),
    "stages.pretrain.duration=2000": ("SPC008", "2000", 26, "write `2000 tokens`"),
    "model.attention.num_kv_heads=3": ("SPC102", "3", 30, "use 2 or 4"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_shown_with_line_column_caret_and_help(mistake: str, specc: Specc) -> None:
    code, marked, column, help_text = MISTAKES[mistake]
    said = specc("check", str(ROOT / "specs/presets/tiny.yaml"), "--set", mistake)
    assert said.code == 1
    assert said.err.count("error[") == 1, said.err
    lines = said.err.splitlines()
    assert lines[0].startswith(f"error[{code}]: ")
    assert lines[1].endswith(f"--set {mistake}:1:{column}")
    caret = next(line for line in lines if "^" in line)
    quoted = lines[lines.index(caret) - 1]
    start = caret.index("^")
    length = len(caret.rstrip().rpartition("^")[0]) + 1 - start
    assert quoted[start : start + length] == marked.partition("=")[0] or quoted[start : start + length] == mistake
    assert f"= help: {help_text}" in said.err
    assert "Traceback" not in said.err


def test_all_errors_come_in_one_pass(specc: Specc, tmp_path: Path) -> None:
    broken = "sead: 1\nmodel: {num_layers: x, norm: {kind: rmsnrm}}\nstages: {pretrain: {lr: 1}}\n"
    text = f"extends: presets/tiny.yaml\n{broken}"
    (tmp_path / "spec.yaml").write_text(text, encoding="utf-8")
    said = specc("check", "spec.yaml", "--format", "concise")
    assert sorted(line.split("[")[1][:6] for line in said.out.splitlines()) == ["SPC003", "SPC003", "SPC004", "SPC006"]


def test_a_misspelt_required_key_is_one_mistake(specc: Specc, tmp_path: Path) -> None:
    text = (ROOT / "specs/presets/tiny.yaml").read_text(encoding="utf-8").replace("hidden_size", "hiddensize")
    (tmp_path / "spec.yaml").write_text(text, encoding="utf-8")
    said = specc("check", "spec.yaml", "--format", "concise")
    assert len(said.out.splitlines()) == 1
    assert "has no key `hiddensize`" in said.out


# Each override is one mistake: its code, what the headline says, the column it points at, and a part of the help.
ONE_MISTAKE = (
    ("suites.x.tasks=[arc]", "SPC004", "item 1 of `tasks` takes a mapping, not `arc`", 17, ""),
    ("suites.x.tasks=[{}]", "SPC005", "item 1 of `suites.x.tasks` needs `task`", 17, ""),
    ("suites.x.tasks=[{task: a, num_fewshot: -1}]", "SPC007", "`num_fewshot` must be at least 0, not `-1`", 40, ""),
    ("suites.x.tasks=[]", "SPC004", "`tasks` is empty: it needs at least one entry", 16, ""),
    ("data.text.sources.files.path=[1]", "SPC004", "item 1 of `path` takes text, not `1`", 31, ""),
    ("data.text.sources.files.path=[]", "SPC004", "`path` is empty: it needs at least one entry", 30, ""),
    ("data.text.sources.files.path=5", "SPC004", "`path` takes text or a list, not `5`", 30, ""),
    ("stages.x-y={kind: export, form: 1}", "SPC004", "`x-y` is no name for a stage", 1, "digits and `_`, and start"),
    ("stages.0.kind=x", "SPC004", "`0` is no name for a stage", 1, "start with a letter"),
    ("data.x-y=5", "SPC004", "`x-y` is no name for a data set", 1, "letters, digits and `_`"),
    ("name=a b", "SPC004", "`name` takes a word, not `a b`", 6, "letters, digits, `-`, `.` and `_`"),
    ("model.specc=1", "SPC003", "`model` of kind `decoder` has no key `specc`", 1, "`specc` belongs at the top level"),
    ("stages.x={kind: evaluate, models: [pretrain], suites: [a], from: pretrain}", "SPC003", "", 60, "`from` is a key"),
    ("tokenizer.vocab_size=5", "SPC003", "", 1, "`vocab_size` is a key of kind `pretrained`"),
    ("model.attention={kind: mha, num_heads: 4, num_kv_heads: 2}", "SPC003", "", 43, "is a key of kind `gqa`"),
    ("stages.pretrain.kind=null", "SPC006", "the stage kind is a word, not nothing", 22, "its kinds are `pretrain`"),
    ("stages.pretrain.kind=[a]", "SPC006", "the stage kind is a word, not a list", 22, "its kinds are `pretrain`"),
    ("data.text.filters=[{kind: foo}]", "SPC006", "no filter kind `foo`", 27, "its kinds are `language`"),
    ("model.kind=recurrent", "SPC006", "no model kind `recurrent`", 12, "`decoder`"),
    ("model.init.std=0.05", "SPC005", "`model.init` needs `kind`", 1, "its kinds are `normal`, `depth_scaled`"),
    ("model.norm={kin: rmsnorm}", "SPC003", "`model.norm` has no key `kin`", 13, "did you mean `kind`?"),
    ("stages.pretrain.optimizer.betas=[0.9]", "SPC004", "`betas` takes 2 values, not 1", 33, ""),
    ("stages.pretrain.optimizer.betas=[1, 1, 1]", "SPC004", "`betas` takes 2 values, not 3", 33, ""),
    ("stages.pretrain.optimizer.betas=[0.9, x]", "SPC004", "item 2 of `betas` takes a number, not `x`", 39, ""),
    ("stages={}", "SPC004", "`stages` is empty: it needs at least one entry", 1, ""),
    ("stages=null", "SPC004", "`stages` takes a mapping, not nothing", 8, ""),
    ("model=5", "SPC004", "`model` takes a mapping, not `5`", 7, ""),
    ("model.attention.head_dim=0", "SPC007", "`head_dim` must be at least 1 or `auto`, not `0`", 26, ""),
    ("stages.pretrain.duration=2T", "SPC008", "`duration` needs a unit: `2T` could be", 26, "write `2T tokens` or `2T"),
    ("stages.pretrain.global_batch_size=1", "SPC008", "", 35, "write `1 token` or `1 sequence`"),
    ("data.text.holdout=1K", "SPC008", "`holdout` is measured in %, not `1K`", 19, "such as `1%`"),
    (
        "stages.pretrain.optimizer.rules=[{match: a*, learning_rate: 0.1}]",
        "SPC008",
        "`learning_rate` is a multiple of the optimizer's, such as `0.1x`, not `0.1`",
        61,
        "`0.1x`",
    ),
    (
        "stages.pretrain.optimizer.rules=[{match: a*, learning_rate: 10%}]",
        "SPC008",
        "`learning_rate` is a multiple of the optimizer's",
        61,
        "such as `0.1x`",
    ),
    ("stages.pretrain.optimizer.rules=[{lr_scale: 2x, match: a*}]", "SPC003", "", 35, "mean `learning_rate`?"),
    (
        "stages.pretrain.optimizer.rules=[{}]",
        "SPC005",
        "item 1 of `stages.pretrain.optimizer.rules` needs `match`",
        34,
        "`match`: ",
    ),
    (
        "stages.pretrain.optimizer.rules=[{match: a*, optimizer: {kind: moun}}]",
        "SPC006",
        "no optimizer kind `moun`",
        64,
        "did you mean `muon`?",
    ),
    ("stages.pretrain.optimizer.momentum=0.9", "SPC003", "", 1, "`momentum` is a key of kind `muon`"),
    ("stages.pretrain.loss_scale=dynami", "SPC004", "`loss_scale` takes", 28, "did you mean `dynamic`?"),
    ("stages.pretrain.loss_scale=0.0", "SPC007", "`loss_scale` must be more than 0", 28, ""),
    ("stages.pretrain.steps=0", "SPC007", "`steps` must be at least 1 or `auto`, not `0`", 23, ""),
    ("stages.pretrain.steps=100 steps", "SPC004", "`steps` takes a whole number or `auto`", 23, ""),
    ("stages.pretrain.schedule={kind: wsd, decay: 0.1}", "SPC008", "`decay` needs a unit: `0.1` could be", 45, ""),
    ("stages.pretrain.schedule={kind: wsd, decay_steps: 10}", "SPC003", "", 38, "did you mean `decay`?"),
    ("stages.pretrain.schedule={kind: cosine, decay: 10%}", "SPC003", "", 41, "`decay` is a key of kind `wsd`"),
    (
        "stages.pretrain.schedule={kind: wsd, shape: exp}",
        "SPC004",
        "`shape` takes `linear` or `cosine` or `sqrt`",
        45,
        "",
    ),
    ("stages.pretrain.packing.cross_document=no", "SPC004", "", 40, "did you mean `false`?"),
    ("stages.pretrain.optimizer={kind: adamw, lr: 1.0}", "SPC003", "", 41, "did you mean `learning_rate`?"),
    # Quantities: what is proposed keeps the user's number.
    ("stages.pretrain.duration=20Bi tokens", "SPC008", "`duration` has no prefix `Bi`", 26, "mean `20B tokens`?"),
    ("stages.pretrain.duration=2b tokens", "SPC008", "`duration` has no prefix `b`", 26, "mean `2B tokens`?"),
    ("stages.pretrain.duration=100 stpes", "SPC008", "`duration` is measured in", 26, "mean `100 steps`?"),
    ("stages.pretrain.global_batch_size=8 seqs", "SPC008", "", 35, "mean `8 sequences`?"),
    ("stages.pretrain.duration=1_000 steps", "SPC004", "`duration` takes digits and", 26, "mean `1000 steps`?"),
    ("stages.pretrain.duration='1,000 steps'", "SPC004", "`duration` takes digits and", 26, "mean `1000 steps`?"),
    (
        "cluster.slurm.time_limit=1 hour",
        "SPC008",
        "`time_limit` is measured in s, min, h or d, not `1 hour`",
        26,
        "did you mean `1h`?",
    ),
    ("cluster.inter_node_bandwidth=400 Gbps", "SPC008", "", 30, "did you mean `50 GB/s`?"),
    ("data.text.holdout=0.01", "SPC008", "`holdout` needs a unit", 19, "write `1%`"),
    ("cluster.slurm.mem=512", "SPC008", "`mem` needs a unit", 19, "write `512 GiB`"),
    # Where a key belongs, by the name of the stage.
    ("stages.pretrain.zero_stage=1", "SPC003", "", 1, "belongs under `stages.pretrain.parallelism`"),
    (
        "stages.pretrain.gradient_checkpointing=true",
        "SPC003",
        "",
        1,
        "`activation_checkpointing` belongs under `stages.pretrain.parallelism`",
    ),
    # All that a section lacks is one mistake.
    ("stages.x={kind: sft, from: pretrain}", "SPC005", "`stages.x` of kind `sft` needs `data` and `duration`", 1, ""),
    # The value in the shape that it should have.
    ("model.norm=rmsnorm", "SPC004", "`norm` takes a mapping", 12, "write `{kind: rmsnorm}`"),
    ("suites.x.tasks=[mmlu]", "SPC004", "item 1 of `tasks` takes a mapping", 17, "write `{task: mmlu}`"),
    ("suites.x.tasks=mmlu", "SPC004", "`tasks` takes a list", 16, "write `[{task: mmlu}]`"),
    ("data.text.filters=[language]", "SPC004", "item 1 of `filters`", 20, "write `{kind: language}`"),
    ("data.text.filters={kind: language}", "SPC004", "`filters` takes a list", 1, "write `[{kind: language}]`"),
    ("allow=SPC111", "SPC004", "`allow` takes a list", 7, "write `[SPC111]`"),
    ('model.hidden_size="128"', "SPC004", "`hidden_size` takes", 19, "did you mean `128`, without quotes?"),
    ("stages.pretrain.optimizer.betas=0.9", "SPC004", "`betas` takes a list", 33, "such as `[0.9, "),
    (
        "data.text.sources={kind: huggingface, dataset: x}",
        "SPC004",
        "`data.text.sources` holds entries by name",
        20,
        "`sources: {NAME: {kind: huggingface, ...}}`",
    ),
    ("model.init.std=0.05", "SPC005", "", 1, "`--set 'model.init={kind: depth_scaled, std: 0.05}'`"),
    ("specc=2", "SPC004", "`specc` takes `1`, not `2`", 7, "this specc reads specs of version 1"),
    # What the field has and the language has not is no slip.
    ("model.ffn.kind=geglo", "SPC006", "no ffn kind `geglo`", 16, "did you mean `geglu`?"),
)


@pytest.mark.parametrize(("mistake", "code", "headline", "column", "help_text"), ONE_MISTAKE)
def test_one_mistake_is_one_diagnostic(mistake: str, code: str, headline: str, column: int, help_text: str) -> None:
    (found,) = check(ROOT / "specs/presets/tiny.yaml", (mistake,)).diagnostics
    assert found.code == code
    assert found.headline.startswith(headline)
    assert found.primary is not None
    assert (found.primary.span.file, found.primary.span.column) == (f"--set {mistake}", column)
    assert help_text in (found.help or "")


def test_a_preset_that_is_given_as_a_spec_is_one_mistake(specc: Specc) -> None:
    (found,) = check(ROOT / "specs/clusters/h100_64x8.yaml").diagnostics
    assert found.headline == "this file has the keys of `cluster` and none of a spec: it is a preset"
    assert (found.help or "").startswith("use it as `cluster: {extends: ")


def test_a_number_of_the_wrong_type_is_not_explained_by_what_its_key_means() -> None:
    (found,) = check(ROOT / "specs/presets/tiny.yaml", ("model.num_layers=1.5",)).diagnostics
    assert found.help is None


def test_a_prefix_names_what_it_begins() -> None:
    assert nearest("spc1", ["spc001", "spc101", "spc811"]) == "spc101"
    assert nearest("max", ["num_layers", "max_words"]) == "max_words"
    assert nearest("ropee", ["alibi", "rope"]) == "rope"
    assert nearest("zzz", ["alibi", "rope"]) is None
