"""Generated encoders against those of transformers: logits, gradients, padding, published sizes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests import compiling

transformers = pytest.importorskip("transformers")
V, D, LAYERS, HEADS, INNER, C = 264, 48, 4, 4, 96, 64
LENGTHS = (1, 17, 64)
SIZES = (
    "model.kind=encoder",
    "stages.pretrain.objective={kind: masked}",
    f"model.hidden_size={D}",
    f"model.num_layers={LAYERS}",
    f"model.context_length={C}",
    f"model.vocab_size={V}",
)
POST = (
    *SIZES,
    "model.norm_placement=post",
    f"model.attention={{kind: mha, num_heads: {HEADS}, bias: all}}",
    "model.norm={kind: layernorm, eps: 1.0e-12}",
    f"model.ffn={{kind: gelu, intermediate_size: {INNER}, approximate: none}}",
)
BERT = (
    *POST,
    "model.embedding={norm: {kind: layernorm, eps: 1.0e-12}, token_types: 2}",
    "model.position={kind: learned}",
)
ROBERTA = (
    *POST,
    "model.embedding={norm: {kind: layernorm, eps: 1.0e-12}, token_types: 1}",
    "model.position={kind: learned, offset: 2}",
)
TRANSFORM = "{activation: gelu, norm: {kind: layernorm, eps: 1.0e-12}}"
MODERNBERT = (
    *SIZES,
    "model.first_attention_norm=false",
    "model.embedding={norm: {kind: layernorm, bias: false}}",
    f"model.attention={{kind: mha, num_heads: {HEADS}, window: 9, pattern: GLLG}}",
    "model.position={kind: rope, rope_theta: 20000.0}",
    "model.norm={kind: layernorm, bias: false}",
    f"model.ffn={{kind: geglu, intermediate_size: {INNER}, approximate: none}}",
)
MODERN_TRANSFORM = "{activation: gelu, bias: false, norm: {kind: layernorm, bias: false}}"
MODERN_RENAMED = {
    "model.embeddings.tok_embeddings": "embedding",
    "model.embeddings.norm": "embedding_norm",
    "model.layers": "layers",
    "model.final_norm": "norm",
    "attn_norm": "attention_norm",
    "mlp_norm": "ffn_norm",
    "attn.Wo": "attention.o_proj",
    "mlp.Wo": "ffn.down_proj",
    "head.dense": "transform",
    "head.norm": "transform_norm",
    "decoder.bias": "lm_head.bias",
}
LAYER = {
    "encoder.layer": "layers",
    "attention.self.query": "attention.q_proj",
    "attention.self.key": "attention.k_proj",
    "attention.self.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "ffn.up_proj",
    "output.dense": "ffn.down_proj",
    "output.LayerNorm": "ffn_norm",
    "embeddings.word_embeddings": "embedding",
    "embeddings.token_type_embeddings": "token_type_embedding",
    "embeddings.position_embeddings": "position_embedding",
    "embeddings.LayerNorm": "embedding_norm",
}
# Without the prefix of the base model.
BERT_HEADS = {
    "cls.predictions.transform.dense": "transform",
    "cls.predictions.transform.LayerNorm": "transform_norm",
    "cls.predictions.bias": "lm_head.bias",
    "pooler.dense": "pooler",
}
ROBERTA_HEADS = {"lm_head.dense": "transform", "lm_head.layer_norm": "transform_norm"}


def bert_config(**more: object) -> object:
    sizes = {"vocab_size": V, "hidden_size": D, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
    return transformers.BertConfig(**sizes, intermediate_size=INNER, max_position_embeddings=C, **more)


def roberta_config(**more: object) -> object:
    sizes = {"vocab_size": V, "hidden_size": D, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
    more = {"pad_token_id": 1, "type_vocab_size": 1, "layer_norm_eps": 1e-12, **more}
    return transformers.RobertaConfig(**sizes, intermediate_size=INNER, max_position_embeddings=C + 2, **more)


def modernbert_config(**more: object) -> object:
    kinds = {"G": "full_attention", "L": "sliding_attention"}
    theta = {"rope_type": "default", "rope_theta": 20000.0}
    return transformers.ModernBertConfig(
        vocab_size=V, hidden_size=D, intermediate_size=INNER, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        max_position_embeddings=C, local_attention=16, layer_types=[kinds[letter] for letter in "GLLG"],
        rope_parameters=dict.fromkeys(kinds.values(), theta), pad_token_id=0, bos_token_id=1, eos_token_id=2,
        cls_token_id=1, sep_token_id=2, **more,
    )  # fmt: skip


def started(judge: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    judge = judge.eval()
    with torch.no_grad():
        for value in judge.parameters():
            nn.init.normal_(value, std=0.2)
    return judge


def renamed(theirs: Mapping[str, Tensor], words: Mapping[str, str], prefix: str = "") -> dict[str, Tensor]:
    """Without `prefix`, every word by its own name, longer words first."""
    ours = {}
    for name, value in theirs.items():
        name = name.removeprefix(prefix)
        for word in sorted(words, key=len, reverse=True):
            name = name.replace(word, words[word])
        ours[name] = value
    return ours


def modernbert_weights(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """ModernBERT stores queries, keys and values as one matrix, and the two inputs of its feed-forward."""
    ours = {}
    for name, value in renamed(theirs, MODERN_RENAMED).items():
        if name.endswith("attn.Wqkv.weight"):
            for letter, part in zip("qkv", value.chunk(3), strict=True):
                ours[name.replace("attn.Wqkv", f"attention.{letter}_proj")] = part
        elif name.endswith("mlp.Wi.weight"):
            for side, part in zip(("gate", "up"), value.chunk(2), strict=True):
                ours[name.replace("mlp.Wi", f"ffn.{side}_proj")] = part
        elif name != "decoder.weight":
            ours[name] = value
    return ours


def ours(judge: nn.Module, family: str) -> dict[str, Tensor]:
    theirs = judge.state_dict()
    if family == "modernbert":
        return modernbert_weights(theirs)
    if family == "bert":
        made = renamed(theirs, {**LAYER, **BERT_HEADS}, "bert.")
        return {name: value for name, value in made.items() if not name.startswith("cls.predictions.decoder")}
    made = renamed(
        theirs, {**LAYER, **ROBERTA_HEADS, "classifier.dense": "pooler", "out_proj": "", "..": "."}, "roberta."
    )
    return {name.replace("classifier..", "classifier."): v for name, v in made.items() if "lm_head.decoder" not in name}


JUDGES = {
    "bert masked_lm": (
        "bert", lambda: transformers.BertForMaskedLM(bert_config()),
        (*BERT, f"model.head={{kind: masked_lm, transform: {TRANSFORM}}}"),
    ),
    "bert pooled": (
        "bert", lambda: transformers.BertModel(bert_config()),
        (*BERT, "model.head={kind: pooled, pooler: true}"),
    ),
    "bert classification": (
        "bert", lambda: transformers.BertForSequenceClassification(bert_config(num_labels=3)),
        (*BERT, "model.head={kind: classification, num_labels: 3, pooler: true, dropout: 0.1}"),
    ),
    "bert token_classification": (
        "bert", lambda: transformers.BertForTokenClassification(bert_config(num_labels=5)),
        (*BERT, "model.head={kind: token_classification, num_labels: 5, dropout: 0.1}"),
    ),
    "roberta masked_lm": (
        "roberta", lambda: transformers.RobertaForMaskedLM(roberta_config()),
        (*ROBERTA, f"model.head={{kind: masked_lm, transform: {TRANSFORM}}}"),
    ),
    "roberta classification": (
        "roberta", lambda: transformers.RobertaForSequenceClassification(roberta_config(num_labels=3)),
        (*ROBERTA, "model.head={kind: classification, num_labels: 3, pooler: true, pooler_dropout: 0.1}"),
    ),
    "modernbert masked_lm": (
        "modernbert", lambda: transformers.ModernBertForMaskedLM(modernbert_config()),
        (*MODERNBERT, f"model.head={{kind: masked_lm, transform: {MODERN_TRANSFORM}}}"),
    ),
    "modernbert classification": (
        "modernbert",
        lambda: transformers.ModernBertForSequenceClassification(
            modernbert_config(num_labels=3, classifier_pooling="mean")
        ),
        (
            *MODERNBERT,
            f"model.head={{kind: classification, num_labels: 3, pooling: mean, transform: {MODERN_TRANSFORM}}}",
        ),
    ),
    "modernbert token_classification": (
        "modernbert", lambda: transformers.ModernBertForTokenClassification(modernbert_config(num_labels=3)),
        (*MODERNBERT, f"model.head={{kind: token_classification, num_labels: 3, transform: {MODERN_TRANSFORM}}}"),
    ),
}  # fmt: skip


def scores(judge: nn.Module, ids: Tensor, attended: Tensor | None, types: Tensor | None) -> Tensor:
    """What a judge makes of a batch: its logits, or the pooler's vector."""
    more = {} if types is None else {"token_type_ids": types}
    # RoBERTa counts its own positions from tokens that are not padding; all ids of the test are.
    said = judge(ids, attention_mask=None if attended is None else attended.long(), **more)
    return said.pooler_output if "pooler_output" in said else said.logits


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("name", JUDGES)
def test_outputs_equal_those_of_transformers(name: str, kernel: str, tmp_path: Path) -> None:
    family, make, sets = JUDGES[name]
    judge = started(make())
    model = compiling.model(tmp_path, *sets, f"model.attention.kernel={kernel}").Model().eval()
    model.load_state_dict(ours(judge, family), strict=True)
    for length in LENGTHS:
        ids = torch.randint(3, V, (3, length))
        types = torch.randint(0, 2, (3, length)) if family == "bert" else None
        inputs = {} if types is None else {"types_BT": types}
        with torch.no_grad():
            torch.testing.assert_close(model(ids, **inputs), scores(judge, ids, None, types), atol=1e-5, rtol=1e-5)
        attended = torch.arange(length) < torch.tensor([[length], [max(1, length - 9)], [max(1, length // 2)]])
        ids = ids.masked_fill(~attended, 1 if family == "roberta" else 0)
        with torch.no_grad():
            made, said = model(ids, attended, **inputs), scores(judge, ids, attended, types)
        wanted = attended if made.dim() == 3 else slice(None)
        torch.testing.assert_close(made[wanted], said[wanted], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in JUDGES if "masked" in name])
def test_gradients_equal_those_of_transformers(name: str, tmp_path: Path) -> None:
    family, make, sets = JUDGES[name]
    judge = started(make())
    model = compiling.model(tmp_path, *sets).Model().eval()
    model.load_state_dict(ours(judge, family), strict=True)
    ids, targets = torch.randint(3, V, (2, 17)), torch.randint(0, V, (2, 17))
    attended = torch.arange(17) < torch.tensor([[17], [11]])
    for logits in (model(ids, attended), judge(ids, attention_mask=attended.long()).logits):
        nn.functional.cross_entropy(logits[attended], targets[attended]).backward()
    theirs = ours_of_gradients(judge, family)
    for key, value in model.named_parameters():
        torch.testing.assert_close(value.grad, theirs[key], atol=2e-5, rtol=1e-4, msg=key)


def ours_of_gradients(judge: nn.Module, family: str) -> dict[str, Tensor]:
    """Gradients under our names."""
    zero = {
        name: value.grad if value.grad is not None else torch.zeros_like(value)
        for name, value in judge.named_parameters()
    }

    class Gradients:
        @staticmethod
        def state_dict() -> dict[str, Tensor]:
            return zero

    return ours(Gradients, family)  # type: ignore[arg-type]


def test_bert_base_has_the_parameters_of_transformers() -> None:
    """109,482,240 with the pooler: transformers' BertModel(BertConfig()), and 110M in Devlin et al. 2019, section 3."""
    sets = (
        "model.kind=encoder",
        "stages.pretrain.objective={kind: masked}",
        "model.hidden_size=768",
        "model.num_layers=12",
        "model.context_length=512",
        "model.vocab_size=30522",
        "model.norm_placement=post",
        "model.embedding={norm: {kind: layernorm}, token_types: 2}",
        "model.attention={kind: mha, num_heads: 12, bias: all}",
        "model.position={kind: learned}",
        "model.norm={kind: layernorm}",
        "model.ffn={kind: gelu, intermediate_size: 3072, approximate: none}",
        "model.head={kind: pooled, pooler: true}",
    )
    assert compiling.planned(*sets).experiment.model.parameters == 109_482_240
