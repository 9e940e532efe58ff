"""Position schemes against independent implementations: rotations, biases and tables."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests import compiling
from tests.backends.test_scores import LLAMA, hold, renamed, spread

HEADS = "{kind: gqa, num_heads: 4, num_kv_heads: 2}"
SHORT = tuple(1.0 + 0.25 * index for index in range(8))
LONG = tuple(2.0 + 0.5 * index for index in range(8))


def position(folder: Path, scheme: str, *sets: str) -> ModuleType:
    return compiling.model(folder, f"model.position={scheme}", *sets)


def given(module: ModuleType, weights: dict[str, Tensor]) -> nn.Module:
    model: nn.Module = module.Model().eval()
    model.load_state_dict(weights, strict=True)
    return model


def test_a_part_of_each_head_is_turned_as_in_stablelm_in_transformers(tmp_path: Path) -> None:
    from transformers import StableLmConfig, StableLmForCausalLM

    parameters = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25}
    values = {name: value for name, value in LLAMA.items() if name not in ("head_dim", "rms_norm_eps")}
    config = StableLmConfig(**values, layer_norm_eps=1e-5, rope_parameters=parameters)
    hold(
        tmp_path,
        StableLmForCausalLM(config).eval(),
        "model.position={kind: rope, partial_rotary_factor: 0.25}",
        "model.norm={kind: layernorm}",
    )


def test_neighbours_are_pairs_as_in_glm_in_transformers(tmp_path: Path) -> None:
    """GLM has interleaved pairs over half of each head, and gate and up as one matrix."""
    from transformers import GlmConfig, GlmForCausalLM

    parameters = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
    config = GlmConfig(**LLAMA, attention_bias=False, pad_token_id=0, rope_parameters=parameters)
    judge = GlmForCausalLM(config).eval()
    spread(judge)
    weights = renamed(judge.state_dict())
    for layer in range(4):
        both = weights.pop(f"layers.{layer}.ffn.gate_up_proj.weight")
        weights[f"layers.{layer}.ffn.gate_proj.weight"], weights[f"layers.{layer}.ffn.up_proj.weight"] = both.chunk(2)
    scheme = "{kind: rope, layout: interleaved, partial_rotary_factor: 0.5}"
    model = given(position(tmp_path, scheme, "model.num_layers=4", "model.tie_embeddings=false"), weights)
    for length in (1, 9, 128):
        ids = torch.randint(0, 257, (2, length))
        with torch.no_grad():
            torch.testing.assert_close(model(ids), judge(ids).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layout", ["half_split", "interleaved"])
def test_scores_of_turned_queries_and_keys_depend_on_their_distance_only(layout: str, tmp_path: Path) -> None:
    generated = position(tmp_path, f"{{kind: rope, layout: {layout}, partial_rotary_factor: 0.5}}")
    torch.manual_seed(0)
    query, key = torch.randn(1, 1, 1, 16), torch.randn(1, 1, 1, 16)
    like = torch.zeros(1, 1, 64)

    def score(at: int, other: int) -> Tensor:
        turned = generated.rotate(query, *generated.rotation(at, like))
        product: Tensor = (turned * generated.rotate(key, *generated.rotation(other, like))).sum()
        return product

    torch.testing.assert_close(score(3, 1), score(40, 38), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(score(3, 1), score(3, 2), atol=1e-3)


SCALINGS: dict[str, dict[str, Any]] = {
    "{kind: linear, factor: 4}": {"rope_type": "linear", "factor": 4.0},
    "{kind: dynamic, factor: 4}": {"rope_type": "dynamic", "factor": 4.0},
    "{kind: yarn, factor: 4}": {"rope_type": "yarn", "factor": 4.0},
    "{kind: yarn, factor: 32, truncate: false}": {"rope_type": "yarn", "factor": 32.0, "truncate": False},
    "{kind: llama3, factor: 8}": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
    },
}


def longrope(pairs: int, extra: str = "") -> str:
    short, long = list(SHORT[:pairs]), list(LONG[:pairs])
    return f"{{kind: longrope, short_factor: {short}, long_factor: {long}{extra}}}"


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("scaling", [*SCALINGS, "longrope"])
def test_frequencies_are_those_of_transformers(scaling: str, share: float, tmp_path: Path) -> None:
    """Published sizes, above and below the original context; transformers' `dynamic` takes its longest for that."""
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    pairs = int(16 * share) // 2
    lists = {"rope_type": "longrope", "short_factor": SHORT[:pairs], "long_factor": LONG[:pairs]}
    theirs = {name: list(value) if isinstance(value, tuple) else value for name, value in lists.items()}
    theirs = SCALINGS.get(scaling, theirs)
    rope = {"rope_theta": 1.5e5, "partial_rotary_factor": share, "original_max_position_embeddings": 4096}
    longest = 4096 if theirs["rope_type"] == "dynamic" else 131_072
    config = LlamaConfig(**{**LLAMA, "max_position_embeddings": longest}, rope_parameters={**rope, **theirs})
    written = longrope(pairs) if scaling == "longrope" else scaling
    scheme = (
        f"{{kind: rope, rope_theta: 1.5e5, partial_rotary_factor: {share}, original_context_length: 4096, "
        f"scaling: {written}}}"
    )
    generated = position(tmp_path, scheme, "model.context_length=131072")
    like = torch.zeros(1, 1, 64)
    for start in (99, 4095, 4096, 50_000):
        expected, growth = ROPE_INIT_FUNCTIONS[theirs["rope_type"]](config, torch.device("cpu"), seq_len=start + 1)
        cos, sin = generated.rotation(start, like)
        angles = (start * expected).repeat(2)
        torch.testing.assert_close(cos[0], growth * angles.cos(), atol=1e-6 * start, rtol=1e-5)
        torch.testing.assert_close(sin[0], growth * angles.sin(), atol=1e-6 * start, rtol=1e-5)


