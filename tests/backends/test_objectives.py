"""Objectives from the spec to the run: what is generated, and what a run of it does."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from runners import checkpoint
from runners.objective import Ul2Decoder
from runners.sampling import generate
from tests.compiling import files, model, module, planned
from tests.conftest import ROOT
from tests.runners.test_pretrain import curve, wait_for_step

PREFIX = "stages.pretrain.objective={kind: prefix}"
UL2 = "stages.pretrain.objective={kind: ul2}"
SHORT = "model.context_length=32"
ATTENTIONS = (
    "{kind: gqa, num_heads: 4, num_kv_heads: 2}",
    "{kind: gqa, num_heads: 4, num_kv_heads: 2, kernel: eager}",
    "{kind: mha, num_heads: 4}",
    "{kind: mha, num_heads: 4, kernel: eager}",
)
POSITIONS = ("{kind: rope}", "{kind: learned}")


def trained_size(generated: ModuleType) -> Any:
    torch.manual_seed(0)
    made = generated.Model().eval()
    for value in made.parameters():
        torch.nn.init.normal_(value, std=0.2)
    return made


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("position", POSITIONS)
@torch.no_grad()
def test_a_prefix_sees_all_of_itself_and_what_follows_sees_its_past(
    attention: str, position: str, tmp_path: Path
) -> None:
    kind = (f"model.attention={attention}", f"model.position={position}", SHORT)
    generated = model(tmp_path, PREFIX, *kind)
    seen, ids, prefix = trained_size(generated), torch.randint(0, 257, (2, 17)), torch.tensor([6, 0])
    logits = seen(ids, prefix_B=prefix)
    for place in range(17):
        changed = ids.clone()
        changed[:, place] = (ids[:, place] + 1) % 257
        differs = (seen(changed, prefix_B=prefix) != logits).any(dim=2)
        for row, length in enumerate(prefix.tolist()):
            first = 0 if place < length else place
            assert differs[row].tolist() == [at >= first for at in range(17)], (row, place)
    causal = module(files(planned(*kind))["model.py"], tmp_path, "causal").Model().eval()
    causal.load_state_dict(seen.state_dict())
    torch.testing.assert_close(seen(ids), causal(ids), atol=1e-5, rtol=0)
    cache = generated.Cache(2, 17, next(seen.parameters()))
    whole = torch.tensor([6, 6])
    steps = [seen(ids[:, :6], cache, prefix_B=whole), *(seen(ids[:, t : t + 1], cache) for t in range(6, 17))]
    torch.testing.assert_close(torch.cat(steps, dim=1), seen(ids, prefix_B=whole), atol=1e-5, rtol=0)
    written = generate(seen, generated.Cache, ids[:, :6], 3, sees_prompt=True)
    assert torch.equal(written[:, :1], seen(ids[:, :6], prefix_B=whole)[:, -1:].argmax(-1))


@torch.no_grad()
def test_full_prefixes_are_attention_without_a_mask(tmp_path: Path) -> None:
    """Against PyTorch's own attention, the mask of the generated bias left out."""
    generated = model(tmp_path, PREFIX, SHORT)
    seen, ids = trained_size(generated), torch.randint(0, 257, (2, 9))
    logits = seen(ids, prefix_B=torch.tensor([9, 9]))
    fused = torch.nn.functional.scaled_dot_product_attention
    generated.F = type("F", (), {**vars(torch.nn.functional)})  # the module's own name, as its functions see it
    generated.F.scaled_dot_product_attention = staticmethod(lambda q, k, v, **_: fused(q, k, v))
    torch.testing.assert_close(seen(ids), logits, atol=1e-5, rtol=0)


def literal(program: str) -> str:
    """The source of the objective in a generated program, or nothing."""
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.keyword) and node.arg == "objective":
            return ast.unparse(node.value)
    return ""


def test_a_program_says_its_objective_and_nothing_of_the_next_token() -> None:
    plain = files(planned())["train.py"]
    assert "objective" not in plain
    assert files(planned("stages.pretrain.objective={kind: causal}"))["train.py"] == plain
    half = files(planned(PREFIX.replace("prefix}", "prefix, max_share: 0.5}")))["train.py"]
    assert literal(half) == "Prefix(min_length=0, max_length=64)"


