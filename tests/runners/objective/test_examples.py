"""What each objective makes of a batch: rates over many rows, what is exact, and what can be read back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from runners.engines.torch_engine import single
from runners.objective import (
    Causal,
    Masked,
    MultiToken,
    Objective,
    Prefix,
    PrefixDenoiser,
    SpanCorruption,
    SpanDenoiser,
    Ul2,
    Ul2Decoder,
    training_examples,
    validation_examples,
)
from runners.objective.examples import IGNORE, Examples, next_token, summed_loss

MASK, END, FIRST = 300, 256, 301
R, S, X = 400, 401, 402
SPANS = SpanCorruption(tokens=568, noise_tokens=85, spans=28, first_sentinel=FIRST, end=END)
DENOISERS = (SpanDenoiser(2.0, R, 60, 9, 3), PrefixDenoiser(1.0, S, 62, 31), SpanDenoiser(1.0, X, 40, 20, 7))
MIXED = Ul2(DENOISERS, input_length=64, target_length=33, first_sentinel=FIRST, end=END)
MIXED_DECODER = Ul2Decoder(DENOISERS, length=80, first_sentinel=FIRST, end=END)
EVERY: tuple[Objective, ...] = (
    Causal(),
    Prefix(0, 64),
    Masked(0.15, 0.8, 0.1, MASK, 256),
    SPANS,
    MIXED,
    MIXED_DECODER,
    MultiToken((1.0, 0.5, 0.25)),
)


def rows(count: int, objective: Objective) -> torch.Tensor:
    return torch.randint(0, 256, (count, objective.window(64) + 1), generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("objective", EVERY, ids=lambda each: type(each).__name__)
def test_a_row_depends_on_seed_and_number_alone(objective: Objective) -> None:
    given = rows(6, objective)
    whole = training_examples(objective, given, 7, 100)
    part = training_examples(objective, given[2:], 7, 102)
    assert torch.equal(whole.ids[2:], part.ids)
    assert torch.equal(whole.targets[2:], part.targets)
    assert all(torch.equal(value[2:], part.more[name]) for name, value in whole.more.items())
    if not isinstance(objective, Causal | MultiToken):
        other = training_examples(objective, given, 8, 100)
        assert not (torch.equal(whole.ids, other.ids) and torch.equal(whole.targets, other.targets))
        fixed = validation_examples(objective, given, 7)
        assert torch.equal(fixed.targets, validation_examples(objective, given, 7).targets)
        assert not (torch.equal(fixed.ids, whole.ids) and torch.equal(fixed.targets, whole.targets))


@pytest.mark.parametrize("objective", EVERY[:-1], ids=lambda each: type(each).__name__)
def test_the_count_is_that_of_the_targets_and_micro_batches_keep_it(objective: Objective) -> None:
    examples = training_examples(objective, rows(6, objective), 7, 0)
    assert examples.count == int((examples.targets != IGNORE).sum())
    parts = list(examples.split(4))
    assert [len(part.ids) for part in parts] == [4, 2]
    assert {part.count for part in parts} == {examples.count}
    assert torch.equal(torch.cat([part.targets for part in parts]), examples.targets)


def test_masking_hides_exactly_its_rate_in_the_shares_of_bert() -> None:
    objective = Masked(0.15, 0.8, 0.1, MASK, 256)
    given = rows(3000, objective)
    given[:, 10] = END
    made = training_examples(objective, given, 7, 0)
    hidden, given = made.targets != IGNORE, given[:, :-1]
    assert set(hidden.sum(dim=1).tolist()) == {round(0.15 * 63)}
    assert not hidden[:, 10].any()
    assert torch.equal(made.targets[hidden], given[hidden])
    assert torch.equal(made.ids[~hidden], given[~hidden])
    shown = made.ids[hidden]
    masked, kept = (shown == MASK).float().mean(), (shown == given[hidden]).float().mean()
    assert masked == pytest.approx(0.8, abs=0.01)
    assert kept == pytest.approx(0.1 + 0.1 / 256, abs=0.01)
    replaced = shown[(shown != MASK) & (shown != given[hidden])]
    assert replaced.min() < 5 and replaced.max() > 250
    assert hidden.float().mean(dim=0)[11:].numpy() == pytest.approx(9 / 63, abs=0.03)


def test_masks_only_at_the_rate_of_modern_bert() -> None:
    made = training_examples(Masked(0.3, 1.0, 0.0, MASK, 256), rows(50, Causal()), 7, 0)
    assert torch.equal(made.ids == MASK, made.targets != IGNORE)
    assert set((made.ids == MASK).sum(dim=1).tolist()) == {round(0.3 * 64)}


def test_a_prefix_is_shown_and_the_rest_is_asked_for() -> None:
    given = rows(4000, Causal())
    made = training_examples(Prefix(8, 64), given, 7, 0)
    prefix = made.more["prefix_B"]
    assert (int(prefix.min()), int(prefix.max())) == (8, 64)
    assert float(prefix.double().mean()) == pytest.approx(36, abs=1)
    for row, length in enumerate(prefix[:50].tolist()):
        assert made.targets[row, : length - 1].eq(IGNORE).all()
        assert torch.equal(made.targets[row, length - 1 :], given[row, length:])
    assert made.count == int((65 - prefix).sum())


def test_span_corruption_fills_both_lengths_of_t5() -> None:
    """512 inputs and 114 targets come of 568 tokens: `compute_input_and_target_lengths` of T5 for 15% and 3."""
    given = rows(5, SPANS)
    made = training_examples(SPANS, given, 7, 0)
    assert made.ids.shape == (5, 512)
    assert made.targets.shape == made.more["decoder_ids_BT"].shape == (5, 114)
    assert made.ids[:, -1].eq(END).all()
    assert made.targets[:, -1].eq(END).all()
    assert made.more["decoder_ids_BT"][:, 0].eq(END).all()
    assert torch.equal(made.more["decoder_ids_BT"][:, 1:], made.targets[:, :-1])
    text = [
        sorted(token for token in (*made.ids[row].tolist(), *made.targets[row].tolist()) if token < 256)
        for row in range(5)
    ]
    assert text == [sorted(given[row, :568].tolist()) for row in range(5)]


def test_ul2_draws_denoisers_by_weight_and_names_them_first() -> None:
    given = rows(3000, MIXED)
    for objective in (MIXED, MIXED_DECODER):
        modes = training_examples(objective, given, 7, 0).ids[:, 0]
        shares = [float((modes == mode).float().mean()) for mode in (R, S, X)]
        assert shares == pytest.approx([0.5, 0.25, 0.25], abs=0.03)


def test_ul2_pads_what_an_encoder_must_not_read_and_ignores_what_nobody_asked_for() -> None:
    given = rows(300, MIXED)
    made = training_examples(MIXED, given, 7, 0)
    attended = made.more["attended_BT"]
    for row, mode in enumerate(made.ids[:, 0].tolist()):
        shown = made.ids[row][attended[row]].tolist()
        asked = made.targets[row][made.targets[row] != IGNORE].tolist()
        assert shown[-1] == asked[-1] == END
        assert END not in shown[:-1] + asked[:-1]
        denoiser = DENOISERS[(R, S, X).index(mode)]
        text = given[row, : denoiser.tokens].tolist()
        assert sorted(token for token in shown[1:-1] + asked[:-1] if token < 256) == sorted(text)
        if isinstance(denoiser, PrefixDenoiser):
            assert shown[1:-1] + asked[:-1] == text
            assert len(asked) - 1 <= denoiser.max_targets


def test_ul2_on_a_decoder_shows_inputs_and_then_asks_for_targets() -> None:
    given = rows(300, MIXED_DECODER)
    made = training_examples(MIXED_DECODER, given, 7, 0)
    for row, mode in enumerate(made.ids[:, 0].tolist()):
        denoiser, shown = DENOISERS[(R, S, X).index(mode)], int(made.more["prefix_B"][row])
        places = torch.nonzero(made.targets[row] != IGNORE).flatten()
        assert places[0] == shown - 1
        assert torch.equal(places, torch.arange(int(places[0]), int(places[-1]) + 1))
        whole = made.ids[row, :shown].tolist() + made.targets[row, places].tolist()
        text = given[row, : denoiser.tokens].tolist()
        assert sorted(token for token in whole[1:] if token < 256) == sorted(text)
        if isinstance(denoiser, PrefixDenoiser):
            assert whole[1:] == text


class Several(nn.Module):
    """Four heads that see one token."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, 16)
        self.heads = nn.ModuleList(nn.Linear(16, 256) for _ in range(3))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.heads[0](self.embedding(ids))

    def predict(self, ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(head(self.embedding(ids)) for head in self.heads)


@torch.no_grad()
def test_several_tokens_are_scored_at_their_distances_and_validated_by_the_next() -> None:
    torch.manual_seed(0)
    model, given, objective = Several(), rows(3, Causal()), MultiToken((1.0, 0.5, 0.25))
    made = training_examples(objective, given, 7, 0)
    expected = 0.0
    for depth, (weight, logits) in enumerate(zip((1.0, 0.5, 0.25), model.predict(given[:, :-1]), strict=True)):
        log_shares = logits.log_softmax(-1)
        for row in range(3):
            for at in range(64 - depth):
                expected -= weight * float(log_shares[row, at, given[row, at + 1 + depth]])
    assert float(objective.loss(model.train(), made)) == pytest.approx(expected, rel=1e-5)
    assert float(objective.loss(model.eval(), made)) == pytest.approx(float(summed_loss(model, next_token(given))))
    assert made.count == 3 * 64


def old_losses(model: nn.Module, given: torch.Tensor, precision: str) -> list[float]:
    """Next-token training as it is without objectives: plain rows, one sum, one division."""
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.1), []
    for _ in range(4):
        optimizer.zero_grad()
        total = torch.zeros(())
        for micro in torch.split(given, 3):
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                logits = model(micro[:, :-1])
            loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), micro[:, 1:].flatten(), reduction="sum")
            loss = loss / given[:, 1:].numel()
            torch.autograd.backward(loss)
            total += loss.detach()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(total.item())
    return losses


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_next_tokens_give_the_same_bits_as_without_objectives(precision: str) -> None:
    given, losses = rows(8, Causal()), []
    for way in ("old", "new"):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(256, 32), nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 256))
        if way == "old":
            losses.append(old_losses(model, given, precision))
            continue
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        engine = single(model, optimizer, torch.device("cpu"), precision, 3, 1.0, loss=Causal().loss)
        examples, found = training_examples(Causal(), given, 7, 0), []
        for _ in range(4):
            found.append(engine.gradients(examples)[0])
            engine.update(0.1)
        losses.append(found)
    assert losses[0] == losses[1]


def test_micro_batches_with_different_numbers_of_targets_give_the_gradient_of_the_whole() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(320, 16), nn.Linear(16, 320))
    made = training_examples(Masked(0.3, 1.0, 0.0, MASK, 256), rows(6, Causal()), 7, 0)
    uneven = Examples(made.ids, made.targets.clone(), 0)
    uneven.targets[:3, :40] = IGNORE
    uneven = Examples(uneven.ids, uneven.targets, int((uneven.targets != IGNORE).sum()))
    found = [
        single(model, torch.optim.SGD(model.parameters()), torch.device("cpu"), "fp32", size, None).gradients(uneven)
        for size in (6, 4, 1)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert found[0] == pytest.approx(found[2], rel=1e-6)
    logits = model(uneven.ids).detach()
    assert found[0][0] == pytest.approx(
        float(nn.functional.cross_entropy(logits.flatten(0, 1), uneven.targets.flatten()))
    )
    assert np.isfinite(found[0][1])
