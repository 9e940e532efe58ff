"""Attention in blocks, in compiled programs under autocast: as exact as the kernel of PyTorch; judged in fp64."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn import functional as F

from runners.engines.recompute import PRODUCTS, blocks, recompute_activations
from runners.engines.step import Step
from runners.kernels import attention, use_fast_kernels
from runners.objective.examples import next_token
from tests.compiling import model as generated

BLOCK, LONGEST = attention.BLOCK, attention.LONGEST
Kernel = Callable[..., Tensor]
compiles = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what the compiler imports


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The length of sequences, each time that attention in blocks computes a pass."""
    torch._dynamo.reset()
    lengths: list[int] = []
    parts = attention._parts

    def counted(shape: torch.Size, causal: bool) -> Iterator[Any]:
        lengths.append(shape[2])
        return parts(shape, causal)

    monkeypatch.setattr(attention, "_parts", counted)
    return lengths


def masks(length: int) -> dict[str, Tensor | None]:
    """Of each kind that a generated program has, and one with a query that sees no key."""
    at = torch.arange(length)
    distance = at[:, None] - at
    blind = (distance >= 0).clone()
    blind[7] = False
    return {
        "causal": None,
        "all": None,
        "added": torch.where(distance >= 0, -0.1 * distance, float("-inf"))[None],
        "of heads": torch.randn(1, 4, length, length),
        "seen": distance.abs() < 60,
        "of sequences": torch.stack([distance >= 0, distance.abs() < 9])[:, None],
        "one sees nothing": blind,
    }


def with_gradients(kernel: Kernel, inputs: tuple[Tensor, ...], weight: Tensor, *, bf16: bool = True) -> list[Tensor]:
    """What it gives under autocast, and the gradients of a weighted sum of it."""
    leaves = [one.detach().requires_grad_() for one in inputs]
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        out = kernel(*leaves)
    return [out.detach(), *torch.autograd.grad((out * weight.to(out.dtype)).sum(), leaves)]


def error(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact).norm() / exact.norm())


