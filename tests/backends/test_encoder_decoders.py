"""Generated encoder-decoders against T5 of transformers and the transformer of PyTorch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests import compiling

transformers = pytest.importorskip("transformers")
V, LENGTHS = 300, (1, 17, 64)
SIZES = (
    "model.kind=encoder_decoder",
    "stages.pretrain.objective={kind: span_corruption}",
    f"model.vocab_size={V}",
    "model.hidden_size=48",
    "model.num_layers=3",
    "model.num_decoder_layers=2",
    "model.context_length=64",
)
T5 = (
    *SIZES,
    "model.attention={kind: mha, num_heads: 4, head_dim: 16, scale: 1.0}",
    "model.position={kind: relative, num_buckets: 16, max_distance: 40}",
    "model.norm={kind: rmsnorm, eps: 1.0e-6}",
)
VERSIONS = {
    "t5": (
        {"feed_forward_proj": "relu", "tie_word_embeddings": True},
        (
            *T5,
            "model.ffn={kind: relu, intermediate_size: 96, bias: false}",
            f"model.head={{kind: lm, multiplier: {48**-0.5!r}}}",
        ),
    ),
    "t5 v1.1": (
        {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
        (*T5, "model.ffn={kind: geglu, intermediate_size: 96}", "model.tie_embeddings=false"),
    ),
}
STACK = {
    ".layer.0.SelfAttention.relative_attention_bias": ".position_embedding",
    "SelfAttention.": "attention.",
    "EncDecAttention.": "cross_attention.",
    "layer.0.layer_norm": "attention_norm",
    "DenseReluDense.wi_0": "ffn.gate_proj",
    "DenseReluDense.wi_1": "ffn.up_proj",
    "DenseReluDense.wi": "ffn.up_proj",
    "DenseReluDense.wo": "ffn.down_proj",
    "final_layer_norm": "norm",
}


def judge_of(name: str) -> nn.Module:
    said, _ = VERSIONS[name]
    torch.manual_seed(0)
    sizes = {"d_model": 48, "d_kv": 16, "d_ff": 96, "num_layers": 3, "num_decoder_layers": 2, "num_heads": 4}
    buckets = {"relative_attention_num_buckets": 16, "relative_attention_max_distance": 40}
    judge = transformers.T5ForConditionalGeneration(
        transformers.T5Config(vocab_size=V, dropout_rate=0.1, **sizes, **buckets, **said)
    )
    with torch.no_grad():
        for value in judge.parameters():
            nn.init.normal_(value, std=0.2)
        if not said["tie_word_embeddings"]:
            judge.lm_head.weight = nn.Parameter(torch.randn(V, 48) * 0.2)
    return judge.eval()


def our_name(theirs: str) -> str:
    stack, _, rest = theirs.partition(".")
    if stack == "shared":
        return "embedding.weight"
    if stack == "lm_head":
        return theirs
    if "relative_attention_bias" in rest:
        rest = "position_embedding.weight"
    for word, own in STACK.items():
        rest = rest.replace(word, own)
    last = 1 if stack == "encoder" else 2
    rest = rest.replace(f"layer.{last}.layer_norm", "ffn_norm").replace("layer.1.layer_norm", "cross_attention_norm")
    rest = rest.replace("block.", "layers.").replace("layer.0.", "").replace("layer.1.", "").replace("layer.2.", "")
    for letter in "qkvo":
        rest = rest.replace(f"attention.{letter}.", f"attention.{letter}_proj.")
    return f"encoder.{rest}" if stack == "encoder" else rest


def translated(theirs: dict[str, Tensor], *, tied: bool) -> dict[str, Tensor]:
    dropped = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", *(("lm_head.weight",) if tied else ()))
    return {our_name(name): value for name, value in theirs.items() if name not in dropped}


def both(name: str, folder: Path) -> tuple[nn.Module, nn.Module, object]:
    """Our model with the weights of the judge, the judge, and our module."""
    judge, generated = judge_of(name), compiling.model(folder, *VERSIONS[name][1])
    model = generated.Model().eval()
    model.load_state_dict(translated(judge.state_dict(), tied=name == "t5"), strict=True)
    return model, judge, generated


@pytest.mark.parametrize("name", VERSIONS)
def test_logits_equal_those_of_t5(name: str, tmp_path: Path) -> None:
    model, judge, _ = both(name, tmp_path)
    for length, written in zip(LENGTHS, (17, 64, 5), strict=True):
        ids, decoder_ids = torch.randint(0, V, (3, length)), torch.randint(0, V, (3, written))
        attended = torch.arange(length) < torch.tensor([[length], [max(1, length - 9)], [max(1, length // 2)]])
        with torch.no_grad():
            said = judge(input_ids=ids, decoder_input_ids=decoder_ids).logits
            torch.testing.assert_close(model(ids, decoder_ids), said, atol=1e-5, rtol=1e-5)
            said = judge(input_ids=ids, decoder_input_ids=decoder_ids, attention_mask=attended.long()).logits
            torch.testing.assert_close(model(ids, decoder_ids, attended), said, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", VERSIONS)
def test_gradients_equal_those_of_t5(name: str, tmp_path: Path) -> None:
    model, judge, _ = both(name, tmp_path)
    ids, decoder_ids, targets = (torch.randint(0, V, (2, 17)) for _ in range(3))
    for logits in (model(ids, decoder_ids), judge(input_ids=ids, decoder_input_ids=decoder_ids).logits):
        nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
    said = {key: value.grad for key, value in judge.named_parameters()}
    theirs = translated(said, tied=name == "t5")  # type: ignore[arg-type]
    for key, value in model.named_parameters():
        torch.testing.assert_close(value.grad, theirs[key], atol=2e-5, rtol=1e-4, msg=key)


@pytest.mark.parametrize("name", VERSIONS)
def test_cached_decoding_gives_the_tokens_that_t5_generates(name: str, tmp_path: Path) -> None:
    model, judge, generated = both(name, tmp_path)
    ids, attended = torch.randint(2, V, (2, 17)), torch.arange(17) < torch.tensor([[17], [9]])
    said = judge.generate(
        ids, attention_mask=attended.long(), max_new_tokens=12, min_new_tokens=12, do_sample=False,
        decoder_start_token_id=0, eos_token_id=None,
    )  # fmt: skip
    cache = generated.Cache(2, 13, next(model.parameters()))  # type: ignore[attr-defined]
    written = [torch.zeros(2, 1, dtype=torch.long)]
    with torch.no_grad():
        memory = model.encode(ids, attended)
        for _ in range(12):
            written.append(model.decode(written[-1], memory, attended, cache)[:, -1:].argmax(dim=-1))
        full = model(ids, torch.cat(written, dim=1), attended)
    made = torch.cat(written, dim=1)
    assert torch.equal(made, said)
    assert torch.equal(full[:, :-1].argmax(dim=-1), made[:, 1:])


def test_the_first_transformer_equals_that_of_pytorch(tmp_path: Path) -> None:
    """Norms after the sums, ReLU, biases everywhere, sines of positions (Vaswani et al. 2017)."""
    generated = compiling.model(
        tmp_path,
        *SIZES,
        "model.norm_placement=post",
        "model.embedding.multiplier=sqrt_hidden_size",
        "model.attention={kind: mha, num_heads: 4, bias: all}",
        "model.position={kind: sinusoidal}",
        "model.norm={kind: layernorm}",
        "model.ffn={kind: relu, intermediate_size: 96}",
    )
    torch.manual_seed(0)
    judge = nn.Transformer(48, 4, 3, 2, 96, dropout=0.0, batch_first=True).eval()
    judge.encoder.use_nested_tensor = False
    # The paper has no norm after a stack.
    judge.encoder.norm = judge.decoder.norm = None
    model = generated.Model().eval()
    weights = {"embedding.weight": model.embedding.weight.detach()}
    for theirs, own, layers in (("encoder", "encoder.layers", 3), ("decoder", "layers", 2)):
        for i in range(layers):
            layer = getattr(judge, theirs).layers[i]
            weights |= translated_layer(layer, f"{own}.{i}")
    model.load_state_dict(weights, strict=True)
    ids, decoder_ids = torch.randint(0, V, (2, 17)), torch.randint(0, V, (2, 9))
    attended = torch.arange(17) < torch.tensor([[17], [9]])

    def vectors(tokens: Tensor) -> Tensor:
        place = torch.arange(tokens.shape[1])[:, None] / 10_000 ** (torch.arange(0, 48, 2) / 48)
        return model.embedding(tokens) * 48**0.5 + torch.stack((place.sin(), place.cos()), dim=-1).flatten(1)

    with torch.no_grad():
        hidden = judge(
            vectors(ids), vectors(decoder_ids), tgt_mask=judge.generate_square_subsequent_mask(9), tgt_is_causal=True,
            src_key_padding_mask=~attended, memory_key_padding_mask=~attended,
        )  # fmt: skip
        said = hidden @ model.embedding.weight.T
        torch.testing.assert_close(model(ids, decoder_ids, attended), said, atol=1e-4, rtol=1e-5)


def translated_layer(layer: nn.Module, own: str) -> dict[str, Tensor]:
    """Queries, keys and values are one matrix there; norms are numbered."""
    crosses = hasattr(layer, "multihead_attn")
    parts = {"self_attn": "attention", **({"multihead_attn": "cross_attention"} if crosses else {})}
    norms = ("attention_norm", *(("cross_attention_norm",) if crosses else ()), "ffn_norm")
    made: dict[str, Tensor] = {}
    for theirs, part in parts.items():
        attention = getattr(layer, theirs)
        for kind in ("weight", "bias"):
            for letter, value in zip("qkv", getattr(attention, f"in_proj_{kind}").chunk(3), strict=True):
                made[f"{own}.{part}.{letter}_proj.{kind}"] = value.detach()
            made[f"{own}.{part}.o_proj.{kind}"] = getattr(attention.out_proj, kind).detach()
    for kind in ("weight", "bias"):
        for number, name in enumerate(norms, 1):
            made[f"{own}.{name}.{kind}"] = getattr(getattr(layer, f"norm{number}"), kind).detach()
        made[f"{own}.ffn.up_proj.{kind}"] = getattr(layer.linear1, kind).detach()
        made[f"{own}.ffn.down_proj.{kind}"] = getattr(layer.linear2, kind).detach()
    return made


# transformers' T5ForConditionalGeneration of the published configs of google-t5/t5-* and google/t5-v1_1-base.
PUBLISHED = {
    "t5-small": (60_506_624, 512, 6, 8, "{kind: relu, intermediate_size: 2048, bias: false}", "true"),
    "t5-base": (222_903_552, 768, 12, 12, "{kind: relu, intermediate_size: 3072, bias: false}", "true"),
    "t5-large": (737_668_096, 1024, 24, 16, "{kind: relu, intermediate_size: 4096, bias: false}", "true"),
    "t5-v1_1-base": (247_577_856, 768, 12, 12, "{kind: geglu, intermediate_size: 2048}", "false"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name: str) -> None:
    count, width, layers, heads, ffn, tied = PUBLISHED[name]
    plan = compiling.planned(
        "model.kind=encoder_decoder",
        "stages.pretrain.objective={kind: span_corruption}",
        f"model.hidden_size={width}",
        f"model.num_layers={layers}",
        "model.context_length=512",
        "model.vocab_size=32128",
        f"model.attention={{kind: mha, num_heads: {heads}, head_dim: 64, scale: 1.0}}",
        "model.position={kind: relative}",
        f"model.ffn={ffn}",
        f"model.tie_embeddings={tied}",
    )
    assert plan.experiment.model.parameters == count