def test_ul2_of_the_paper_fills_the_context_of_a_decoder() -> None:
    import runners.objective

    plan = planned(UL2, "model.context_length=512")
    made = eval(literal(files(plan)["train.py"]), vars(runners.objective))  # noqa: S307
    assert isinstance(made, Ul2Decoder)
    assert len(made.denoisers) == 7
    special = plan.experiment.tokenizer.special
    assert made.first_sentinel == special.first_sentinel == 257
    assert [denoiser.mode for denoiser in made.denoisers] == [special.modes[word] for word in "RRSXXXX"]
    rows = torch.randint(0, 256, (400, made.window(512) + 1))
    examples = runners.objective.training_examples(made, rows, 1, 0)
    assert examples.ids.shape == (400, 512)
    assert int(examples.ids.max()) < plan.experiment.model.vocab_size
    ends = (examples.targets != -100).float().argsort(dim=1, stable=True)[:, -1]
    assert int(ends.min()) >= 512 - 3, "less than a span and its sentinel is left over"


def test_special_tokens_make_another_experiment_and_the_next_token_none() -> None:
    plain, causal = planned().experiment, planned("stages.pretrain.objective.kind=causal").experiment
    assert plain.identity == causal.identity
    assert len({planned(*sets).experiment.identity for sets in ((), (PREFIX,), (UL2,))}) == 3
    assert planned(UL2).experiment.tokenizer.vocab_size > 257 == plain.tokenizer.vocab_size


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    """A run folder with a compiled plan of a prefix language model over a small corpus."""
    corpus = tmp_path / "text"
    corpus.mkdir()
    for index in range(60):
        (corpus / f"{index}.txt").write_text(" ".join(f"word{(index * 7 + at * at) % 23}" for at in range(200)))
    sets = (
        "model.hidden_size=32",
        "model.num_layers=1",
        SHORT,
        PREFIX,
        f"data.text.sources.files.path={corpus}/*.txt",
        "data.text.holdout=10%",
        "stages.pretrain.duration=80 steps",
        "stages.pretrain.global_batch_size=4 sequences",
        "stages.pretrain.checkpoint.every=10 steps",
        "stages.pretrain.validation={every: 20 steps, batches: 2}",
        "stages.pretrain.log_every=1 steps",
        "stages.pretrain.sample.tokens=8",
    )
    plan = tmp_path / "runs/tiny/plans/0123456789ab"
    plan.mkdir(parents=True)
    for path, text in files(planned(*sets)).items():
        (plan / path).parent.mkdir(parents=True, exist_ok=True)
        (plan / path).write_text(text)
    return plan


