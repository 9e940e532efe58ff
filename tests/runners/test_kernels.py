"""Kernels of our own choice give the numbers of PyTorch's, and no larger errors; judged in fp64."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from runners.kernels import activations, attention, products, tables, use_fast_kernels
from tests.compiling import model as generated
from tests.runners.conftest import environment

CPU = torch.device("cpu")
needs_products = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="this PyTorch has no products of oneDNN"
)
Kernel = Callable[..., Tensor]


def with_gradients(kernel: Kernel, inputs: tuple[Tensor, ...], weight: Tensor) -> list[Tensor]:
    """What it gives, and the gradients of a weighted sum of it."""
    leaves = [one.detach().requires_grad_() for one in inputs]
    out = kernel(*leaves)
    return [out.detach(), *torch.autograd.grad((out * weight.to(out.dtype)).sum(), leaves)]


def error(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact).norm() / exact.norm())


@needs_products
@pytest.mark.parametrize("bias", [True, False])
def test_products_are_as_exact_as_those_of_pytorch(bias: bool) -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(3, 40, 96), torch.randn(72, 96), torch.randn(72)][: 3 if bias else 2]
    weight = torch.randn(3, 40, 72)
    exact = with_gradients(F.linear, tuple(one.double() for one in inputs), weight.double())
    for own, usual, true in zip(
        with_gradients(products.linear, tuple(inputs), weight),
        with_gradients(F.linear, tuple(inputs), weight),
        exact,
        strict=True,
    ):
        assert error(own, true) <= 4 * error(usual, true) + 1e-7
        assert error(own, true) <= 1e-6


@needs_products
def test_products_take_inputs_of_any_strides_and_gradients_that_are_expanded() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(24, 50).t().requires_grad_(), torch.randn(8, 24, requires_grad=True)
    own = torch.autograd.grad(products.linear(x, weight).sum(), (x, weight))
    usual = torch.autograd.grad(F.linear(x, weight).sum(), (x, weight))
    for found, expected in zip(own, usual, strict=True):
        torch.testing.assert_close(found, expected)


@needs_products
def test_a_product_is_taken_only_for_what_it_is_faster_for(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[torch.Size] = []
    monkeypatch.setattr(
        products, "_multiplied", lambda x, weight, bias=None: (taken.append(x.shape), x @ weight.t())[1]
    )
    weight = torch.randn(8, 16)
    products.linear(torch.randn(products.FEWEST_ROWS, 16), weight)
    assert taken == [(products.FEWEST_ROWS, 16)]
    products.linear(torch.randn(products.FEWEST_ROWS - 1, 16), weight)
    products.linear(torch.randn(64, 16).double(), weight.double())
    products.linear(torch.randn(64, 16).bfloat16(), weight.bfloat16())
    products.linear(torch.randn(0, 16), weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert products.linear(torch.randn(64, 16), weight).dtype == torch.bfloat16
    assert len(taken) == 1


@needs_products
def test_a_frozen_weight_gets_no_gradient_and_costs_no_product() -> None:
    x, weight = torch.randn(64, 16, requires_grad=True), torch.randn(8, 16)
    products.linear(x, weight).sum().backward()
    assert weight.grad is None
    torch.testing.assert_close(x.grad, weight.sum(0).expand(64, 16))


@needs_products
def test_a_model_keeps_its_names_and_its_logits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "suits_this_machine", lambda: True)
    program = generated(tmp_path, "model.context_length=64")
    torch.manual_seed(0)
    model = program.Model()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.1)
    names, ids = list(model.state_dict()), torch.randint(0, 256, (2, 64))
    expected = model(ids)
    use_fast_kernels(program.Model, model, CPU, compiled=False)
    assert list(model.state_dict()) == names
    assert {type(module) for module in model.modules() if isinstance(module, nn.Linear)} == {products.Linear}
    assert program.F.linear is products.linear
    torch.testing.assert_close(model(ids), expected, atol=1e-5, rtol=1e-5)


def masks(length: int) -> dict[str, Tensor | None]:
    distance = torch.arange(length)[:, None] - torch.arange(length)
    blind = (distance >= 0) & (distance < 40)
    blind[7] = False
    return {
        "causal": None,
        "added": torch.where(distance >= 0, -0.1 * distance, float("-inf"))[None],
        "of heads": torch.randn(1, 4, length, length),
        "seen": distance.abs() < 60,
        "one sees nothing": blind,
    }


@pytest.mark.parametrize("length", [attention.BLOCK + 72, 3 * attention.BLOCK])
@pytest.mark.parametrize("mask", list(masks(8)))
def test_attention_in_blocks_is_as_exact_as_the_kernel_of_pytorch(mask: str, length: int) -> None:
    torch.manual_seed(0)
    given, causal = masks(length)[mask], mask == "causal"
    inputs = tuple(torch.randn(2, 4, length, width).bfloat16() for width in (32, 32, 48))
    weight = torch.randn(2, 4, length, 48)

    def own(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention.attend(q, k, v, given, 32**-0.5, causal=causal)

    def usual(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        added = given.to(q.dtype) if given is not None and given.dtype != torch.bool else given
        return F.scaled_dot_product_attention(q, k, v, added, is_causal=causal)

    def exact(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = q @ k.transpose(-1, -2) * 32**-0.5
        if causal:
            scores = scores.masked_fill(torch.ones(length, length).triu(1) == 1, float("-inf"))
        elif given is not None:
            scores = scores.masked_fill(~given, float("-inf")) if given.dtype == torch.bool else scores + given
        return scores.softmax(-1).nan_to_num() @ v

    true = with_gradients(exact, tuple(one.double() for one in inputs), weight.double())
    pairs = zip(with_gradients(own, inputs, weight), with_gradients(usual, inputs, weight), true, strict=True)
    for found, other, right in pairs:
        assert torch.isfinite(found).all()
        right = right.nan_to_num()
        # One rounding to 16 bits more in the output (of shares, as on a GPU), and two in gradients.
        assert error(found, right) <= 3**0.5 * error(other.nan_to_num(), right)
        assert error(found, right) <= torch.finfo(torch.bfloat16).eps / 2


def test_attention_that_is_not_compiled_or_not_for_it_is_that_of_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Tensor] = []
    monkeypatch.setattr(attention, "attend", lambda q, *_, **__: (taken.append(q), q)[1])
    long = torch.randn(1, 2, attention.LONGEST, 8).bfloat16()
    attention.scaled_dot_product_attention(long, long, long, is_causal=True)
    assert not taken
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    attention.scaled_dot_product_attention(long, long, long, is_causal=True)
    assert len(taken) == 1
    short, wide = long[:, :, : attention.BLOCK], long.float()
    attention.scaled_dot_product_attention(short, short, short, is_causal=True)
    attention.scaled_dot_product_attention(wide, wide, wide, is_causal=True)
    attention.scaled_dot_product_attention(long, long, long, dropout_p=0.1, is_causal=True)
    attention.scaled_dot_product_attention(long[:, :, -1:], long, long)
    bias = torch.zeros(attention.LONGEST, attention.LONGEST, dtype=torch.bfloat16, requires_grad=True)
    attention.scaled_dot_product_attention(long, long, long, bias)
    assert len(taken) == 1


def test_freed_memory_is_not_given_back_to_the_system() -> None:
    """A second tensor of the same size touches no new pages: in a process of its own, as it changes the whole one."""
    program = (
        "import resource, sys, torch\n"
        "from runners.kernels import allocation\n"
        "kept = allocation.keep_freed_memory() if sys.argv[1] == 'kept' else False\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    for _ in range(5): torch.ones(2**24)\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "warm = [faults() for _ in range(4)]\n"
        "print(kept, faults())\n"
    )
    said = {}
    for how in ("kept", "not"):
        command = [sys.executable, "-c", program, how]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
        kept, faults = done.stdout.split()
        said[how] = int(faults)
        if how == "kept" and kept == "False":
            pytest.skip("the C library here is not glibc")
    assert said["kept"] < said["not"] / 20


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what the compiler imports
def test_compiled_kernels_compute_the_same() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, heads, 200, 32).bfloat16() for heads in (4, 2, 2))
    weight, x = torch.randn(2, 4, 200, 32), torch.randn(64, 96)
    scale, approximate = 0.2, "tanh"

    def own(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=True)

    def usual(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=True)

    true = with_gradients(usual, tuple(one.double() for one in (q, k, v)), weight.double())
    for found, right in zip(with_gradients(torch.compile(own), (q, k, v), weight), true, strict=True):
        assert error(found, right) <= 6e-3
    gelu = torch.compile(lambda x: activations.gelu(x, approximate=approximate))
    true = with_gradients(lambda x: F.gelu(x, approximate=approximate), (x.double(),), x.double())
    for found, right in zip(with_gradients(gelu, (x,), x), true, strict=True):
        assert error(found, right) <= 1e-6


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_angles_are_computed_once_whatever_the_number_of_blocks(tmp_path: Path) -> None:
    from torch._inductor.utils import run_and_get_code

    counts = []
    for layers, once in ((1, True), (3, True), (3, False)):
        folder = tmp_path / f"{layers}_{once}"
        folder.mkdir()
        program = generated(folder, "model.context_length=64", f"model.num_layers={layers}")
        if once:
            tables.compute_once(vars(program))
            tables.compute_once(vars(program))
        torch._dynamo.reset()
        model = torch.compile(program.Model())
        _, codes = run_and_get_code(lambda model=model: model(torch.zeros(2, 64, dtype=torch.int64)).sum().backward())
        counts.append(sum(code.count("cos()") + code.count("std::cos(") for code in codes))
    assert 0 < counts[0] == counts[1] < counts[2]
