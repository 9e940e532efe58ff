"""One test over every kind: what it says of itself is what the generated code is."""

from __future__ import annotations

import itertools
import keyword
import re
from pathlib import Path

import pytest
import torch

from specc import resources
from specc.kinds.adapter import ADAPTER
from specc.kinds.attention import ATTENTION
from specc.kinds.balancing import BALANCING
from specc.kinds.baseline import BASELINE
from specc.kinds.ffn import FFN
from specc.kinds.filter import FILTER
from specc.kinds.head import HEAD
from specc.kinds.init import INIT
from specc.kinds.model import MODEL
from specc.kinds.norm import NORM
from specc.kinds.objective import OBJECTIVE
from specc.kinds.optimizer import OPTIMIZER
from specc.kinds.packing import PACKING
from specc.kinds.position import POSITION
from specc.kinds.reward import REWARD
from specc.kinds.rope_scaling import ROPE_SCALING
from specc.kinds.schedule import SCHEDULE
from specc.kinds.sequence_length import SEQUENCE_LENGTH
from specc.kinds.source import SOURCE
from specc.kinds.spike import SPIKE
from specc.kinds.stage import STAGE
from specc.kinds.tokenizer import TOKENIZER
from specc.spec.base import Node
from tests import compiling

SETS = {
    "adapter": ADAPTER,
    "attention": ATTENTION,
    "balancing": BALANCING,
    "baseline": BASELINE,
    "ffn": FFN,
    "filter": FILTER,
    "head": HEAD,
    "init": INIT,
    "model": MODEL,
    "norm": NORM,
    "objective": OBJECTIVE,
    "optimizer": OPTIMIZER,
    "packing": PACKING,
    "position": POSITION,
    "reward": REWARD,
    "rope_scaling": ROPE_SCALING,
    "schedule": SCHEDULE,
    "sequence_length": SEQUENCE_LENGTH,
    "source": SOURCE,
    "spike": SPIKE,
    "stage": STAGE,
    "tokenizer": TOKENIZER,
}
EVERY = [(name, kind) for name, kinds in SETS.items() for kind in kinds]
# An author with a year, or an arXiv number: something that can be looked up.
SOURCE = re.compile(r"arXiv:\d{4}\.\d{4,5}|\b(19|20)\d\d\b|GPT-2, section|of a directory or of a model")