def by_length(kind: str, share: float) -> tuple[dict[str, Any], str]:
    """A configuration of transformers and our scaling, for an original context of 32 of 128."""
    pairs = int(16 * share) // 2
    rope: dict[str, Any] = {"rope_theta": 1e4, "partial_rotary_factor": share}
    if kind == "dynamic":
        return {"max_position_embeddings": 32, "rope_parameters": {**rope, **SCALINGS["{kind: dynamic, factor: 4}"]}}, (
            "{kind: dynamic, factor: 4}"
        )
    rope |= {"rope_type": "longrope", "short_factor": list(SHORT[:pairs]), "long_factor": list(LONG[:pairs])}
    return {"rope_parameters": {**rope, "original_max_position_embeddings": 32}}, longrope(pairs)


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_a_scaling_by_length_is_that_of_llama_in_transformers(kind: str, tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    theirs, ours = by_length(kind, 1.0)
    config = LlamaConfig(**{**LLAMA, **theirs})
    scheme = f"{{kind: rope, original_context_length: 32, scaling: {ours}}}"
    hold(tmp_path, LlamaForCausalLM(config).eval(), f"model.position={scheme}")


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_decoding_beyond_the_original_context_is_that_of_transformers(kind: str, tmp_path: Path) -> None:
    """Cached keys keep their angles, there as here; the full pass turns all of them anew, and differs."""
    from transformers import LlamaConfig, LlamaForCausalLM

    theirs, ours = by_length(kind, 1.0)
    judge = LlamaForCausalLM(LlamaConfig(**{**LLAMA, **theirs})).eval()
    spread(judge)
    scheme = f"{{kind: rope, original_context_length: 32, scaling: {ours}}}"
    generated = position(tmp_path, scheme, "model.num_layers=4", "model.tie_embeddings=false")
    model = given(generated, renamed(judge.state_dict()))
    ids = torch.randint(0, 257, (2, 40))
    with torch.no_grad():
        cache = generated.Cache(2, 40, next(model.parameters()))
        kept, expected = None, []
        steps = [ids[:, :29], *(ids[:, index : index + 1] for index in range(29, 40))]
        decoded = [model(step, cache) for step in steps]
        for step in steps:
            answer = judge(step, past_key_values=kept, use_cache=True)
            kept = answer.past_key_values
            expected.append(answer.logits)
        torch.testing.assert_close(torch.cat(decoded, dim=1), torch.cat(expected, dim=1), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(torch.cat(decoded, dim=1)[:, :32], model(ids[:, :32]), atol=1e-4, rtol=1e-4)
        assert not torch.allclose(decoded[-1], model(ids)[:, -1:], atol=1e-2)


def test_the_growth_of_longrope_is_what_a_spec_says(tmp_path: Path) -> None:
    scheme = f"{{kind: rope, original_context_length: 32, scaling: {longrope(8, ', attention_factor: 1.19')}}}"
    cos, _ = position(tmp_path, scheme).rotation(0, torch.zeros(1, 1, 64))
    torch.testing.assert_close(cos[0], torch.full((16,), 1.19))


@pytest.mark.parametrize("heads", [4, 6, 71])
@pytest.mark.parametrize("max_bias", [8.0, 4.0])
def test_alibi_slopes_of_another_bias_are_those_of_mpt_in_transformers(
    heads: int, max_bias: float, tmp_path: Path
) -> None:
    from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

    attention = f"model.attention={{kind: mha, num_heads: {heads}, head_dim: 4}}"
    slopes = position(tmp_path, f"{{kind: alibi, max_bias: {max_bias}}}", attention).alibi_slopes()
    expected = -build_mpt_alibi_tensor(heads, 2, alibi_bias_max=max_bias)[:, 0, 0]
    torch.testing.assert_close(slopes, expected, atol=0, rtol=1e-6)


@pytest.mark.parametrize("heads", [4, 6, 71])
def test_alibi_in_bf16_is_that_of_falcon_in_transformers(heads: int, tmp_path: Path) -> None:
    from transformers.models.falcon.modeling_falcon import build_alibi_tensor

    attention = f"model.attention={{kind: mha, num_heads: {heads}, head_dim: 4}}"
    generated = position(tmp_path, "{kind: alibi, slope_precision: bf16}", attention, "model.context_length=1024")
    expected = build_alibi_tensor(torch.ones(1, 1000, dtype=torch.long), heads, torch.float32).view(1, heads, 1, 1000)
    bias = generated.alibi_bias(999, torch.zeros(1, 1, 64))
    torch.testing.assert_close(bias, expected, atol=0, rtol=0)


def test_alibi_logits_equal_those_of_falcon_rw_in_transformers(tmp_path: Path) -> None:
    """Falcon-RW: the bias is divided by the root of the head size, as the scores; six heads are no power of two."""
    from transformers import FalconConfig, FalconForCausalLM

    config = FalconConfig(
        vocab_size=257, hidden_size=48, num_hidden_layers=2, num_attention_heads=6, alibi=True, bias=True,
        new_decoder_architecture=False, multi_query=False, parallel_attn=False, max_position_embeddings=128,
        hidden_dropout=0.0, attention_dropout=0.0, attn_implementation="sdpa",  # the eager path adds the bias twice
    )  # fmt: skip
    judge = FalconForCausalLM(config).eval()
    spread(judge)
    sets = (
        "model.hidden_size=48",
        "model.attention={kind: mha, num_heads: 6, bias: all}",
        "model.norm={kind: layernorm}",
        "model.ffn={kind: gelu, intermediate_size: 192, approximate: none}",
    )
    scheme = f"{{kind: alibi, slope_precision: bf16, multiplier: {8**-0.5}}}"
    generated = position(tmp_path, scheme, *sets)
    model = given(generated, falcon_weights(judge.state_dict(), layers=2))
    ids = torch.randint(0, 257, (2, 100))
    with torch.no_grad():
        torch.testing.assert_close(model(ids), judge(ids).logits, atol=1e-4, rtol=1e-4)


def falcon_weights(theirs: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Falcon keeps query, key and value of a head next to each other."""
    ours = {"embedding.weight": theirs["transformer.word_embeddings.weight"]}
    names = (("input_layernorm", "attention_norm"), ("post_attention_layernorm", "ffn_norm"))
    names = (*names, ("self_attention.dense", "attention.o_proj"))
    names = (*names, ("mlp.dense_h_to_4h", "ffn.up_proj"), ("mlp.dense_4h_to_h", "ffn.down_proj"))
    for part in ("weight", "bias"):
        ours[f"norm.{part}"] = theirs[f"transformer.ln_f.{part}"]
        for index in range(layers):
            block = f"transformer.h.{index}."
            for old, new in names:
                ours[f"layers.{index}.{new}.{part}"] = theirs[f"{block}{old}.{part}"]
            fused = theirs[f"{block}self_attention.query_key_value.{part}"].unflatten(0, (6, 3, 8))
            for which, name in enumerate("qkv"):
                ours[f"layers.{index}.attention.{name}_proj.{part}"] = fused[:, which].flatten(0, 1)
    return ours


def test_learned_positions_begin_after_their_offset_as_in_opt_in_transformers(tmp_path: Path) -> None:
    from transformers.models.opt.modeling_opt import OPTLearnedPositionalEmbedding

    judge = OPTLearnedPositionalEmbedding(128, 64)
    generated = position(tmp_path, "{kind: learned, offset: 2}")
    model = generated.Model()
    assert model.position_embedding.weight.shape == judge.weight.shape == (130, 64)
    with torch.no_grad():
        model.position_embedding.weight.copy_(judge.weight)
        model.embedding.weight.zero_()
        seen: list[Tensor] = []
        model.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        model(torch.zeros(1, 128, dtype=torch.long))
        expected = judge(torch.ones(1, 128, dtype=torch.long), 0)
    torch.testing.assert_close(seen[0], expected, atol=0, rtol=0)


def test_sinusoids_are_those_of_the_paper_and_of_marian_in_another_order(tmp_path: Path) -> None:
    from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding

    table = position(tmp_path, "{kind: sinusoidal}").sinusoids(0, torch.zeros(1, 100, 64))
    for where in (0, 1, 50, 99):
        for i in range(32):  # Vaswani et al. 2017, section 3.5
            angle = where / 10000 ** (2 * i / 64)
            assert math.isclose(table[where, 2 * i].item(), math.sin(angle), abs_tol=1e-5)
            assert math.isclose(table[where, 2 * i + 1].item(), math.cos(angle), abs_tol=1e-5)
    theirs = MarianSinusoidalPositionalEmbedding(100, 64).create_weight()
    torch.testing.assert_close(torch.cat((table[:, 0::2], table[:, 1::2]), dim=1), theirs, atol=1e-5, rtol=0)


def test_a_decoder_without_positions_tells_the_order_of_tokens_by_its_mask_only(tmp_path: Path) -> None:
    generated = position(tmp_path, "{kind: none}")
    model = generated.Model().eval()
    spread(model)
    ids = torch.arange(20)[None]
    swapped = ids[:, [3, 1, 2, 0, *range(4, 20)]]
    with torch.no_grad():
        one = model(ids)
        other = model(swapped)
    assert not torch.allclose(one[:, -1], other[:, -1], atol=1e-3)  # two layers: the first tells by what it saw
    with torch.no_grad():
        for block in list(model.layers)[1:]:
            block.attention.o_proj.weight.zero_()
        torch.testing.assert_close(model(ids)[:, -1], model(swapped)[:, -1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (32, 20), (7, 64), (64, 1000)])
def test_the_buckets_are_those_of_t5_in_transformers(buckets: int, distance: int, tmp_path: Path) -> None:
    from transformers.models.t5.modeling_t5 import T5Attention

    generated = position(tmp_path, f"{{kind: relative, num_buckets: {buckets}, max_distance: {distance}}}")
    distances = torch.arange(3000)[None]
    expected = T5Attention._relative_position_bucket(-distances, False, buckets, distance)
    assert torch.equal(generated.bucket(distances), expected)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_relative_bias_is_that_of_t5_in_transformers(bidirectional: bool, tmp_path: Path) -> None:
    from transformers import T5Config
    from transformers.models.t5.modeling_t5 import T5Attention

    config = T5Config(num_heads=4, d_model=64, d_kv=16, is_decoder=not bidirectional)
    judge = T5Attention(config, has_relative_attention_bias=True, layer_idx=0)
    spread(judge)
    weight = judge.relative_attention_bias.weight.detach()
    like = torch.zeros(1, 200, 64)
    generated = relative_module(tmp_path, bidirectional=bidirectional)
    bias = (generated.two_sided_bias if bidirectional else generated.relative_bias)(0, like, weight)
    expected = judge.compute_bias(200, 200).detach()
    past = torch.ones(200, 200, dtype=torch.bool).tril()
    if bidirectional:
        torch.testing.assert_close(bias, expected, atol=0, rtol=0)
    else:
        torch.testing.assert_close(bias[:, :, past], expected[:, :, past], atol=0, rtol=0)
        assert torch.isneginf(bias[:, :, ~past]).all()
        last = relative_module(tmp_path, bidirectional=False).relative_bias(199, like[:, :1], weight)
        torch.testing.assert_close(last, bias[:, :, -1:], atol=0, rtol=0)


def relative_module(folder: Path, *, bidirectional: bool) -> ModuleType:
    """The functions of the scheme alone: no model kind asks for the bidirectional form here."""
    from specc.backends import templates
    from specc.kinds.position.relative import Relative
    from specc.kinds.site import Heads, InitScheme, Site

    scheme = Relative(kind="relative")
    plain = next(compiling.planned().experiment.model.weights()).init
    scheme_of_weights, heads = InitScheme(plain, plain, plain, plain), Heads(4, 16, "num_heads")
    reads = "both" if bidirectional else "past"
    component = scheme.lower(Site(64, 2, 128, 257, scheme_of_weights, heads, True, None, reads=reads))
    assert component.template is not None
    functions = templates.macros(component.template, component.values).functions()
    return compiling.module(f"import torch\nfrom torch import Tensor\n{functions}", folder)


def test_the_table_of_a_relative_bias_learns(tmp_path: Path) -> None:
    """Fused and plain scores give the table the same gradient."""
    gradients = []
    for kernel in ("sdpa", "eager"):
        attention = f"model.attention={{kind: gqa, num_heads: 4, num_kv_heads: 2, kernel: {kernel}}}"
        model = position(tmp_path, "{kind: relative}", attention).Model()
        spread(model)
        ids = torch.arange(60)[None]
        nn.functional.cross_entropy(model(ids)[0, :-1], ids[0, 1:]).backward()
        gradients.append(model.position_embedding.weight.grad)
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-4, rtol=1e-3)
