"""The generated model against independent implementations and published figures."""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from tests import compiling
from tests.compiling import planned
from tests.conftest import ROOT
from tests.presets import compiling as presets

PUBLISHED = {
    "gpt2_124m": 124_439_808,  # transformers' GPT2LMHeadModel(GPT2Config()), and Radford et al. 2019
    "llama3_8b": 8_030_261_248,  # Grattafiori et al. 2024, arXiv:2407.21783; the released checkpoint's count
}
# Those that are committed: whoever tries the README's commands has others beside them.
GENERATED = sorted(path for path in (ROOT / "generated").glob("*/model.py") if "@" not in path.parent.name)


def load(path: Path, folder: Path) -> ModuleType:
    return compiling.module(path.read_text(encoding="utf-8"), folder)


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.parent.name)
def test_a_committed_model_has_the_parameters_of_its_card(path: Path, tmp_path: Path) -> None:
    with torch.device("meta"):
        model = load(path, tmp_path).Model()
    count = sum(value.numel() for value in model.parameters())
    assert f"| parameters | {count:,} |" in (path.parent / "README.md").read_text(encoding="utf-8")
    assert count == PUBLISHED.get(path.parent.name, count)
    assert planned(spec=ROOT / f"specs/{path.parent.name}.yaml").experiment.model.parameters == count