def start(plan: Path, run: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(plan / "train.py"), "--run", str(plan.parent.parent / run)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_killed_prefix_run_ends_with_the_same_bits(compiled: Path) -> None:
    whole = start(compiled, "whole")
    said, errors = whole.communicate(timeout=120)
    assert whole.returncode == 0, errors
    assert "sample" in said
    killed = start(compiled, "killed")
    one, other = (compiled.parent.parent / name for name in ("whole", "killed"))
    wait_for_step(other, 33, killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    resumed = start(compiled, "killed")
    said, errors = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, errors
    assert "resuming from step" in said
    assert curve(one) == curve(other)
    assert curve(one, "validation/loss") == curve(other, "validation/loss")
    weights = checkpoint.required(other).weights()
    assert all(torch.equal(value, weights[name]) for name, value in checkpoint.required(one).weights().items())
    assert curve(one)[80] < curve(one)[1] - 0.5


SEVERAL = "stages.pretrain.objective={{kind: multi_token, weight: {}}}"
VARIANTS = ("parallel", "sequential")
LAYERS = (
    ("model.attention={kind: gqa, num_heads: 4, num_kv_heads: 2}",),
    ("model.attention={kind: mha, num_heads: 4, window: 6, pattern: LG}", "model.tie_embeddings=false"),
    ("model.attention={kind: mha, num_heads: 4}", "model.norm_placement=post", "model.norm={kind: layernorm}"),
)


def several(variant: str, *sets: str) -> tuple[str, ...]:
    prediction = f"model.prediction={{depth: 3, variant: {variant}}}"
    return (SEVERAL.format(1.0), prediction, SHORT, "model.position={kind: alibi}", *sets)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("sets", LAYERS)
def test_parts_for_several_tokens_have_the_weights_and_the_work_that_the_plan_says(
    variant: str, sets: tuple[str, ...], tmp_path: Path
) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    plan = planned(*several(variant, *sets))
    generated = module(files(plan)["model.py"], tmp_path)
    with torch.device("meta"):
        made, ids = generated.Model(), torch.zeros(3, 32, dtype=torch.long)
    said = {weight.name: weight.sizes for weight in plan.experiment.model.weights()}
    assert {name: tuple(value.shape) for name, value in made.named_parameters()} == said
    with FlopCounterMode(display=False) as counter:
        made.predict(ids)
    assert counter.get_total_flops() == 3 * 32 * plan.experiment.model.forward_flops_per_token(32)
    alone = planned(*several(variant, *sets)[2:])
    assert plan.experiment.model.kv_cache_values_per_token == alone.experiment.model.kv_cache_values_per_token


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("sets", LAYERS)
@torch.no_grad()
def test_each_depth_reads_what_is_known_when_it_predicts(variant: str, sets: tuple[str, ...], tmp_path: Path) -> None:
    generated = model(tmp_path, *several(variant, *sets))
    seen, ids = trained_size(generated), torch.randint(0, 257, (2, 17))
    logits = seen.predict(ids)
    assert len(logits) == 3
    torch.testing.assert_close(logits[0], seen(ids), atol=1e-5, rtol=0)
    changed = ids.clone()
    changed[:, 11] = (ids[:, 11] + 1) % 257
    for depth, (before, after) in enumerate(zip(logits, seen.predict(changed), strict=True)):
        # A part that is given the token `depth` places ahead sees it there, and no later one.
        first = 11 - depth if variant == "sequential" else 11
        counted = 17 - depth if variant == "sequential" else 17
        differs = (before != after).any(dim=2).any(dim=0)[:counted]
        assert differs.nonzero().flatten()[0] == first, depth
        assert differs[first:].all()


@torch.no_grad()
def test_parallel_heads_are_models_with_another_last_block(tmp_path: Path) -> None:
    """Gloeckle et al. 2024, section 2: with the block of a head in the last place, the model gives its logits."""
    seen = trained_size(model(tmp_path, *several("parallel")))
    ids = torch.randint(0, 257, (2, 17))
    logits = seen.predict(ids)
    for depth, block in enumerate(seen.prediction, start=1):
        seen.layers[-1].load_state_dict(block.state_dict())
        torch.testing.assert_close(seen(ids), logits[depth], atol=1e-5, rtol=0)


@torch.no_grad()
def test_sequential_parts_follow_the_equations_of_deepseek_v3(tmp_path: Path) -> None:
    """DeepSeek-AI 2024, equations 21 to 23, written for one position at a time."""
    generated = model(tmp_path, *several("sequential"))
    seen, ids = trained_size(generated), torch.randint(0, 257, (1, 12))
    hidden: list[torch.Tensor] = []
    seen.layers[-1].register_forward_hook(lambda module, given, out: hidden.append(out))
    logits = seen.predict(ids)
    state = hidden[0]
    bias = generated.alibi_bias(0, state)
    for depth, part in enumerate(seen.prediction, start=1):
        # h'_i^k = M_k [RMSNorm(h_i^(k-1)); RMSNorm(Emb(t_(i+k)))], for the positions that have such a token.
        known = seen.embedding(ids[:, depth:])
        count = known.shape[1]
        both = torch.cat((part.hidden_norm(state[:, :count]), part.embedding_norm(known)), dim=-1)
        state = part.block(both @ part.projection.weight.T, bias[..., :count, :count], None)
        expected = part.norm(state) @ seen.embedding.weight.T
        torch.testing.assert_close(logits[depth][:, :count], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_parts_get_a_gradient_and_the_loss_of_the_next_token_falls(variant: str, tmp_path: Path) -> None:
    from runners.engines.torch_engine import single
    from runners.objective import MultiToken, training_examples

    torch.manual_seed(0)
    made = model(tmp_path, *several(variant)).Model()
    objective = MultiToken((1.0, 0.5, 0.5))
    optimizer = torch.optim.AdamW(made.parameters(), lr=3e-3)
    trainer = single(made, optimizer, torch.device("cpu"), "fp32", 4, 1.0, loss=objective.loss)
    rows = (torch.arange(33) + torch.arange(8)[:, None]) % 5 + 97
    examples = training_examples(objective, rows, 1, 0)
    before = trainer.validation_loss(examples)
    for _ in range(15):
        trainer.gradients(examples)
        assert all(weight.grad is not None for weight in made.parameters())
        trainer.update(3e-3)
    assert trainer.validation_loss(examples) < before / 2


def test_a_program_weighs_the_tokens_that_the_model_predicts() -> None:
    text = files(planned(*several("parallel"), SEVERAL.format(0.3)))["train.py"]
    assert literal(text) == "MultiToken(weights=(1.0, 0.3, 0.3))"
