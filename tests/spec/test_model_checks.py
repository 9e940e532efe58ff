"""Checks of the model: one mistake is one diagnostic, and what help offers is legal."""

from __future__ import annotations

import pytest

from specc import driver
from tests.compiling import TINY

HEADS = "kind: gqa, num_heads: 4, num_kv_heads: 2"
MLA = "kind: mla, num_heads: 4, qk_nope_head_dim: 16, qk_rope_head_dim: 8, v_head_dim: 16"
EXPERTS = "kind: moe, num_experts: 8, intermediate_size: 64"
GPT2 = "tokenizer={kind: pretrained, path: gpt2, vocab_size: 50257, end_of_document: 50256}"

ENCODER = ("model.kind=encoder", "stages.pretrain.objective={kind: masked}")
ENCODER_DECODER = ("model.kind=encoder_decoder", "stages.pretrain.objective={kind: span_corruption}")

# Overrides, the code, the headline, and overrides that follow the help.
MISTAKES: dict[tuple[str, ...], tuple[str, str, tuple[str, ...]]] = {
    (*ENCODER, "model.position={kind: alibi, slope_precision: bf16}"): (
        "SPC140",
        "`bf16` slopes round the position of a key, and an encoder has distances to both sides",
        ("model.position.slope_precision=fp32",),
    ),
    (*ENCODER, "model.position={kind: relative, num_buckets: 3}"): (
        "SPC141",
        "an encoder halves the buckets of distances twice, and there are 3",
        ("model.position.num_buckets=4",),
    ),
    (*ENCODER_DECODER, "model.position={kind: relative, num_buckets: 3}"): (
        "SPC141",
        "an encoder halves the buckets of distances twice, and there are 3",
        ("model.position.num_buckets=4",),
    ),
    (*ENCODER, "model.first_attention_norm=false", "model.residual=parallel"): (
        "SPC142",
        "blocks of `parallel` have no norm before their attention alone that the first could lack",
        ("model.first_attention_norm=true",),
    ),
    (*ENCODER, "model.tie_embeddings=false", "model.head={kind: none}"): (
        "SPC143",
        "a head of kind `none` has no table of tokens that could differ from the embedding's",
        ("model.tie_embeddings=true",),
    ),
    (*ENCODER_DECODER, "model.residual=parallel_two_norms"): (
        "SPC144",
        "a decoder that reads an encoder has three parts in a block, and `parallel_two_norms` is said of two",
        ("model.residual=sequential",),
    ),
    (
        *ENCODER_DECODER,
        "model.num_decoder_layers=3",
        f"model.attention={{{HEADS}, window: 8, pattern: LG}}",
    ): (
        "SPC107",
        "the pattern `LG` does not tile 3 layers",
        ("model.num_decoder_layers=4",),
    ),
    ("model.position={kind: rope, original_context_length: 32, scaling: {kind: linear, factor: 2}}",): (
        "SPC104",
        "context 128 is 4 times the length that rotary was set for (32)",
        ("model.position.scaling.factor=4",),
    ),
    ("model.position={kind: rope, original_context_length: 100}",): (
        "SPC104",
        "context 128 is 1.28 times the length that rotary was set for (100)",
        ("model.position.scaling={kind: yarn, factor: 2}",),
    ),
    ("model.position={kind: learned, num_positions: 127}",): (
        "SPC105",
        "the position table has 127 rows and the context is 128",
        ("model.position.num_positions=128",),
    ),
    (f"model.attention={{{HEADS}, head_dim: 20}}", "model.position={kind: rope, partial_rotary_factor: 0.25}"): (
        "SPC125",
        "rotary positions turn values in pairs, and 0.25 of 20 is 5",
        ("model.position.partial_rotary_factor=0.3",),
    ),
    ("model.position={kind: rope, partial_rotary_factor: 0.01}",): (
        "SPC125",
        "rotary positions turn values in pairs, and 0.01 of 16 is 0",
        ("model.position.partial_rotary_factor=0.125",),
    ),
    (
        "model.position={kind: rope, partial_rotary_factor: 0.125, original_context_length: 64, "
        "scaling: {kind: dynamic, factor: 2}}",
    ): (
        "SPC125",
        "`dynamic` scaling needs at least 4 turned values per head, and there are 2",
        ("model.position.scaling.kind=linear",),
    ),
    (
        "model.position={kind: rope, original_context_length: 64, "
        "scaling: {kind: longrope, short_factor: [1, 1, 1], long_factor: [1, 1, 1, 1, 1, 1, 1, 1]}}",
    ): (
        "SPC126",
        "`short_factor` has 3 factors, and 8 pairs are turned",
        ("model.position.scaling.short_factor=[1, 1, 1, 1, 1, 1, 1, 1]",),
    ),
    ("model.position={kind: rope, local_rope_theta: 100}",): (
        "SPC127",
        "`local_rope_theta` turns layers with a window, and none of 2 layers has one",
        ("model.position.local_rope_theta=null",),
    ),
    ("model.position={kind: rope, local_rope_theta: 100}", f"model.attention={{{HEADS}, window: 8}}"): (
        "SPC127",
        "`rope_theta` turns layers without a window, and all of 2 layers have one",
        ("model.position={kind: rope, rope_theta: 100}",),
    ),
    ("model.position={kind: relative, num_buckets: 64, max_distance: 32}",): (
        "SPC126",
        "the first 32 buckets hold one distance each, and all share the last one from 32 on",
        ("model.position.max_distance=33",),
    ),
    ("model.position={kind: sinusoidal}", f"model.attention={{{HEADS}, head_dim: 16}}", "model.hidden_size=65"): (
        "SPC126",
        "sinusoidal positions are pairs of sine and cosine, and the model width 65 is odd",
        ("model.hidden_size=66",),
    ),
    ("model.position={kind: learned, num_positions: 127, offset: 2}",): (
        "SPC105",
        "the position table has 127 rows and the context is 128",
        ("model.position.num_positions=128",),
    ),
    (f"model.attention={{{HEADS}, window: 128}}",): (
        "SPC106",
        "a window of 128 never binds in a context of 128",
        ("model.attention.window=null",),
    ),
    (f"model.attention={{{HEADS}, window: 1}}",): (
        "SPC135",
        "a query with a window of 1 sees its own token alone, whose share is 1 whatever the score",
        ("model.attention.window=2",),
    ),
    (f"model.ffn={{{EXPERTS}, experts_per_token: 1}}",): (
        "SPC136",
        "the weights of a token's experts are made to sum to 1, and it has 1 expert: its weight is always 1",
        ("model.ffn.normalize_weights=false",),
    ),
    (f"model.attention={{{HEADS}, window: 8, pattern: LLLG}}", "model.num_layers=30"): (
        "SPC107",
        "the pattern `LLLG` does not tile 30 layers",
        ("model.num_layers=28",),
    ),
    (f"model.attention={{{HEADS}, window: 8, pattern: LLLG}}", "model.num_layers=3"): (
        "SPC107",
        "the pattern `LLLG` does not tile 3 layers",
        ("model.num_layers=4",),
    ),
    (f"model.attention={{{HEADS}, window: 8, pattern: G}}",): (
        "SPC115",
        "the pattern `G` has no local layer that a window of 8 could bind",
        ("model.attention.window=null",),
    ),
    ("model.ffn={kind: moe, num_experts: 1, experts_per_token: 2, intermediate_size: 64}",): (
        "SPC108",
        "top-2 routing needs at least 2 experts, and there is 1",
        ("model.ffn.experts_per_token=1",),
    ),
    ("model.ffn={kind: moe, num_experts: 60, experts_per_token: 2, intermediate_size: 64, num_groups: 61}",): (
        "SPC109",
        "60 experts do not divide into 61 groups",
        ("model.ffn.num_groups=60",),
    ),
    (f"model.ffn={{{EXPERTS}, num_groups: 4, groups_per_token: 1, experts_per_token: 3}}",): (
        "SPC108",
        "top-3 routing needs at least 3 experts, and 1 of 4 groups hold 2",
        ("model.ffn.groups_per_token=2",),
    ),
    (f"model.ffn={{{EXPERTS}, experts_per_token: 2, dense: {{layers: [0, 2], intermediate_size: 64}}}}",): (
        "SPC130",
        "layer 2 is to be dense, and the last one is 1",
        ("model.ffn.dense.layers=[0]",),
    ),
    (f"model.ffn={{{EXPERTS}, experts_per_token: 2, dense: {{layers: [1, 0], intermediate_size: 64}}}}",): (
        "SPC131",
        "all 2 layers are dense, and none has experts",
        ("model.ffn.dense.layers=[0]",),
    ),
    (f"model.ffn={{{EXPERTS}, experts_per_token: 2, num_groups: 4, groups_per_token: 5}}",): (
        "SPC132",
        "a token may use 5 groups of experts, and there are 4",
        ("model.ffn.groups_per_token=4",),
    ),
    (f"model.ffn={{{EXPERTS}, experts_per_token: 2, num_groups: 8, groups_per_token: 4, group_score: top2_sum}}",): (
        "SPC133",
        "the score of a group is the sum of its best 2 experts, and a group has 1",
        ("model.ffn.group_score=max",),
    ),
    (f"model.ffn={{{EXPERTS}, experts_per_token: 2, shared_gate: true}}",): (
        "SPC134",
        "`shared_gate` says something of shared experts, and there are 0",
        ("model.ffn.num_shared_experts=1",),
    ),
    (f"model.ffn={{{EXPERTS}, experts_per_token: 2, shared_intermediate_size: 80}}",): (
        "SPC134",
        "`shared_intermediate_size` says something of shared experts, and there are 0",
        ("model.ffn.num_shared_experts=1",),
    ),
    (f"model.attention={{{MLA}, kv_lora_rank: 152}}",): (
        "SPC112",
        "a latent of 160 values caches no less than plain heads (160)",
        ("model.attention.kv_lora_rank=151",),
    ),
    (f"model.attention={{{MLA}, kv_lora_rank: 64, q_lora_rank: 39}}",): (
        "SPC128",
        "queries over a latent of 39 take 6,240 weights, and 6,144 without it",
        ("model.attention.q_lora_rank=38",),
    ),
    (
        f"model.attention={{{MLA}, kv_lora_rank: 64}}",
        "model.position={kind: rope, original_context_length: 32, scaling: {kind: yarn, factor: 4}}",
    ): (
        "SPC129",
        "a growth of 1.139 reaches the 8 turned values of each head, and not the other 16",
        ("model.position.scaling.attention_factor=1.0", "model.attention.scale=0.264642"),
    ),
    ("model.position={kind: rope, scaling: {kind: llama3, factor: 8}}",): (
        "SPC113",
        "`llama3` scaling needs the context that rotary was set for",
        ("model.position.original_context_length=16",),
    ),
    (
        "model.position={kind: rope, original_context_length: 32, "
        "scaling: {kind: llama3, factor: 8, low_freq_factor: 4.0}}",
    ): (
        "SPC116",
        "`low_freq_factor` 4 is not below `high_freq_factor` 4",
        ("model.position.scaling.low_freq_factor=1.0",),
    ),
    (GPT2, "model.vocab_size=50000"): (
        "SPC201",
        "the tokenizer has 50,257 ids and the model has rows for 50,000",
        ("model.vocab_size=50257",),
    ),
    ("model.vocab_size=256",): (
        "SPC201",
        "the tokenizer has 257 ids and the model has rows for 256",
        ("model.vocab_size=257",),
    ),
    (GPT2, "cluster.device=h100_sxm"): (
        "SPC111",
        "the token table has 50,257 rows, which is not a multiple of 128",
        ("model.pad_vocab_size_multiple=128",),
    ),
}
LEGAL = (
    ("model.vocab_size=1000",),
    (GPT2,),
    (f"model.attention={{{HEADS}, window: 127}}",),
    (f"model.attention={{{HEADS}, window: 8, pattern: L}}",),
    ("model.position={kind: rope, original_context_length: 8, scaling: {kind: llama3, factor: 8}}",),
    (f"model.attention={{{HEADS}, window: 8}}", "model.position={kind: alibi}"),
    ("cluster.device=h100_sxm",),
    (f"model.ffn={{{EXPERTS}, experts_per_token: 2, balancing: {{kind: bias}}}}",),
    (f"model.ffn={{{EXPERTS}, experts_per_token: 2, scoring: sigmoid, balancing: {{kind: loss}}}}",),
    (f"model.ffn={{{EXPERTS}, experts_per_token: 2, num_groups: 4, groups_per_token: 4}}",),
    (f"model.ffn={{{EXPERTS}, experts_per_token: 2, dense: {{layers: [0, 0], intermediate_size: 64}}}}",),
)


def findings(sets: tuple[str, ...]) -> list[tuple[str, str]]:
    found = driver.check(TINY, sets).diagnostics
    return [(one.code, one.headline) for one in found if one.severity != "note"]


@pytest.mark.parametrize("sets", MISTAKES, ids=lambda sets: sets[0])
def test_one_mistake_is_one_diagnostic_and_help_mends_it(sets: tuple[str, ...]) -> None:
    code, headline, mended = MISTAKES[sets]
    assert findings(sets) == [(code, headline)]
    assert findings((*sets, *mended)) == []


@pytest.mark.parametrize("sets", LEGAL, ids=lambda sets: sets[0])
def test_what_is_legal_is_not_reported(sets: tuple[str, ...]) -> None:
    assert findings(sets) == []


def test_mla_needs_rotary_positions() -> None:
    assert [
        code for code, _ in findings((f"model.attention={{{MLA}, kv_lora_rank: 64}}", "model.position.kind=alibi"))
    ] == ["SPC114"]