ATTENTIONS = (
    "{kind: gqa, num_heads: 4, num_kv_heads: 2}",
    "{kind: gqa, num_heads: 6, num_kv_heads: 3, head_dim: 16, bias: qkv}",
    "{kind: mha, num_heads: 4, bias: all}",
)
HEADS = (
    "{kind: mqa, num_heads: 4, clip_qkv: 0.5, scale: 0.3}",
    "{kind: gqa, num_heads: 4, num_kv_heads: 2, qk_norm: {kind: rmsnorm, eps: 1.0e-6, unit_offset: true}}",
    "{kind: gqa, num_heads: 4, num_kv_heads: 2, qk_norm: {kind: layernorm, bias: false}, qk_norm_over: each_head}",
    "{kind: gqa, num_heads: 4, num_kv_heads: 2, qk_norm: {kind: rmsnorm}, qk_norm_over: each_head}",
    "{kind: gqa, num_heads: 4, num_kv_heads: 2, qk_norm: {kind: rmsnorm}, qk_norm_over: width, clip_qkv: 0.5}",
    "{kind: gqa, num_heads: 4, num_kv_heads: 2, sinks: true, window: 6, pattern: LG}",
    "{kind: mha, num_heads: 4, sinks: true, logit_softcap: 3.0}",
)
POSITIONS = ("{kind: alibi}", "{kind: rope}", "{kind: learned, num_positions: 40}")
BODIES = (
    ("{kind: rmsnorm}", "{kind: swiglu, intermediate_size: 96}", "true"),
    ("{kind: layernorm}", "{kind: gelu, intermediate_size: 128}", "false"),
    ("{kind: rmsnorm}", "{kind: swiglu, intermediate_size: 96, bias: true}", "false"),
)
# What changes the scores is tried with every position scheme, and every scaling of rotary angles once.
SCORES = (
    "{kind: gqa, num_heads: 4, num_kv_heads: 2, window: 6}",
    "{kind: gqa, num_heads: 4, num_kv_heads: 2, kernel: eager}",
    "{kind: gqa, num_heads: 4, num_kv_heads: 2, window: 6, pattern: LG}",
    "{kind: gqa, num_heads: 4, num_kv_heads: 2, window: 6, pattern: LLG, kernel: eager, logit_softcap: 3.0}",
    "{kind: mha, num_heads: 4, window: 6}",
    "{kind: mha, num_heads: 4, kernel: eager, logit_softcap: 3.0}",
    "{kind: mha, num_heads: 4, window: 6, pattern: LG}",
)
_EXPERTS = "kind: moe, num_experts: 8, experts_per_token: 2, intermediate_size: 48"
# Further keys of the model, each tried once.
FRAMES = (
    (
        "residual_multiplier=0.3",
        "head={kind: lm, bias: true, multiplier: 0.2}",
        "dropout={residual: 0.1, attention: 0.1}",
    ),
    ("norm_placement=post", "embedding={multiplier: sqrt_hidden_size, norm: {kind: layernorm, eps: 1.0e-3}}"),
    ("norm_placement=sandwich", "head={kind: lm, softcap: 2.0}", "norm={kind: rmsnorm, unit_offset: true}"),
    ("norm_placement=output", "norm={kind: layernorm, weight: false, bias: false}", "dropout={embedding: 0.1}"),
    ("residual=parallel", "norm={kind: layernorm, bias: false}"),
    ("residual=parallel_two_norms", "tie_embeddings=false", "head={kind: lm, bias: true}"),
    ("dropout={ffn: 0.1}", "ffn={kind: relu, intermediate_size: 128}"),
    ("layer_sharing={distinct: 1}", "adapters={size: 16}"),
    ("layer_sharing={distinct: 1, order: cyclic}", "adapters={after: [ffn], activation: relu}"),
    ("dropout={ffn: 0.1}", f"ffn={{{_EXPERTS}, num_shared_experts: 1, dense: {{layers: [1], intermediate_size: 96}}}}"),
)
SCALINGS = (
    "{kind: linear, factor: 4}",
    "{kind: yarn, factor: 4, attention_factor: 1.2}",
    "{kind: yarn, factor: 4}",
    "{kind: yarn, factor: 4, truncate: false}",
    "{kind: llama3, factor: 8}",
)
_LATENT = "kind: mla, num_heads: 4, kv_lora_rank: 24, qk_nope_head_dim: 16, qk_rope_head_dim: 8, v_head_dim: 12"
# Latent attention takes rotary positions only.
LATENTS = (
    f"{{{_LATENT}}}",
    f"{{{_LATENT}, q_lora_rank: 20, bias: true}}",
    f"{{{_LATENT}, q_lora_rank: 20, kernel: eager}}",
    f"{{{_LATENT}, bias: true, kernel: eager, scale: 0.3}}",
)
# Scalings that follow the length of the sequence: within the original context a cache changes nothing.
BY_LENGTH = (
    "{kind: dynamic, factor: 4}",
    "{kind: longrope, short_factor: [1, 1.5, 2, 2.5], long_factor: [2, 4, 6, 8]}",
)
MORE_POSITIONS = (
    "{kind: rope, partial_rotary_factor: 0.25}",
    "{kind: rope, layout: interleaved}",
    "{kind: rope, layout: interleaved, partial_rotary_factor: 0.5}",
    "{kind: alibi, max_bias: 4.0, slope_precision: bf16, multiplier: 0.25}",
    "{kind: learned, offset: 2}",
    "{kind: sinusoidal}",
    "{kind: relative, num_buckets: 8, max_distance: 16}",
    "{kind: none}",
)
# Every feed-forward once, and the experts with each of their settings.
FEED_FORWARDS = (
    "{kind: relu, intermediate_size: 128}",
    "{kind: squared_relu, intermediate_size: 128}",
    "{kind: squared_relu, intermediate_size: 128, bias: true}",
    "{kind: gelu, intermediate_size: 128, approximate: none}",
    "{kind: geglu, intermediate_size: 96}",
    "{kind: geglu, intermediate_size: 96, approximate: none, bias: true}",
    "{kind: reglu, intermediate_size: 96}",
    f"{{{_EXPERTS}}}",
    f"{{{_EXPERTS}, normalize_weights: false, num_shared_experts: 2, balancing: {{kind: loss}}}}",
    f"{{{_EXPERTS}, num_shared_experts: 1, shared_intermediate_size: 80, shared_gate: true}}",
    f"{{{_EXPERTS}, activation: clamped_swiglu, bias: true, router_bias: true}}",
    f"{{{_EXPERTS}, num_groups: 4, groups_per_token: 2, routed_scaling_factor: 16.0}}",
    f"{{{_EXPERTS}, scoring: sigmoid, num_groups: 4, groups_per_token: 2, group_score: top2_sum, "
    "balancing: {kind: bias}, num_shared_experts: 1, routed_scaling_factor: 2.5, "
    "dense: {layers: [0], intermediate_size: 96}}",
    f"{{{_EXPERTS}, scoring: sigmoid, balancing: {{kind: loss}}, capacity_factor: 1.25}}",
    f"{{{_EXPERTS}, balancing: {{kind: bias}}}}",
)
ARCHITECTURES = [
    *itertools.product(ATTENTIONS, POSITIONS, BODIES),
    *itertools.product(SCORES, POSITIONS, BODIES[:1]),
    *itertools.product(HEADS, POSITIONS[:2], BODIES[:1]),
    *((ATTENTIONS[0], POSITIONS[1], BODIES[0], frame) for frame in FRAMES),
    *(
        (ATTENTIONS[0], f"{{kind: rope, original_context_length: 8, scaling: {scaling}}}", BODIES[0])
        for scaling in SCALINGS
    ),
    *itertools.product(LATENTS, ("{kind: rope}", "{kind: rope, layout: interleaved}"), BODIES[:1]),
    *(
        (
            ATTENTIONS[0],
            f"{{kind: rope, partial_rotary_factor: 0.5, original_context_length: 32, scaling: {scaling}}}",
            BODIES[0],
        )
        for scaling in BY_LENGTH
    ),
    (
        SCORES[3],
        "{kind: rope, local_rope_theta: 100, original_context_length: 8, scaling: {kind: linear, factor: 4}}",
        BODIES[0],
    ),
    (SCORES[-1], "{kind: rope, local_rope_theta: 100, partial_rotary_factor: 0.5, layout: interleaved}", BODIES[0]),
    *itertools.product((ATTENTIONS[0], ATTENTIONS[2], SCORES[0]), MORE_POSITIONS, BODIES[:1]),
    *((ATTENTIONS[0], "{kind: rope}", ("{kind: rmsnorm}", ffn, "false")) for ffn in FEED_FORWARDS),
    # Where attention and feed-forward differ, the pattern has pairs.
    (
        "{kind: gqa, num_heads: 4, num_kv_heads: 2, window: 6, pattern: LLG}",
        "{kind: alibi}",
        ("{kind: rmsnorm}", f"{{{_EXPERTS}, dense: {{layers: [0, 2], intermediate_size: 96}}}}", "true"),
    ),
]


