"""Forward and backward time of the generated model under each attention kernel, as ratios to `sdpa` in the same run.

python -m benchmarks.attention

On a CPU `flex` runs uncompiled and forward only, and `flash` not at all: figures of theirs are for a GPU.
"""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from specc import driver
from specc.backends import model as backend

ROOT = Path(__file__).resolve().parents[1]
SPEC = ROOT / "specs/presets/tiny.yaml"
HEADS = "kind: gqa, num_heads: 8, num_kv_heads: 2"
# What is asked of the attention: keys of it, and other settings.
ASKED = {
    "causal": ("", ()),
    "window": (", window: 128", ()),
    "alibi": ("", ("model.position={kind: alibi}",)),
    "softcap": (", logit_softcap: 30.0", ()),
    "documents": ("", ("stages.pretrain.packing.cross_document=false",)),
}
KERNELS = ("sdpa", "eager", "flex", "flash")
RUNS = 5
END = 256


def generated(kernel: str, asked: str, context: int, folder: Path) -> nn.Module | None:
    """The model of a small spec with the kernel; None where the kernel cannot do what is asked."""
    more, outside = ASKED[asked]
    sets = (
        "model.hidden_size=512",
        f"model.context_length={context}",
        f"model.attention={{{HEADS}{more}, kernel: {kernel}}}",
        "cluster={device: h100_sxm}",
        "stages.pretrain.precision=bf16",
        *outside,
    )
    plan = driver.check(SPEC, sets).plan
    if plan is None:
        return None
    (artifact,) = backend.emit(plan)
    path = folder / f"{kernel}_{asked}.py"
    path.write_text(artifact.text, encoding="utf-8")
    found = importlib.util.spec_from_file_location(path.stem, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    made: nn.Module = module.Model()
    return made


def seconds(work: Callable[[], object], device: str) -> float:
    """Median wall time; the first runs compile and warm up."""
    times = []
    for _ in range(RUNS + 2):
        started = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return median(times[2:])


def passes(model: nn.Module, ids: Tensor) -> tuple[Callable[[], object], Callable[[], object]]:
    """A forward pass alone, and one with its backward pass."""

    def forward() -> object:
        with torch.no_grad():
            return model(ids)

    def both() -> object:
        model(ids).float().square().mean().backward()
        return model.zero_grad()

    return forward, both


def runs(kernel: str, device: str) -> bool:
    """Whether the kernel is there."""
    return kernel != "flash" or (device == "cuda" and importlib.util.find_spec("flash_attn") is not None)


def measure(asked: str, context: int, device: str, folder: Path) -> None:
    """One line for each kernel."""
    torch.manual_seed(0)
    ids = torch.randint(0, END, (2, context), device=device)
    ids[:, :: context // 4] = END
    floor: tuple[float, float] | None = None
    for kernel in (kernel for kernel in KERNELS if runs(kernel, device)):
        model = generated(kernel, asked, context, folder)
        if model is None:
            print(f"{asked:10} {kernel:6} cannot")
            continue
        model = model.to(device, torch.bfloat16 if device == "cuda" else torch.float32)
        forward, both = passes(model, ids)
        once = seconds(forward, device)
        twice = float("nan") if kernel == "flex" and device == "cpu" else seconds(both, device)
        floor = floor or (once, twice)
        alone, together = once / floor[0], twice / floor[1]
        print(f"{asked:10} {kernel:6} forward {alone:6.2f} x   forward and backward {together:6.2f} x")


def main() -> None:
    """A line for each kernel and question; the first kernel that can is 1."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    context = 4096 if device == "cuda" else 512
    if device == "cpu":
        torch.compiler.set_stance("force_eager")
    print(f"{context} tokens on {device}; ratios to the first kernel of each group")
    with tempfile.TemporaryDirectory() as folder:
        for asked in ASKED:
            measure(asked, context, device, Path(folder))


if __name__ == "__main__":
    main()
