"""One case in a process of its own; prints tokens/s, MFU and peak memory as JSON.

python -m benchmarks.gpu.worker CASE_AS_JSON [small]
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import torch
from torch import nn

from benchmarks.gpu.cases import Case
from runners import facts
from runners.engines.torch_engine import single
from runners.objective.examples import next_token
from runners.sampling import generate
from specc import driver, ir
from specc.backends import model as backend

ROOT = Path(__file__).resolve().parents[2]
STEPS, WARM = 12, 4
VOCABULARY = 32_000
SIZES = {
    # hidden, layers, heads, key/value heads, inner width, context
    ("training", False): (2048, 24, 16, 4, 5504, 4096),
    ("decoding", False): (4096, 32, 32, 32, 11008, 1024),
    ("training", True): (128, 2, 4, 2, 256, 64),
    ("decoding", True): (128, 2, 4, 4, 256, 64),
}


def main() -> None:
    """Run the case."""
    case, small = Case(**json.loads(sys.argv[1])), "small" in sys.argv[2:]
    place = facts.device()
    if not small and place.type != "cuda":
        raise SystemExit("this needs a GPU; --small runs on anything")
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    run = _training if case.work == "training" else _decoding
    found = run(case, place, small=small)
    memory = torch.cuda.max_memory_allocated() if place.type == "cuda" else facts.resident_memory()
    print(json.dumps({**found, "memory": memory}))


def _training(case: Case, place: torch.device, *, small: bool) -> dict[str, Any]:
    """The loop's own step: gradients in one micro-batch, clipping, AdamW."""
    plan, module = _compiled(case, small=small)
    network: nn.Module = module.Model() if case.system == "specc" else _transformers(case, small=small)
    network.to(place)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, betas=(0.9, 0.95), fused=True)
    loss = _plain_loss if case.system == "transformers" else None
    engine = single(network, optimizer, place, "bf16", case.batch_size, 1.0, **({"loss": loss} if loss else {}))
    if case.compiled:
        object.__setattr__(engine, "wrapped", torch.compile(engine.step))
    length = SIZES[case.work, small][-1]
    examples = next_token(torch.randint(0, VOCABULARY if not small else 256, (case.batch_size, length + 1)))

    def step() -> None:
        engine.gradients(examples)
        engine.update(1e-4)

    tokens = case.batch_size * length
    speed = tokens / _seconds(step)
    stage = plan.stages[0]
    assert stage.flops is not None
    assert stage.tokens is not None
    peak = plan.cluster.device.peak_flops.get("bf16")
    mfu = None if small or peak is None else speed * stage.flops / stage.tokens / peak
    return {"tokens_per_second": speed, "mfu": mfu}


def _decoding(case: Case, place: torch.device, *, small: bool) -> dict[str, Any]:
    """Greedy tokens after a prompt, keys and values cached."""
    written, given = (128, 512) if not small else (8, 16)
    prompt = torch.randint(0, 256, (case.batch_size, given), device=place)
    if case.system == "specc":
        _, module = _compiled(case, small=small)
        with torch.device(place):
            own = module.Model().to(torch.bfloat16).eval()

        def write() -> None:
            generate(own, module.Cache, prompt, written)
    else:
        other = _transformers(case, small=small).to(place, torch.bfloat16).eval()

        def write() -> None:
            other.generate(prompt, max_new_tokens=written, min_new_tokens=written, do_sample=False, pad_token_id=0)

    return {"tokens_per_second": case.batch_size * written / _seconds(write, 3, 1), "mfu": None}


def _seconds(work: Callable[[], None], steps: int = STEPS, warm: int = WARM) -> float:
    times = []
    for _ in range(steps + warm):
        began = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return median(times[warm:])


def _compiled(case: Case, *, small: bool) -> tuple[ir.Plan, ModuleType]:
    """The plan of a spec of these sizes, and its generated model."""
    hidden, layers, heads, kv_heads, inner, context = SIZES[case.work, small]
    sets = (
        f"model.hidden_size={hidden}",
        f"model.num_layers={layers}",
        f"model.context_length={context}",
        f"model.pad_vocab_size_multiple={VOCABULARY if not small else 64}",
        f"model.attention={{kind: gqa, num_heads: {heads}, num_kv_heads: {kv_heads}, kernel: {case.kernel}}}",
        f"model.position={{kind: {case.position}}}",
        "model.norm={kind: rmsnorm}",
        f"model.ffn={{kind: swiglu, intermediate_size: {inner}}}",
        "model.tie_embeddings=false",
        "cluster={device: h200}",
        "stages.pretrain.precision=bf16",
        f"stages.pretrain.global_batch_size={case.batch_size} sequences",
    )
    outcome = driver.check(ROOT / "specs/presets/tiny.yaml", sets)
    if outcome.plan is None:
        raise SystemExit("; ".join(str(each.headline) for each in outcome.diagnostics))
    (artifact,) = backend.emit(outcome.plan)
    path = Path(tempfile.mkdtemp()) / "model.py"
    path.write_text(artifact.text, encoding="utf-8")
    found = importlib.util.spec_from_file_location("generated_model", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return outcome.plan, module


def _transformers(case: Case, *, small: bool) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    hidden, layers, heads, kv_heads, inner, context = SIZES[case.work, small]
    kernels = {"sdpa": "sdpa", "flash": "flash_attention_2"}
    config = LlamaConfig(
        vocab_size=VOCABULARY if not small else 256, hidden_size=hidden, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, intermediate_size=inner,
        max_position_embeddings=context, tie_word_embeddings=False, use_cache=case.work == "decoding",
        attn_implementation=kernels[case.kernel],
    )  # fmt: skip
    return LlamaForCausalLM(config)


def _plain_loss(model: nn.Module, examples: Any) -> torch.Tensor:
    logits = model(examples.ids, use_cache=False).logits.float()
    return nn.functional.cross_entropy(logits.flatten(0, 1), examples.targets.flatten(), reduction="sum")


if __name__ == "__main__":
    main()
