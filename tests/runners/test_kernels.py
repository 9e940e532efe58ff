"""Kernels of our own choice give the numbers of PyTorch's, and no larger errors; judged in fp64."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn import functional as F

from runners.kernels import activations, products, tables, use_fast_kernels
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
    products.linear(torch.randn(64, 16), weight)
    assert taken == [(64, 16)]
    products.linear(torch.randn(64, 16).double(), weight.double())
    products.linear(torch.randn(64, 16).bfloat16(), weight.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert products.linear(torch.randn(64, 16), weight).dtype == torch.bfloat16
    assert len(taken) == 1


@needs_products
def test_an_expert_without_tokens_has_a_gradient_of_zeros() -> None:
    x, weight = torch.randn(0, 16, requires_grad=True), torch.randn(8, 16, requires_grad=True)
    made = products.linear(x, weight)
    assert made.shape == (0, 8)
    made.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == (0, 16)
    assert weight.grad is not None
    assert not weight.grad.any()


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
def test_a_compiled_gelu_computes_the_same() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 96)
    gelu = torch.compile(lambda x: activations.gelu(x, approximate="tanh"))
    true = with_gradients(lambda x: F.gelu(x, approximate="tanh"), (x.double(),), x.double())
    for found, right in zip(with_gradients(gelu, (x,), x), true, strict=True):
        assert error(found, right) <= 1e-6


@needs_products
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_product_of_any_number_of_rows_is_one_graph() -> None:
    """As experts get any number of tokens: each further graph would come nearer to where the compiler gives up."""
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("inductor")
    weight = torch.randn(8, 16, requires_grad=True)
    compiled = torch.compile(lambda x: products.linear(x, weight), backend=counter)
    for rows in (40, 8, 100, 31, 32, 33, 7, 64, 5, 90):
        x = torch.randn(rows, 16)
        torch.testing.assert_close(compiled(x), F.linear(x, weight))
    assert counter.frame_count <= 2


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
