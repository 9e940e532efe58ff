"""Generation by transformers' machinery with the generated module, against a loop over `model.py` without a cache."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import GenerationConfig
from transformers.generation import ContinuousBatchingConfig

from tests.backends.remote import Pair, load, pair

_GROUPED = "kind: gqa, num_heads: 4, num_kv_heads: 2"
MODELS = {
    "alibi": ("model.position={kind: alibi}", f"model.attention={{{_GROUPED}, window: 6}}"),
    "falcon": ("model.position={kind: alibi, slope_precision: bf16, multiplier: 0.25}",),
    "relative": (
        "model.position={kind: relative, num_buckets: 8, max_distance: 16}",
        f"model.attention={{{_GROUPED}, window: 6, pattern: LG}}",
    ),
    "gemma": (
        "model.position={kind: rope, local_rope_theta: 100}",
        f"model.attention={{{_GROUPED}, window: 6, pattern: LG}}",
    ),
    "sinks": ("model.position={kind: rope}", f"model.attention={{{_GROUPED}, window: 6, pattern: LG, sinks: true}}"),
    "bounded": ("model.position={kind: learned, offset: 2}", f"model.attention={{{_GROUPED}, logit_softcap: 3.0}}"),
    "latent": (
        "model.position={kind: rope}",
        "model.attention={kind: mla, num_heads: 4, kv_lora_rank: 24, qk_nope_head_dim: 16, qk_rope_head_dim: 8, "
        "v_head_dim: 12}",
    ),
    "experts": (
        "model.position={kind: sinusoidal}",
        "model.ffn={kind: moe, num_experts: 8, experts_per_token: 2, intermediate_size: 48}",
    ),
}
NEW = 10
# Heads of the paged cache have one size; and its plain attention, the only one left without SDPA, drops bounds.
NOT_PAGED = {"latent": "size|shape", "bounded": "does not compute the bound of the scores"}


@dataclass(frozen=True)
class Case:
    """A model, two prompts of different length, and what follows each."""

    name: str
    pair: Pair
    long: Tensor
    short: Tensor
    after_long: Tensor
    after_short: Tensor

    def generate(self, ids: Tensor, **chosen: Any) -> Tensor:
        found: Tensor = self.pair.theirs.generate(ids, do_sample=False, max_new_tokens=NEW, pad_token_id=0, **chosen)
        return found


QUICK = ("alibi", "relative", "latent")
RINGS = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]


@pytest.fixture(scope="module", params=RINGS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    found = pair(tmp_path_factory.mktemp(request.param), *MODELS[request.param])
    draw = torch.Generator().manual_seed(1)
    long, short = (torch.randint(1, 257, (1, length), generator=draw) for length in (11, 7))
    yield Case(request.param, found, long, short, greedy(found.ours, long), greedy(found.ours, short))


def greedy(model: nn.Module, ids: Tensor) -> Tensor:
    with torch.no_grad():
        for _ in range(NEW):
            ids = torch.cat((ids, model(ids)[:, -1:].argmax(dim=-1)), dim=1)
    return ids


@pytest.mark.parametrize(
    "chosen", [{}, {"use_cache": False}, {"cache_implementation": "static", "disable_compile": True}]
)
def test_greedy_tokens_do_not_depend_on_the_cache(case: Case, chosen: dict[str, Any]) -> None:
    assert torch.equal(case.generate(case.long, **chosen), case.after_long)


def test_sequences_padded_on_the_left_are_what_they_are_alone(case: Case) -> None:
    padding = case.long.shape[1] - case.short.shape[1]
    ids = torch.cat((case.long, nn.functional.pad(case.short, (padding, 0))))
    mask = torch.ones_like(ids)
    mask[1, :padding] = 0
    found = case.generate(ids, attention_mask=mask)
    assert torch.equal(found[:1], case.after_long)
    assert torch.equal(found[1:, padding:], case.after_short)
    with torch.no_grad():
        places = (mask.cumsum(dim=-1) - 1).clamp(min=0)
        logits = case.pair.theirs(ids, attention_mask=mask, position_ids=places).logits[1:, padding:]
        torch.testing.assert_close(logits, case.pair.ours(case.short), atol=1e-5, rtol=0)


def test_documents_packed_into_one_row_do_not_see_each_other(case: Case) -> None:
    places = torch.cat((torch.arange(case.long.shape[1]), torch.arange(case.short.shape[1])))[None]
    with torch.no_grad():
        found = case.pair.theirs(torch.cat((case.long, case.short), dim=1), position_ids=places).logits
        apart = torch.cat((case.pair.ours(case.long), case.pair.ours(case.short)), dim=1)
    torch.testing.assert_close(found, apart, atol=1e-5, rtol=0)


def test_beams_do_not_depend_on_the_cache(case: Case) -> None:
    found = case.generate(case.long, num_beams=4)
    assert torch.equal(found, case.generate(case.long, num_beams=4, use_cache=False))


def test_guessed_tokens_change_nothing(case: Case) -> None:
    draft = load(case.pair.folder)
    nn.init.normal_(draft.model.layers[0].attention.o_proj.weight, std=0.2)  # agrees sometimes
    guesses: tuple[dict[str, Any], ...] = (
        {"prompt_lookup_num_tokens": 3},
        {"assistant_model": draft},
        {"assistant_early_exit": 1},
    )
    for chosen in guesses:
        assert torch.equal(case.generate(case.long, **chosen), case.after_long), chosen


def test_continuous_batches_are_what_each_sequence_is_alone(case: Case) -> None:
    prompts = [case.long[0].tolist(), case.short[0].tolist()]
    found = case.pair.theirs.generate_batch(
        prompts,
        generation_config=GenerationConfig(do_sample=False, max_new_tokens=NEW, eos_token_id=-1, pad_token_id=0),
        # By default the cache takes the memory of the machine.
        continuous_batching_config=ContinuousBatchingConfig(num_blocks=64, max_batch_tokens=64),
    )
    if case.name in NOT_PAGED:
        assert all(re.search(NOT_PAGED[case.name], one.error) for one in found.values())
        return
    tokens = {tuple(one.prompt_ids): list(one.generated_tokens) for one in found.values()}
    wanted = ((case.long, case.after_long), (case.short, case.after_short))
    assert tokens == {tuple(p[0].tolist()): after[0, p.shape[1] :].tolist() for p, after in wanted}