Architecture = tuple[str, str, tuple[str, str, str]] | tuple[str, str, tuple[str, str, str], tuple[str, ...]]


def sets(architecture: Architecture) -> tuple[str, ...]:
    attention, position, (norm, ffn, tied), *frame = architecture
    layers = ("model.num_layers=3",) if "LLG" in attention else ()
    return (
        *layers,
        f"model.attention={attention}",
        f"model.position={position}",
        f"model.norm={norm}",
        f"model.ffn={ffn}",
        f"model.tie_embeddings={tied}",
        "model.context_length=32",
        *(f"model.{key}" for keys in frame for key in keys),
    )


@pytest.mark.parametrize(("name", "kind"), EVERY, ids=[f"{name}/{kind.__name__}" for name, kind in EVERY])
def test_a_kind_has_a_source_and_a_file_of_its_own(name: str, kind: type[Node]) -> None:
    tag = kind.model_fields["kind"].annotation
    (choice,) = tag.__args__  # type: ignore[union-attr]
    # No module can have the name of a keyword.
    assert kind.__module__ == f"specc.kinds.{name}.{choice}{'ed' if keyword.iskeyword(choice) else ''}"
    assert SOURCE.search(kind.__doc__ or ""), f"{choice} names no source"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_lowered_weights_are_the_parameters_of_the_generated_module(architecture: Architecture, tmp_path: Path) -> None:
    plan = compiling.planned(*sets(architecture))
    generated = compiling.module(compiling.files(plan)["model.py"], tmp_path)
    with torch.device("meta"):
        model = generated.Model()
    said = {weight.name: weight.sizes for weight in plan.experiment.model.weights()}
    assert {name: tuple(value.shape) for name, value in model.named_parameters()} == said
    assert list(said) == [name for name, _ in model.named_parameters()]
    assert plan.experiment.model.parameters == sum(value.numel() for value in model.parameters())


