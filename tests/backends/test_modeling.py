"""The module for transformers against `model.py` with the same weights, and what transformers asks of a model."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from specc.backends import modeling
from specc.ir.modeling import unwritten
from tests import compiling
from tests.backends.remote import Pair, load, pair
from tests.kinds.test_every_kind import ARCHITECTURES, Architecture, sets

ALIBI = (
    "model.position={kind: alibi}",
    "model.attention={kind: gqa, num_heads: 4, num_kv_heads: 2, window: 6, pattern: LG}",
)
BIASED = ("model.position={kind: relative}",)
BOUNDED = ("model.attention={kind: mha, num_heads: 4, logit_softcap: 3.0}",)
SINKS = ("model.attention={kind: mha, num_heads: 4, sinks: true}",)
EXPERTS = "{kind: moe, num_experts: 8, experts_per_token: 2, intermediate_size: 48, balancing: {kind: %s}}"


@pytest.fixture(scope="module")
def alibi(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return pair(tmp_path_factory.mktemp("alibi"), *ALIBI)


def written(*chosen: str) -> str:
    return compiling.files(compiling.planned(*chosen))[f"{modeling.FOLDER}/{modeling.MODELING}"]


def ids(length: int = 17, rows: int = 2) -> torch.Tensor:
    return torch.randint(1, 257, (rows, length), generator=torch.Generator().manual_seed(5))


def same_logits(architecture: Architecture, folder: Path) -> None:
    found = pair(folder, *sets(architecture))
    lines = (found.folder / modeling.MODELING).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 500
    assert max(map(len, lines)) <= 120
    chosen = found.theirs.config._attn_implementation
    assert chosen == ("sdpa" if found.theirs._supports_sdpa else "eager")
    for name in {chosen, "eager"}:
        found.theirs.set_attn_implementation(name)
        with torch.no_grad():
            torch.testing.assert_close(found.theirs(ids()).logits, found.ours(ids()), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["rope", "learned", "sinusoidal", "alibi, slope_precision: bf16"])
def test_documents_that_were_kept_apart_are_one_each_for_transformers(kind: str, tmp_path: Path) -> None:
    found = pair(tmp_path, f"model.position={{kind: {kind}}}", "stages.pretrain.packing.cross_document=false")
    with torch.no_grad():
        torch.testing.assert_close(found.theirs(ids()).logits, found.ours(ids()), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("kernel", "position"),
    [("flex", "alibi"), ("flex", "relative"), ("flex", "alibi, slope_precision: bf16"), ("flash", "alibi")],
)
@pytest.mark.parametrize("together", ["true", "false"])
def test_a_kernel_that_adds_the_bias_by_itself_changes_nothing_of_the_module(
    kernel: str, position: str, together: str
) -> None:
    asked = (f"model.position={{kind: {position}}}", "cluster={device: h100_sxm}", "stages.pretrain.precision=bf16")
    packed = f"stages.pretrain.packing.cross_document={together}"
    plain = written(*asked, "model.attention.kernel=sdpa")
    own = written(*asked, packed, f"model.attention.kernel={kernel}")
    assert own.split('"""', 2)[2] == plain.split('"""', 2)[2]  # a docstring has the name of the experiment


# Blocks that are shared or have adapters have no module; that is a test of its own.
WRITTEN = [one for one in ARCHITECTURES if "layer_sharing" not in str(one) and "adapters" not in str(one)]


@pytest.mark.parametrize("architecture", WRITTEN[::12])
def test_logits_are_those_of_the_generated_model(architecture: Architecture, tmp_path: Path) -> None:
    same_logits(architecture, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [one for i, one in enumerate(WRITTEN) if i % 12])
def test_logits_of_every_architecture_are_those_of_the_generated_model(
    architecture: Architecture, tmp_path: Path
) -> None:
    same_logits(architecture, tmp_path)


@pytest.mark.parametrize("chosen", [ALIBI, SINKS, (f"model.ffn={EXPERTS % 'bias'}",)])
def test_no_branch_asks_for_a_size(chosen: tuple[str, ...]) -> None:
    tree = ast.parse(written(*chosen))
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    constants = {t.id for t in targets if isinstance(t, ast.Name)} - {"IMPLEMENTATIONS"}
    asked = [node.test for node in ast.walk(tree) if isinstance(node, ast.If | ast.IfExp | ast.While | ast.Assert)]
    assert not constants & {leaf.id for test in asked for leaf in ast.walk(test) if isinstance(leaf, ast.Name)}


@pytest.mark.parametrize(
    "attention",
    [
        "{kind: mha, num_heads: 4}",
        "{kind: gqa, num_heads: 4, num_kv_heads: 2, window: 6, pattern: LG}",
        "{kind: mla, num_heads: 4, kv_lora_rank: 24, qk_nope_head_dim: 16, qk_rope_head_dim: 8, v_head_dim: 12}",
    ],
)
def test_a_parser_finds_the_one_call_of_the_interface_inside_the_forward_of_the_attention(attention: str) -> None:
    # vLLM's backend for transformers looks for a call of a variable that was assigned from the interface.
    tree = ast.parse(written(f"model.attention={attention}", "model.position={kind: rope}"))
    (made,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Attention")
    (forward,) = (node for node in made.body if isinstance(node, ast.FunctionDef) and node.name == "forward")
    assigned = {
        target.id
        for node in ast.walk(forward)
        if isinstance(node, ast.Assign) and "ALL_ATTENTION_FUNCTIONS" in ast.unparse(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    calls = [node for node in ast.walk(forward) if isinstance(node, ast.Call) and ast.unparse(node.func) in assigned]
    assert len(calls) == 1
    assert [ast.unparse(argument) for argument in calls[0].args[:1]] == ["self"]
    assert {word.arg: ast.unparse(word.value) for word in calls[0].keywords}["scaling"] == "self.scaling"
    opening = ast.unparse(next(node for node in made.body if isinstance(node, ast.FunctionDef)))
    assert all(f"self.{name} = " in opening for name in ("layer_idx", "num_key_value_groups", "is_causal", "scaling"))


@pytest.mark.parametrize("chosen", [BOUNDED, SINKS])
def test_fused_attention_that_would_leave_something_out_is_refused(chosen: tuple[str, ...], tmp_path: Path) -> None:
    found = pair(tmp_path, *chosen)
    for name in ("sdpa", "flash_attention_2"):
        with pytest.raises((ValueError, ImportError)):
            load(found.folder, attn_implementation=name)


@pytest.mark.parametrize(
    ("chosen", "said"), [(BIASED, "position bias"), (BOUNDED, "bound of the scores"), (SINKS, "sinks")]
)
def test_an_implementation_that_drops_what_it_does_not_know_is_refused(
    chosen: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    found = pair(tmp_path, *chosen)
    found.theirs.config._attn_implementation_internal = "vllm"  # as vLLM sets it, past every check
    with pytest.raises(ValueError, match=f"does not compute the {said}"):
        found.theirs(ids())
    assert not found.theirs._supports_flash_attn
    assert not found.theirs._supports_attention_backend


def test_a_config_with_another_size_is_refused(alibi: Pair) -> None:
    config = AutoConfig.from_pretrained(str(alibi.folder), trust_remote_code=True, hidden_size=32)
    with pytest.raises(ValueError, match="hidden_size: compiled into this file"):
        AutoModelForCausalLM.from_config(config, trust_remote_code=True)


def test_labels_give_the_loss_of_the_next_token(alibi: Pair) -> None:
    labels = ids().clone()
    labels[0, :5] = -100
    with torch.no_grad():
        said = alibi.theirs(ids(), labels=labels).loss
        logits = alibi.ours(ids())
    wanted = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
    torch.testing.assert_close(said, wanted, atol=1e-5, rtol=0)


def test_experts_that_are_balanced_by_a_loss_add_it_while_training(tmp_path: Path) -> None:
    found = pair(tmp_path, f"model.ffn={EXPERTS % 'loss'}")
    plain = found.theirs(ids(), labels=ids()).loss
    balanced = found.theirs.train()(ids(), labels=ids()).loss
    found.ours.train()(ids())
    torch.testing.assert_close(balanced - plain, 0.01 * found.ours.auxiliary_loss(), atol=1e-5, rtol=0)


def test_checkpointed_blocks_give_the_same_gradients(alibi: Pair) -> None:
    def gradients() -> dict[str, torch.Tensor]:
        alibi.theirs.zero_grad()
        alibi.theirs.train()(ids(), labels=ids(), use_cache=False).loss.backward()
        return {name: value.grad.clone() for name, value in alibi.theirs.named_parameters()}

    plain = gradients()
    alibi.theirs.activation_checkpointing_enable()
    again = gradients()
    alibi.theirs.activation_checkpointing_disable()
    alibi.theirs.eval()
    assert all(torch.equal(plain[name], again[name]) for name in plain)


def test_a_saved_copy_brings_its_code_and_computes_the_same(alibi: Pair, tmp_path: Path) -> None:
    alibi.theirs.save_pretrained(tmp_path / "copy")
    assert {modeling.MODELING, modeling.CONFIGURATION} <= {path.name for path in (tmp_path / "copy").iterdir()}
    said = json.loads((tmp_path / "copy/config.json").read_text(encoding="utf-8"))
    assert said["auto_map"]["AutoModelForCausalLM"].endswith("modeling_specc.SpeccForCausalLM")
    with torch.no_grad():
        assert torch.equal(load(tmp_path / "copy")(ids()).logits, alibi.theirs(ids()).logits)


def test_tables_that_grow_are_read_back_as_large(alibi: Pair, tmp_path: Path) -> None:
    grown = load(alibi.folder)
    grown.resize_token_embeddings(300)
    grown.save_pretrained(tmp_path / "grown")
    assert load(tmp_path / "grown")(torch.tensor([[299]])).logits.shape == (1, 1, 300)
    assert grown.lm_head.weight is grown.get_input_embeddings().weight


def test_hidden_states_and_attentions_can_be_asked_for(alibi: Pair) -> None:
    alibi.theirs.set_attn_implementation("eager")
    found = alibi.theirs(ids(), output_hidden_states=True, output_attentions=True)
    alibi.theirs.set_attn_implementation("sdpa")
    assert [tuple(state.shape) for state in found.hidden_states] == [(2, 17, 64)] * 3
    assert [tuple(shares.shape) for shares in found.attentions] == [(2, 4, 17, 17)] * 2
    torch.testing.assert_close(found.attentions[0].sum(dim=-1), torch.ones(2, 4, 17))


def test_a_sequence_is_scored_at_its_last_token_and_no_question_is_asked(alibi: Pair) -> None:
    model: Any = AutoModelForSequenceClassification.from_pretrained(
        str(alibi.folder), trust_remote_code=True, num_labels=3, pad_token_id=0
    ).eval()
    padded = torch.cat((ids(), torch.zeros(2, 4, dtype=torch.long)), dim=1)
    with torch.no_grad():
        scores = model(padded, labels=torch.tensor([0, 2]))
        torch.testing.assert_close(scores.logits, model(ids()).logits, atol=1e-5, rtol=0)
        last = alibi.theirs.model(ids()).last_hidden_state[:, -1]
    assert scores.loss > 0
    torch.testing.assert_close(scores.logits, model.score(last), atol=1e-5, rtol=0)


def test_a_graph_without_breaks_can_be_exported(alibi: Pair) -> None:
    with torch.no_grad():
        graph = torch.export.export(alibi.theirs, (), {"input_ids": ids(), "use_cache": False}, strict=False).module()
        torch.testing.assert_close(
            graph(input_ids=ids(), use_cache=False).logits, alibi.theirs(ids()).logits, atol=1e-5, rtol=0
        )


def test_weights_that_no_file_has_begin_as_norms_that_change_nothing(tmp_path: Path) -> None:
    found = pair(tmp_path, "model.norm={kind: rmsnorm, unit_offset: true}", f"model.ffn={EXPERTS % 'bias'}", *SINKS)
    config = AutoConfig.from_pretrained(str(found.folder), trust_remote_code=True)
    fresh = AutoModelForCausalLM.from_config(config, trust_remote_code=True)
    state = {**dict(fresh.named_parameters()), **dict(fresh.named_buffers())}
    for name, value in state.items():
        zero = name.endswith(("norm.weight", "sinks", "correction", "seen_E", "bias"))
        assert (value.float().abs().max() == 0) == zero, name
        assert zero or abs(value.std() - 0.02) < 0.005, name


@pytest.mark.parametrize(
    "position", ["alibi", "alibi, slope_precision: bf16", "relative", "learned", "sinusoidal", "rope"]
)
def test_kernel_and_packing_of_the_training_change_nothing_in_the_module(position: str) -> None:
    heads, gpu = (
        "kind: gqa, num_heads: 2, num_kv_heads: 1",
        ("cluster={device: h100_sxm}", "stages.pretrain.precision=bf16"),
    )
    chosen = (f"model.position={{kind: {position}}}", *gpu)
    kernels = [
        "eager",
        "sdpa",
        "flex",
        *(["flash"] if position not in ("alibi, slope_precision: bf16", "relative") else []),
    ]
    texts = {
        written(
            *chosen,
            f"model.attention={{{heads}, kernel: {kernel}}}",
            f"stages.pretrain.packing.cross_document={across}",
        )
        for kernel in kernels
        for across in ("true", "false")
    }
    assert len({text.partition("\n")[2] for text in texts}) == 1  # but for the name of the experiment


def test_no_module_is_written_for_a_window_of_which_the_cache_of_transformers_keeps_everything() -> None:
    plan = compiling.planned("model.attention={kind: gqa, num_heads: 4, num_kv_heads: 2, window: 1}")
    assert not any(path.startswith(modeling.FOLDER) for path in compiling.files(plan))
    assert "window of 1" in (unwritten(plan.experiment.model) or "")


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ("model.layer_sharing={distinct: 1, order: cyclic}", "share"),
        ("model.adapters={after: [ffn], size: 4}", "adapters"),
    ],
)
def test_blocks_that_are_shared_or_have_adapters_have_no_module_and_that_is_said(chosen: str, reason: str) -> None:
    plan = compiling.planned(chosen)
    assert reason in (unwritten(plan.experiment.model) or "")
    assert not any(path.startswith(modeling.FOLDER) for path in compiling.files(plan))
