"""Documents in one sequence that do not read each other: each gives the logits that it gives alone."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from specc import driver
from specc.backends import model as backend
from tests import compiling
from tests.backends.test_model import copy
from tests.backends.test_scores import LLAMA, renamed, spread
from tests.compiling import TINY

APART = ("stages.pretrain.packing.cross_document=false", "model.context_length=32")
END = 256
HEADS = "kind: gqa, num_heads: 4, num_kv_heads: 2"
LATENT = "kind: mla, num_heads: 4, kv_lora_rank: 24, qk_nope_head_dim: 16, qk_rope_head_dim: 8, v_head_dim: 12"
POSITIONS = (
    "{kind: rope}",
    "{kind: rope, partial_rotary_factor: 0.5, layout: interleaved}",
    "{kind: rope, original_context_length: 8, scaling: {kind: linear, factor: 4}}",
    "{kind: rope, original_context_length: 8, scaling: {kind: yarn, factor: 4, attention_factor: 1.2}}",
    "{kind: rope, original_context_length: 8, scaling: {kind: llama3, factor: 8}}",
    "{kind: alibi}",
    "{kind: alibi, slope_precision: bf16, multiplier: 0.25}",
    "{kind: learned, offset: 2}",
    "{kind: sinusoidal}",
    "{kind: relative, num_buckets: 8, max_distance: 16}",
    "{kind: none}",
)
SCORES = (
    f"{{{HEADS}}}",
    f"{{{HEADS}, kernel: eager}}",
    f"{{{HEADS}, window: 6, pattern: LG}}",
    f"{{{HEADS}, window: 3, logit_softcap: 3.0, sinks: true, pattern: LG}}",
    "{kind: mha, num_heads: 4, qk_norm: {kind: rmsnorm}, qk_norm_over: width}",
)
MODELS = [
    *(
        (f"model.position={position}", f"model.attention={attention}")
        for position in POSITIONS
        for attention in SCORES[:3]
    ),
    *(("model.position={kind: rope}", f"model.attention={attention}") for attention in SCORES[3:]),
    ("model.position={kind: alibi}", f"model.attention={SCORES[3]}"),
    ("model.position={kind: rope, local_rope_theta: 100}", f"model.attention={SCORES[2]}"),
    *(
        ("model.position={kind: rope}", f"model.attention={{{LATENT}{more}}}")
        for more in ("", ", kernel: eager", ", q_lora_rank: 20")
    ),
    *(
        ("model.position={kind: rope}", f"model.norm_placement={placement}")
        for placement in ("post", "sandwich", "output")
    ),
    ("model.position={kind: rope}", "model.residual=parallel", "model.norm={kind: layernorm}"),
]


def made(folder: Path, *sets: str) -> tuple[ModuleType, nn.Module]:
    module = compiling.model(folder, *APART, *sets)
    torch.manual_seed(0)
    model = module.Model().eval()
    for value in model.parameters():
        nn.init.normal_(value, std=0.2)
    return module, model


def documents(*lengths: int) -> list[Tensor]:
    """Documents of so many tokens, each behind the token that stands before it."""
    torch.manual_seed(1)
    return [torch.cat((torch.tensor([END]), torch.randint(0, 256, (length - 1,)))) for length in lengths]


@pytest.mark.parametrize("sets", MODELS, ids=" ".join)
def test_each_document_of_a_sequence_has_the_logits_that_it_has_alone(sets: tuple[str, ...], tmp_path: Path) -> None:
    module, model = made(tmp_path, *sets)
    # A window cut from a stream begins within a document; one document is a single token.
    texts = [documents(5)[0][1:], *documents(9, 1, 10)]
    others = documents(12, 12)
    with torch.no_grad():
        rows = torch.stack((torch.cat(texts), torch.cat(others)))
        packed = model(rows)
        alone = [torch.cat([model(text[None])[0] for text in row]) for row in (texts, others)]
        cache = module.Cache(2, 24, next(model.parameters()))
        steps = [model(rows[:, :8], cache), *(model(rows[:, t : t + 1], cache) for t in range(8, 24))]
    torch.testing.assert_close(packed, torch.stack(alone), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.cat(steps, dim=1), packed, atol=1e-5, rtol=0)


def test_the_model_of_documents_that_read_each_other_gives_other_logits(tmp_path: Path) -> None:
    _, model = made(tmp_path)
    across = compiling.model(tmp_path).Model().eval()
    across.load_state_dict(model.state_dict())
    first, second = documents(9, 10)
    row = torch.cat((first, second))[None]
    with torch.no_grad():
        torch.testing.assert_close(across(row)[:, :9], model(row)[:, :9], atol=1e-5, rtol=0)
        assert not torch.allclose(across(row)[:, 9:], model(row)[:, 9:], atol=1e-2)


def test_packed_logits_equal_those_of_llama_in_transformers(tmp_path: Path) -> None:
    """Positions that begin anew tell transformers where documents begin (find_packed_sequence_indices)."""
    from transformers import LlamaConfig, LlamaForCausalLM

    judge = LlamaForCausalLM(LlamaConfig(**LLAMA)).eval()
    spread(judge)
    sets = ("model.num_layers=4", "model.tie_embeddings=false", "model.position={kind: rope}")
    module = compiling.model(tmp_path, *APART, *sets)
    model = module.Model().eval()
    copy(model, renamed(judge.state_dict()))
    lengths = (9, 1, 14)
    row, places = torch.cat(documents(*lengths))[None], torch.cat([torch.arange(length) for length in lengths])[None]
    with torch.no_grad():
        theirs = judge(row, position_ids=places, use_cache=False).logits
        torch.testing.assert_close(model(row), theirs, atol=1e-5, rtol=1e-5)
        plain = judge(row).logits
    assert not torch.allclose(plain, theirs, atol=1e-2)


def test_a_gradient_does_not_reach_over_the_end_of_a_document(tmp_path: Path) -> None:
    _, model = made(tmp_path, "model.position={kind: rope}", "model.tie_embeddings=false")
    first = torch.tensor([END, 1, 2, 3])
    row = torch.cat((first, torch.tensor([END, 4, 5, 6])))[None]
    model(row)[:, 4:].sum().backward()
    touched = model.get_submodule("embedding").weight.grad.abs().sum(dim=1).nonzero().flatten().tolist()  # type: ignore[union-attr, operator]
    assert touched == [4, 5, 6, END]


def test_where_documents_stay_apart_is_another_experiment_with_the_same_weights() -> None:
    across, apart = compiling.planned(), compiling.planned(APART[0])
    assert across.experiment.identity != apart.experiment.identity
    for stage in across.experiment.stages:
        if stage.kind == "pretrain":
            assert stage.key != apart.experiment.stage(stage.name).key
    assert [*across.experiment.model.weights()] == [*apart.experiment.model.weights()]


def test_the_token_before_each_document_is_that_of_the_tokenizer() -> None:
    tokenizer = "tokenizer={kind: pretrained, path: somewhere, vocab_size: 1000, end_of_document: 17}"
    (artifact,) = backend.emit(compiling.planned(APART[0], tokenizer))
    assert "END = 17  # the token that stands before each document" in artifact.text


def test_nothing_of_documents_is_in_a_model_whose_documents_read_each_other() -> None:
    text = compiling.files(compiling.planned())["model.py"]
    assert not [word for word in ("END", "begins", "document") if word in text]


def test_two_stages_that_do_not_agree_are_named() -> None:
    second = (
        "stages.more={kind: pretrain, data: text, duration: 10 steps, global_batch_size: 2 sequences, precision: fp32,"
        " optimizer: {kind: adamw, learning_rate: 1.0e-4}, schedule: {kind: constant}}"
    )
    found = [each for each in driver.check(TINY, (second, APART[0])).diagnostics if each.severity == "error"]
    assert [each.code for each in found] == ["SPC150"]
    assert found[0].headline == "stage `pretrain` keeps documents apart, and stage `more` does not"
    agreed = driver.check(TINY, (second, APART[0], "stages.more.packing.cross_document=false"))
    assert not [each for each in agreed.diagnostics if each.severity == "error"]


@pytest.mark.parametrize(
    "scaling",
    [
        "{kind: dynamic, factor: 4}",
        "{kind: longrope, short_factor: [1, 1.5, 2, 2.5, 3, 3, 3, 3], long_factor: [2, 4, 6, 8, 8, 8, 8, 8]}",
    ],
)
def test_angles_that_follow_the_length_of_a_sequence_are_refused(scaling: str) -> None:
    position = f"model.position={{kind: rope, original_context_length: 32, scaling: {scaling}}}"
    assert [each.code for each in driver.check(TINY, (position,)).diagnostics if each.severity == "error"] == []
    found = [each.code for each in driver.check(TINY, (position, APART[0])).diagnostics if each.severity == "error"]
    assert found == ["SPC151"]
