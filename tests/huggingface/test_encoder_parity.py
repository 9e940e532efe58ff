"""Imported encoders and encoder-decoders compute what the classes of transformers compute, with and without padding."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from specc import huggingface
from tests.huggingface.cases import CASES, Case
from tests.huggingface.moving import to_ours, to_theirs
from tests.huggingface.small import built, saved
from tests.huggingface.test_parity import CLOSE, LENGTHS, Pair, compiled, drawn, held, load, read

READERS = tuple(case for case in CASES if read(case).model["kind"] != "decoder")


@pytest.fixture(scope="module", params=READERS, ids=lambda case: case.name)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    case: Case = request.param
    folder = tmp_path_factory.mktemp("parity")
    config, tensors = saved(case, folder)
    reading = huggingface.read(config)
    generated = compiled(reading.model, folder)
    ours = generated.Model().eval()
    load(ours, to_ours(reading.moves, tensors))
    yield Pair(built(case), ours, generated, reading)


def padded(length: int) -> tuple[Tensor, Tensor]:
    """Ids that are no padding of any family, and which of them are tokens."""
    attended = torch.arange(length) < torch.tensor([[length], [max(1, length - 9)]])
    return drawn(length).clamp(min=3), attended


def outputs(pair: Pair, ids: Tensor, attended: Tensor | None) -> tuple[Tensor, Tensor]:
    """Ours and theirs."""
    mask = None if attended is None else attended.long()
    if pair.reading.model["kind"] == "encoder_decoder":
        written = drawn(9)
        said = pair.theirs(ids, attention_mask=mask, decoder_input_ids=written)
        return pair.ours(ids, written, attended), said.logits
    said = pair.theirs(ids, attention_mask=mask)
    for key in ("logits", "pooler_output", "last_hidden_state"):
        if key in said:
            return pair.ours(ids, attended), said[key]
    raise AssertionError(f"no output among {list(said)}")


@pytest.mark.parametrize("length", LENGTHS)
def test_outputs_are_those_of_transformers(pair: Pair, length: int) -> None:
    ids, attended = padded(length)
    with torch.no_grad():
        ours, theirs = outputs(pair, ids, None)
        torch.testing.assert_close(ours, theirs, atol=CLOSE, rtol=1e-5)
        ours, theirs = outputs(pair, ids, attended)
    by_token = ours.dim() == 3 and pair.reading.model["kind"] == "encoder"
    wanted = attended if by_token else torch.ones(ours.shape[:-1], dtype=torch.bool)
    torch.testing.assert_close(ours[wanted], theirs[wanted], atol=CLOSE, rtol=1e-5)


def test_gradients_are_those_of_transformers(pair: Pair) -> None:
    ids, _ = padded(17)
    grads = []
    for side in (1, 0):
        made = outputs(pair, ids, None)[side]
        torch.manual_seed(1)
        (made * torch.randn(made.shape)).mean().backward()
        model = (pair.ours, pair.theirs)[side]
        grads.append({name: value.grad for name, value in model.named_parameters() if value.grad is not None})
    theirs, ours = grads
    moves = [move for move in pair.reading.moves if held(move, theirs, ours)]
    assert len(moves) > len(theirs) // 2
    for name, grad in to_theirs(moves, ours).items():
        torch.testing.assert_close(grad, theirs[name], atol=CLOSE, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