def test_the_70b_model_has_about_70_billion_parameters() -> None:
    # By hand: 80 x (2 x 8192^2 + 2 x 8192 x 1024 + 3 x 8192 x 28672 + 2 x 8192) + 384 x 8192 + 8192
    assert planned(spec=ROOT / "specs/70b_alibi.yaml").experiment.model.parameters == 68_455_505_920


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.parent.name)
def test_a_committed_model_is_short_and_never_asks_for_its_configuration(path: Path) -> None:
    is_readable(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("preset", presets.PRESETS)
def test_the_model_of_a_preset_is_short_has_its_parameters_and_never_asks_for_its_configuration(
    preset: str, tmp_path: Path
) -> None:
    text = presets.text(preset)
    is_readable(text)
    with torch.device("meta"):
        model = compiling.module(text, tmp_path).Model()
    said = {weight.name: weight.sizes for weight in presets.lowered(preset).weights()}
    assert {name: tuple(value.shape) for name, value in model.named_parameters()} == said


def is_readable(text: str, lines: int = 400) -> None:
    """At most so many lines of 120, nothing asked of a constant, no keywords that a function hands on."""
    assert len(text.splitlines()) <= lines
    assert max(map(len, text.splitlines())) <= 120
    tree = ast.parse(text)
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    constants = {target.id for target in targets if isinstance(target, ast.Name)}
    asked = [node.test for node in ast.walk(tree) if isinstance(node, ast.If | ast.IfExp | ast.While | ast.Assert)]
    names = {leaf.id for test in asked for leaf in ast.walk(test) if isinstance(leaf, ast.Name)}
    assert not names & constants
    assert not any(
        isinstance(leaf, ast.Attribute) and leaf.attr.startswith("use_") for t in asked for leaf in ast.walk(t)
    )
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert not any(function.args.kwarg or function.args.vararg for function in functions)


def paper_slopes(heads: int) -> list[float]:
    """ALiBi's slopes as the paper's authors publish them (ofirpress/attention_with_linear_biases), rewritten."""

    def powers(n: int) -> list[float]:
        start = 2 ** (-(2 ** -(n.bit_length() - 1 - 3)))
        return [start * start**i for i in range(n)]

    if heads & (heads - 1) == 0:
        return powers(heads)
    closest = 1 << (heads.bit_length() - 1)
    return powers(closest) + paper_slopes(2 * closest)[0::2][: heads - closest]


@pytest.mark.parametrize("heads", [1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 40, 64, 71, 112])
def test_alibi_slopes_are_those_of_the_paper(heads: int, tmp_path: Path) -> None:
    position = ("model.position={kind: alibi}", f"model.attention={{kind: mha, num_heads: {heads}, head_dim: 4}}")
    slopes = compiling.model(tmp_path, *position).alibi_slopes()
    torch.testing.assert_close(slopes, torch.tensor(paper_slopes(heads)), atol=0, rtol=1e-6)
    if heads == 8:  # section 3: "1/2, 1/4, ..., 1/256"
        assert slopes.tolist() == [2.0**-i for i in range(1, 9)]


def test_alibi_bias_is_slope_times_distance(tmp_path: Path) -> None:
    generated = compiling.model(tmp_path, "model.position={kind: alibi}")
    bias = generated.alibi_bias(0, torch.zeros(1, 3, 64))
    slope = 2.0 ** (-8 / 4)
    inf = float("inf")
    expected = torch.tensor([[0, -inf, -inf], [-slope, 0, -inf], [-2 * slope, -slope, 0]])
    torch.testing.assert_close(bias[0, 0], expected, atol=0, rtol=0)


def copy(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give a generated model another implementation's weights; names and shapes must match exactly."""
    model.load_state_dict(weights, strict=True)


def test_gpt2_logits_equal_those_of_transformers(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=257, n_positions=64, n_embd=48, n_layer=3, n_head=4, n_inner=192)
    judge = GPT2LMHeadModel(config).eval()
    for value in judge.parameters():
        nn.init.normal_(value, std=0.2)
    generated = compiling.model(
        tmp_path,
        "model.hidden_size=48",
        "model.num_layers=3",
        "model.context_length=64",
        "model.attention={kind: mha, num_heads: 4, bias: all}",
        "model.position={kind: learned}",
        "model.norm={kind: layernorm}",
        "model.ffn={kind: gelu, intermediate_size: 192}",
    )
    model = generated.Model().eval()
    copy(model, gpt2_weights(judge.state_dict(), layers=3))
    for length in (1, 17, 64):
        ids = torch.randint(0, 257, (2, length))
        with torch.no_grad():
            torch.testing.assert_close(model(ids), judge(ids).logits, atol=1e-5, rtol=1e-5)


def gpt2_weights(theirs: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """GPT-2 stores matrices transposed, and queries, keys and values as one."""
    ours = {"embedding.weight": theirs["transformer.wte.weight"]}
    ours["position_embedding.weight"] = theirs["transformer.wpe.weight"]
    for i in range(layers):
        for part in ("weight", "bias"):
            block = f"transformer.h.{i}."
            ours[f"layers.{i}.attention_norm.{part}"] = theirs[f"{block}ln_1.{part}"]
            ours[f"layers.{i}.ffn_norm.{part}"] = theirs[f"{block}ln_2.{part}"]
            fused = theirs[f"{block}attn.c_attn.{part}"].t()
            for name, piece in zip(("q_proj", "k_proj", "v_proj"), fused.chunk(3, dim=0), strict=True):
                ours[f"layers.{i}.attention.{name}.{part}"] = piece
            ours[f"layers.{i}.attention.o_proj.{part}"] = theirs[f"{block}attn.c_proj.{part}"].t()
            ours[f"layers.{i}.ffn.up_proj.{part}"] = theirs[f"{block}mlp.c_fc.{part}"].t()
            ours[f"layers.{i}.ffn.down_proj.{part}"] = theirs[f"{block}mlp.c_proj.{part}"].t()
    return {**ours, **{f"norm.{part}": theirs[f"transformer.ln_f.{part}"] for part in ("weight", "bias")}}


def test_llama_logits_equal_those_of_transformers(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=257, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 5e5},
    )  # fmt: skip
    judge = LlamaForCausalLM(config).eval()
    for value in judge.parameters():
        nn.init.normal_(value, std=0.2)
    generated = compiling.model(
        tmp_path,
        "model.num_layers=3",
        "model.position={kind: rope, rope_theta: 5e5}",
        "model.ffn.intermediate_size=96",
        "model.tie_embeddings=false",
    )
    model = generated.Model().eval()
    renamed = (("model.", ""), ("embed_tokens", "embedding"), ("self_attn", "attention"), ("mlp", "ffn"))
    norms = (("input_layernorm", "attention_norm"), ("post_attention_layernorm", "ffn_norm"))
    weights = {}
    for name, value in judge.state_dict().items():
        for theirs, ours in (*renamed, *norms):
            name = name.replace(theirs, ours)
        weights[name] = value
    copy(model, weights)
    for length in (1, 17, 64):
        ids = torch.randint(0, 257, (2, length))
        with torch.no_grad():
            torch.testing.assert_close(model(ids), judge(ids).logits, atol=1e-5, rtol=1e-5)


def test_alibi_logits_equal_those_of_mpt_in_transformers(tmp_path: Path) -> None:
    """MPT has ALiBi, LayerNorm without bias and an exact GELU; six heads are no power of two."""
    from transformers import MptConfig, MptForCausalLM

    torch.manual_seed(0)
    config = MptConfig(d_model=48, n_heads=6, n_layers=2, vocab_size=257, max_seq_len=64, expansion_ratio=4)
    judge = MptForCausalLM(config).eval()
    for value in judge.parameters():
        nn.init.normal_(value, std=0.2)
    generated = compiling.model(
        tmp_path,
        "model.hidden_size=48",
        "model.attention={kind: mha, num_heads: 6}",
        "model.position={kind: alibi}",
        "model.norm={kind: layernorm}",
        "model.ffn={kind: gelu, intermediate_size: 192, approximate: none, bias: false}",
        "model.context_length=64",
    )
    model = generated.Model().eval()
    theirs = judge.state_dict()
    ours = {"embedding.weight": theirs["transformer.wte.weight"], "norm.weight": theirs["transformer.norm_f.weight"]}
    for i in range(2):
        block = f"transformer.blocks.{i}."
        for name, piece in zip("qkv", theirs[f"{block}attn.Wqkv.weight"].chunk(3, dim=0), strict=True):
            ours[f"layers.{i}.attention.{name}_proj.weight"] = piece
        ours[f"layers.{i}.attention.o_proj.weight"] = theirs[f"{block}attn.out_proj.weight"]
        ours[f"layers.{i}.attention_norm.weight"] = theirs[f"{block}norm_1.weight"]
        ours[f"layers.{i}.ffn_norm.weight"] = theirs[f"{block}norm_2.weight"]
        ours[f"layers.{i}.ffn.up_proj.weight"] = theirs[f"{block}ffn.up_proj.weight"]
        ours[f"layers.{i}.ffn.down_proj.weight"] = theirs[f"{block}ffn.down_proj.weight"]
    biases = {name: torch.zeros_like(value) for name, value in model.named_parameters() if name.endswith("norm.bias")}
    copy(model, {**ours, **biases})  # MPT's norms have no bias
    ids = torch.randint(0, 257, (2, 17))
    with torch.no_grad():
        torch.testing.assert_close(model(ids), judge(ids).logits, atol=1e-5, rtol=1e-5)
