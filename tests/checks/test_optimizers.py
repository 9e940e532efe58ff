"""Rules of optimizers: what is refused, and that the help is right."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from specc import driver
from specc.diagnostics import Diagnostic
from tests.compiling import TINY, planned

ADAMW = {"kind": "adamw", "learning_rate": 1e-3}


def found(*sets: str, code: str) -> list[Diagnostic]:
    return [one for one in driver.check(TINY, sets).diagnostics if one.code == code]


def rules(*listed: dict[str, Any]) -> str:
    return f"stages.pretrain.optimizer.rules={json.dumps(listed)}"


def muon(*listed: dict[str, Any], **more: Any) -> str:
    return f"stages.pretrain.optimizer={json.dumps({'kind': 'muon', 'learning_rate': 1e-3, 'rules': listed, **more})}"


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("embeding.*", "did you mean `embedding.*`?"),
        ("*.attention_nrm.weight", "did you mean `*.attention_norm.weight`?"),
        ("layers.0.attention.qproj.weight", "did you mean `layers.*.attention.q_proj.weight`?"),
        ("*.bais", "names of weights end in `*.weight`, such as `embedding.weight`"),
    ],
)
def test_a_pattern_for_nothing_is_answered_by_one_for_something(pattern: str, meant: str) -> None:
    (diagnostic,) = found(rules({"match": pattern, "weight_decay": 0.0}), code="SPC306")
    assert diagnostic.help == meant


def test_a_bias_that_exists_is_suggested() -> None:
    (diagnostic,) = found(rules({"match": "*.bais"}), "model.attention.bias=all", code="SPC306")
    assert diagnostic.help == "did you mean `*.bias`?"


def test_a_rule_behind_one_that_takes_all_of_its_weights_is_refused_and_the_help_mends_it() -> None:
    everything, norms = {"match": "*weight"}, {"match": "*norm.weight", "learning_rate": "0.5x"}
    (diagnostic,) = found(rules(everything, norms), code="SPC312")
    assert diagnostic.help == "put it before `*weight`"
    assert not driver.check(TINY, (rules(norms, everything),)).diagnostics


def test_a_rule_that_could_only_take_everything_from_another_is_not_moved() -> None:
    both = {"match": "*norm.weight"}, {"match": "norm.weight"}, {"match": "*_norm.weight"}, {"match": "*norm.weight"}
    codes = [one.help for one in found(rules(*both), code="SPC312")]
    assert codes == ["put it before `*norm.weight`"] * 2 + ["leave it out, or narrow the rules before it"]


def test_rules_that_share_weights_are_fine_while_each_keeps_some() -> None:
    assert not driver.check(TINY, (rules({"match": "layers.0.*"}, {"match": "layers.*"}),)).diagnostics


@pytest.mark.parametrize("model", [(), ("model.attention.bias=all", "model.norm={kind: layernorm}")])
def test_the_rules_that_help_sends_vectors_away_with_are_legal_and_enough(model: tuple[str, ...]) -> None:
    embedding = {"match": "embedding.*", "optimizer": ADAMW}
    (diagnostic,) = found(muon(embedding), *model, code="SPC305")
    vectors = [w for w in planned(*model).experiment.model.weights() if len(w.sizes) == 1]
    assert diagnostic.headline == f"`muon` takes matrices, and it is given {len(vectors)} vectors"
    patterns = re.findall(r'match: "([^"]+)"', diagnostic.help or "")
    added = [{"match": pattern, "optimizer": ADAMW} for pattern in patterns]
    assert not driver.check(TINY, (muon(*added, embedding), *model)).diagnostics


def test_the_rules_that_help_gives_take_nothing_from_the_rules_that_are_there() -> None:
    last = {"match": "norm.weight", "optimizer": {**ADAMW, "learning_rate": 2e-3}}
    embedding = {"match": "embedding.*", "optimizer": ADAMW}
    (diagnostic,) = found(muon(embedding, last), code="SPC305")
    patterns = re.findall(r'match: "([^"]+)"', diagnostic.help or "")
    assert patterns == ["*_norm.weight"]
    added = [{"match": pattern, "optimizer": ADAMW} for pattern in patterns]
    assert not driver.check(TINY, (muon(*added, embedding, last),)).diagnostics


def test_blocks_that_are_treated_alike_need_one_rule_however_many_they_are() -> None:
    embedding = {"match": "embedding.*", "optimizer": ADAMW}
    (diagnostic,) = found(muon(embedding), "model.num_layers=10000", code="SPC305")
    assert "20,001 vectors" in diagnostic.headline
    assert re.findall(r'match: "([^"]+)"', diagnostic.help or "") == ["*norm.weight"]


def test_help_does_not_list_a_rule_for_each_of_hundreds_of_blocks() -> None:
    apart = {"match": "layers.3.*", "optimizer": ADAMW}
    (diagnostic,) = found(muon(apart), "model.num_layers=100", code="SPC305")
    assert re.findall(r'match: "([^"]+)"', diagnostic.help or "") == ["layers.0.attention_norm.weight"]
    assert (diagnostic.help or "").endswith("and so on for each of them")


def test_the_help_for_steps_of_another_size_does_not_copy_their_learning_rate() -> None:
    (diagnostic,) = found(muon(step_size="original", learning_rate=0.02), code="SPC305")
    assert "learning_rate: 0.0003" in (diagnostic.help or "")


def test_muon_on_tables_is_a_warning_that_names_them() -> None:
    (diagnostic,) = found(
        muon({"match": "*norm.weight", "optimizer": ADAMW}), "model.tie_embeddings=false", code="SPC311"
    )
    assert diagnostic.severity == "warning"
    assert "`embedding.weight` and `lm_head.weight`" in diagnostic.headline


@pytest.mark.parametrize("rate", [0.02, 1e-3])
def test_one_block_of_rules_mends_vectors_and_tables_and_finds_nothing_new(rate: float) -> None:
    bare = f"stages.pretrain.optimizer={{kind: muon, learning_rate: {rate}}}"
    (diagnostic,) = driver.check(TINY, (bare,)).diagnostics
    assert diagnostic.code == "SPC305"
    block = re.findall(r"`(rules: .*)`", diagnostic.help or "")[0]
    assert not driver.check(TINY, (bare[:-1] + f", {block}}}",)).diagnostics


def test_a_rule_may_send_matrices_to_muon() -> None:
    projections = {"match": "*_proj.weight", "optimizer": {"kind": "muon", "learning_rate": 1e-3}}
    assert not driver.check(TINY, (rules(projections),)).diagnostics
    (diagnostic,) = found(rules({**projections, "match": "layers.*"}), code="SPC305")
    assert "4 vectors" in diagnostic.headline


def test_two_decays_in_one_rule_are_refused_unless_they_agree() -> None:
    one = {"match": "embedding.*", "weight_decay": 0.0, "optimizer": {**ADAMW, "weight_decay": 0.1}}
    assert found(rules(one), code="SPC313")
    assert not found(rules({**one, "weight_decay": 0.1}), code="SPC313")