@compiles
@pytest.mark.slow
@pytest.mark.parametrize("size", [1.0, 4.0])
@pytest.mark.parametrize("length", [BLOCK + 72, 3 * BLOCK])
@pytest.mark.parametrize("mask", list(masks(8)))
def test_it_is_as_exact_as_the_kernel_of_pytorch(mask: str, length: int, size: float, calls: list[int]) -> None:
    """At a size of 4, scores go to about 100: one in bf16 would be wrong by a quarter."""
    torch.manual_seed(0)
    given, causal = masks(length)[mask], mask == "causal"
    q, k = (size * torch.randn(2, 4, length, 32).bfloat16().float() for _ in range(2))
    v, weight = torch.randn(2, 4, length, 48).bfloat16().float(), torch.randn(2, 4, length, 48)

    def usual(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, given, is_causal=causal)

    def own(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention.scaled_dot_product_attention(q, k, v, given, is_causal=causal)

    def exact(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = q @ k.transpose(-1, -2) * 32**-0.5
        if causal:
            scores = scores.masked_fill(torch.ones(length, length).triu(1) == 1, float("-inf"))
        elif given is not None:
            scores = scores.masked_fill(~given, float("-inf")) if given.dtype == torch.bool else scores + given
        return scores.softmax(-1).nan_to_num() @ v

    true = with_gradients(exact, tuple(one.double() for one in (q, k, v)), weight.double(), bf16=False)
    found = with_gradients(torch.compile(own), (q, k, v), weight)
    assert calls == [length] * 2, "both passes"
    assert found[0].dtype == torch.bfloat16
    for one, other, right in zip(found, with_gradients(usual, (q, k, v), weight), true, strict=True):
        assert torch.isfinite(one).all()
        right = right.nan_to_num()
        # One rounding to bf16 more, of shares: as on a GPU (FlashAttention-2).
        assert error(one, right) <= 1.5 * error(other.nan_to_num(), right)
        assert error(one, right) <= torch.finfo(torch.bfloat16).eps / 2


@compiles
@pytest.mark.slow
@pytest.mark.parametrize("heads", [1, 3, 8])
@pytest.mark.parametrize("mask", ["causal", "of heads", "of sequences"])
def test_how_much_is_computed_at_once_changes_nothing(
    heads: int, mask: str, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    inputs, given = tuple(torch.randn(3, 4, 200, 16) for _ in range(3)), masks(200)[mask]
    if mask == "of sequences":
        assert given is not None
        given = torch.cat([given, given[:1]])

    def own(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention.scaled_dot_product_attention(q, k, v, given, is_causal=given is None)

    whole = with_gradients(torch.compile(own), inputs, inputs[0])
    monkeypatch.setattr(attention, "SCORES", heads * BLOCK * 200)
    for one, other in zip(with_gradients(torch.compile(own), inputs, inputs[0]), whole, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)
    assert calls == [200] * 4


@compiles
@pytest.mark.slow
def test_groups_of_queries_share_keys(calls: list[int]) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 4, 256, 32), torch.randn(2, 2, 256, 32), torch.randn(2, 2, 256, 32)

    def by(kernel: Kernel) -> list[Tensor]:
        return with_gradients(lambda *x: kernel(*x, is_causal=True, enable_gqa=True, scale=0.3), (q, k, v), q)

    for own, usual in zip(
        by(torch.compile(attention.scaled_dot_product_attention)), by(F.scaled_dot_product_attention), strict=True
    ):
        torch.testing.assert_close(own, usual, atol=0.03, rtol=0.03)
    assert calls == [256, 256]


@compiles
@pytest.mark.slow
def test_a_large_number_hides_a_key_as_infinity_does(calls: list[int]) -> None:
    """Beside such a number the logarithm of a sum is rounded away."""
    torch.manual_seed(0)
    inputs, seen = tuple(torch.randn(1, 2, 160, 16) for _ in range(3)), torch.ones(160, 160).tril() == 1
    inputs[0][:, :, 5] = 0.0
    seen[5] = False
    hidden = torch.zeros(160, 160).masked_fill(~seen, -1e9)
    seen[5] = True  # a query whose keys are all hidden alike sees all alike
    means = torch.zeros(160, 160).masked_fill(~seen, float("-inf"))

    def by(kernel: Kernel, mask: Tensor, *, bf16: bool, of: tuple[Tensor, ...]) -> list[Tensor]:
        return with_gradients(lambda *x: kernel(*x, mask), of, inputs[2].to(of[0].dtype), bf16=bf16)

    own = by(torch.compile(attention.scaled_dot_product_attention), hidden, bf16=True, of=inputs)
    wide = tuple(x.bfloat16().double() for x in inputs)
    assert calls == [160, 160]
    for one, right in zip(own, by(F.scaled_dot_product_attention, means.double(), bf16=False, of=wide), strict=True):
        assert error(one, right) < 0.02
        assert error(one[:, :, 5], right[:, :, 5]) < 0.05


@compiles
@pytest.mark.slow
def test_a_program_trains_with_it_whatever_it_computes_again(
    calls: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss and gradients of PyTorch's kernel; `selective` keeps what attention gives."""
    monkeypatch.setattr(attention, "suits_this_machine", lambda: True)
    program = generated(tmp_path, "model.context_length=160", "model.position={kind: rope}", "model.num_layers=2")
    monkeypatch.setitem(sys.modules, program.__name__, program)  # where the compiler looks for its names
    ids = torch.randint(0, 200, (2, 161), generator=torch.Generator().manual_seed(0))

    def gradients(how: str) -> list[Tensor]:
        torch._dynamo.reset()
        torch.manual_seed(0)
        model = program.Model()
        for weight in model.parameters():
            nn.init.normal_(weight, std=0.05)
        recompute_activations(blocks(model), how)
        loss, _ = torch.compile(Step(model, "bf16"))(next_token(ids), 1.0)
        loss.backward()
        return [loss.detach(), *(weight.grad for weight in model.parameters() if weight.grad is not None)]

    usual = gradients("none")
    assert not calls
    use_fast_kernels(program.Model, program.Model(), torch.device("cpu"), compiled=True)
    for how, passes in (("none", 2), ("selective", 2), ("full", 3)):
        calls.clear()
        for own, other in zip(gradients(how), usual, strict=True):
            assert error(own, other.double()) < 0.02
        assert calls == [160] * 2 * passes


@compiles
@pytest.mark.slow
def test_one_graph_serves_lengths_that_grow_and_keeps_no_scores(calls: list[int]) -> None:
    counter = CompileCounterWithBackend("inductor")

    def kernel(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention.scaled_dot_product_attention(q, k, v, is_causal=True)

    compiled = torch.compile(kernel, backend=counter)
    for length in (160, 200, 256, 300, 384, 448, 512):
        kept: list[int] = []
        inputs = tuple(torch.randn(1, 2, length, 16).bfloat16().requires_grad_() for _ in range(3))
        with torch.autograd.graph.saved_tensors_hooks(lambda x, kept=kept: (kept.append(x.numel()), x)[1], lambda x: x):
            out = compiled(*inputs)
        out.sum().backward()
        assert max(kept) <= 2 * length * 16
    assert calls == [length for length in (160, 200, 256, 300, 384, 448, 512) for _ in range(2)]
    assert counter.frame_count <= 2


def test_what_is_not_compiled_or_not_for_it_is_that_of_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Tensor] = []
    monkeypatch.setattr(attention, "ATTENTION", lambda q, *_: (taken.append(q), (q, None))[1])
    long = torch.randn(1, 2, LONGEST, 8).bfloat16()
    attention.scaled_dot_product_attention(long, long, long, is_causal=True)
    assert not taken
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    attention.scaled_dot_product_attention(long, long, long, is_causal=True)
    assert len(taken) == 1
    short, wide, half = long[:, :, :BLOCK], long.float(), long.half()
    for other in (short, wide, half):
        attention.scaled_dot_product_attention(other, other, other, is_causal=True)
    attention.scaled_dot_product_attention(long, long, long, dropout_p=0.1, is_causal=True)
    attention.scaled_dot_product_attention(long[:, :, -1:], long, long)
    attention.scaled_dot_product_attention(long[0], long[0], long[0])
    attention.scaled_dot_product_attention(long, long[:, :1], long[:, :1])
    bias = torch.zeros(LONGEST, LONGEST, dtype=torch.bfloat16, requires_grad=True)
    attention.scaled_dot_product_attention(long, long, long, bias)
    attention.scaled_dot_product_attention(long, long, long, bias.detach()[:1])
    assert len(taken) == 1
    attention.scaled_dot_product_attention(long, long[:, :1], long[:, :1], enable_gqa=True)
    assert len(taken) == 2


def test_settings_of_products_are_as_before() -> None:
    before = torch.backends.mkldnn.matmul.fp32_precision
    with attention._by_onednn():
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"
    assert torch.backends.mkldnn.matmul.fp32_precision == before


@pytest.mark.parametrize("suits", [True, False])
def test_a_program_takes_it_where_the_machine_suits(
    suits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "suits_this_machine", lambda: suits)
    program = generated(tmp_path)
    use_fast_kernels(program.Model, program.Model(), torch.device("cpu"), compiled=True)
    assert (program.F.scaled_dot_product_attention is attention.scaled_dot_product_attention) is suits
    assert attention.ATTENTION in PRODUCTS