@pytest.mark.parametrize("architecture", ARCHITECTURES[::5])
def test_what_tensor_parallelism_cuts_is_said_of_weights_and_of_what_they_save(
    architecture: Architecture,
) -> None:
    for layer in compiling.planned(*sets(architecture)).experiment.model.layers:
        for name, component in layer.parts:
            cut = any(weight.split is not None for weight in component.weights)
            assert any(saved.split for saved in component.saved) == cut, name
            assert not cut or not component.saved[0].split, f"the input of {name} stands whole on every rank"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_token_sees_its_past_only_and_a_cache_changes_nothing(architecture: Architecture, tmp_path: Path) -> None:
    generated = compiling.model(tmp_path, *sets(architecture))
    torch.manual_seed(0)
    model = generated.Model().eval()
    for value in model.parameters():  # the size of trained weights: PyTorch's own embedding makes logits of a hundred
        torch.nn.init.normal_(value, std=0.2)
    ids = torch.randint(0, 257, (2, 17))
    with torch.no_grad():
        full = model(ids)
        changed = ids.clone()
        changed[:, 11] = (ids[:, 11] + 1) % 257
        after = model(changed)
        cache = generated.Cache(2, 17, next(model.parameters()))
        steps = [model(ids[:, :5], cache), *(model(ids[:, t : t + 1], cache) for t in range(5, 17))]
    # Experts multiply as many tokens as chose them, and a product of other sizes may round otherwise.
    torch.testing.assert_close(full[:, :11], after[:, :11], atol=1e-6 if "moe" in str(architecture) else 0, rtol=0)
    assert not torch.allclose(full[:, 11:], after[:, 11:])
    torch.testing.assert_close(torch.cat(steps, dim=1), full, atol=1e-5, rtol=0)


@pytest.mark.parametrize("architecture", [*ARCHITECTURES[:27:3], *ARCHITECTURES[27:]])
def test_the_flops_are_those_that_torch_counts(architecture: Architecture, tmp_path: Path) -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    plan = compiling.planned(*sets(architecture))
    generated = compiling.module(compiling.files(plan)["model.py"], tmp_path)
    # How many tokens go to an expert is known of real tensors only.
    with torch.device("cpu" if "moe" in str(architecture) else "meta"):
        model = generated.Model().eval()
        ids = torch.zeros(3, 32, dtype=torch.long)
    # The counter does not know the fused attention of a CPU; its products written out are as many.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(ids)
    assert counter.get_total_flops() == 3 * 32 * plan.experiment.model.forward_flops_per_token(32)


def test_every_template_belongs_to_something() -> None:
    folder = resources.templates()
    texts = [path.read_text(encoding="utf-8") for path in Path(__file__).parents[2].glob("specc/**/*.py")]
    texts += [path.read_text(encoding="utf-8") for path in folder.rglob("*.j2")]
    for path in folder.rglob("*.j2"):
        stem = path.name.partition(".")[0]
        assert any(stem in text for text in texts), f"{path.name} is used by nothing"
