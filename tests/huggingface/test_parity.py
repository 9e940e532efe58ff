"""An imported model computes what the class of transformers computes: values, gradients, decoding, half precision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from specc import huggingface, source
from specc.huggingface import Move, Reading
from specc.spec.base import values_of
from specc.spec.parse import parse
from tests import compiling
from tests.huggingface.cases import CASES, Case
from tests.huggingface.moving import to_ours, to_theirs
from tests.huggingface.small import built, saved

LENGTHS = (1, 17, 64)
CLOSE = 1e-5


def read(case: Case) -> Reading:
    """The reading of a case without weights."""
    config = CONFIG_MAPPING[case.model_type](**case.keywords).to_dict()
    return huggingface.read(config if case.architecture is None else {**config, "architectures": [case.architecture]})


@dataclass(frozen=True)
class Pair:
    """A model of transformers and ours with the same weights."""

    theirs: nn.Module
    ours: nn.Module
    generated: ModuleType
    reading: Reading


OBJECTIVES = {"decoder": "causal", "encoder": "masked", "encoder_decoder": "span_corruption"}
DECODERS = tuple(case for case in CASES if read(case).model["kind"] == "decoder")


@pytest.fixture(scope="module", params=DECODERS, ids=lambda case: case.name)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    case: Case = request.param
    folder = tmp_path_factory.mktemp("parity")
    config, tensors = saved(case, folder)
    reading = huggingface.read(config)
    generated = compiled(reading.model, folder)
    ours = generated.Model().eval()
    load(ours, to_ours(reading.moves, tensors))
    yield Pair(built(case), ours, generated, reading)


def compiled(model: dict[str, Any], folder: Path) -> ModuleType:
    """The generated model of the smallest spec with this `model:` section."""
    plan = compiling.planned(spec=written(model, folder))
    return compiling.module(compiling.files(plan)["model.py"], folder)


def written(model: dict[str, Any], folder: Path) -> Path:
    """A file with the smallest spec and this `model:` section."""
    spec = yaml.safe_load(compiling.TINY.read_text(encoding="utf-8")) | {"model": model}
    spec["stages"]["pretrain"]["objective"] = {"kind": OBJECTIVES[model["kind"]]}
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    return path


def load(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Every parameter of the model, and a buffer where one is named, by name and shape."""
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    assert set(parameters) <= set(tensors) <= set(parameters) | set(buffers)
    with torch.no_grad():
        for name, tensor in tensors.items():
            target = parameters.get(name, buffers.get(name))
            assert target is not None
            assert target.shape == tensor.shape, name
            target.copy_(tensor)


def drawn(length: int, batch: int = 2) -> Tensor:
    torch.manual_seed(length)
    return torch.randint(0, 257, (batch, length))


@pytest.mark.parametrize("length", LENGTHS)
def test_logits_are_those_of_transformers(pair: Pair, length: int) -> None:
    ids = drawn(length)
    with torch.no_grad():
        torch.testing.assert_close(pair.ours(ids), pair.theirs(ids).logits, atol=CLOSE, rtol=0)


def test_gradients_are_those_of_transformers(pair: Pair) -> None:
    ids, aim = drawn(17), torch.randn(2, 17, pair.reading.model["vocab_size"])
    grads = []
    for model, logits in ((pair.theirs, pair.theirs(ids).logits), (pair.ours, pair.ours(ids))):
        model.zero_grad()
        (logits * aim).mean().backward()
        grads.append({name: value.grad for name, value in model.named_parameters() if value.grad is not None})
        model.zero_grad()
    theirs, ours = grads
    moves = [move for move in pair.reading.moves if held(move, theirs, ours)]
    assert len(moves) > len(theirs) // 2
    for name, grad in to_theirs(moves, ours).items():
        torch.testing.assert_close(grad, theirs[name], atol=CLOSE, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def held(move: Move, theirs: dict[str, Tensor], ours: dict[str, Tensor]) -> bool:
    """Whether both sides have a gradient for it: experts are one tensor in memory there, and many on a disk."""
    return move.theirs in theirs and all(name in ours for name in move.ours)


def test_decoding_token_by_token_is_the_full_pass(pair: Pair) -> None:
    ids = drawn(17)
    with torch.no_grad():
        full = pair.ours(ids)
        cache = pair.generated.Cache(2, 17, next(pair.ours.parameters()))
        steps = [pair.ours(ids[:, t : t + 1], cache) for t in range(17)]
    torch.testing.assert_close(torch.cat(steps, dim=1), full, atol=CLOSE, rtol=0)


def test_half_precision_is_finite_and_near(pair: Pair) -> None:
    ids = drawn(17)
    half = pair.generated.Model().eval()
    half.load_state_dict(pair.ours.state_dict())
    with torch.no_grad():
        logits, exact = half.bfloat16()(ids).float(), pair.ours(ids)
    assert logits.isfinite().all()
    assert (logits - exact).square().mean() < 0.01 * exact.square().mean()


@pytest.mark.parametrize("case", DECODERS, ids=lambda case: case.name)
def test_a_section_with_every_default_written_out_has_the_same_config(case: Case, tmp_path: Path) -> None:
    model = read(case).model
    node = parse(source.read(written(model, tmp_path))).model
    assert huggingface.read(huggingface.write(values_of(node, list), case.model_type)).model == model
