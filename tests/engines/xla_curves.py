"""Trains a generated model by the `xla` engine, in the environment that has torch-xla, and writes down what it said.

    python tests/engines/xla_curves.py TASK OUT

TASK is a JSON file: `batches`, a file of tensors by the number of the step, `learning_rate`, and `cases`, each with a
`name`, a `plan` and a number of `steps`. The folder OUT gets a JSON file of each case and a file of its weights.
"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import runners.pretrain  # noqa: F401 - first, as a program imports it
from runners import checkpoint, engines
from runners.objective.examples import next_token
from runners.ranks import ALONE
from runners.recipe import Recipe


def main() -> None:
    task, out = (Path(argument) for argument in sys.argv[1:])
    described = json.loads(task.read_text())
    batches = load_file(described["batches"])
    for case in described["cases"]:
        said, weights = trained(recipe(Path(case["plan"])), batches, case["steps"], described["learning_rate"])
        if case["steps"] < len(batches) - 1:
            said["gone back"] = gone_back(out, recipe(Path(case["plan"])), batches, case["steps"])
        (out / f"{case['name']}.json").write_text(json.dumps(said))
        save_file(weights, out / f"{case['name']}.safetensors")


def trained(made: Recipe, batches: dict[str, Tensor], steps: int, rate: float) -> Any:
    """What the training said, and the weights that it began and ended with."""
    engine = engines.build(made, ALONE, engines.device(made.settings), None)
    import torch_xla.debug.metrics as metrics

    first = {f"first/{piece.name}": piece.tensor for piece in engine.pieces()}
    said: dict[str, Any] = {"losses": [], "norms": [], "programs": []}
    for step in range(steps):
        torch.manual_seed(step + 100)
        loss, norm = engine.gradients(next_token(batches[str(step)]))
        if step == steps - 1:
            said["again"], said["another"] = (repeated(engine, batches[str(step)], step + seed) for seed in (100, 101))
        engine.update(rate)
        said["losses"].append(loss)
        said["norms"].append(norm)
        said["programs"].append(metrics.metric_data("CompileTime")[0])
    said["validation"] = engine.validation_loss(next_token(batches["validation"]))
    said["placed"] = placements(engine)
    return said, first | {f"last/{piece.name}": piece.tensor for piece in engine.pieces()}


def gone_back(out: Path, made: Recipe, batches: dict[str, Tensor], steps: int, rate: float = 1e-3) -> float:
    """The loss of the last step of an engine that did it once, and then went back to the checkpoint before it."""
    engine = engines.build(made, ALONE, engines.device(made.settings), None)
    for step in range(steps):
        if step == steps - 1:
            found = checkpoint.save(out, step, 1, 1.0, engine.pieces(), engine.scalars(), checkpoint.Keep(1))
        repeated(engine, batches[str(step)], step + 100)
        engine.update(rate)
    engine.restore(found)
    return repeated(engine, batches[str(steps - 1)], steps + 99)


def repeated(engine: Any, ids: Tensor, seed: int) -> float:
    """The loss of a batch once more, its masks drawn with a seed."""
    torch.manual_seed(seed)
    loss: float = engine.gradients(next_token(ids))[0]
    return loss


def placements(engine: Any) -> dict[str, list[list[tuple[int, int]]]]:
    """Of weights, gradients and states of the optimizer: first and end on each axis of what each device holds."""
    found = {}
    for name, weight in engine.model.named_parameters():
        states = engine.keepers[name].state[weight].items()
        held = {"": weight, "/gradient": weight.grad, **{f"/{word}": state for word, state in states if state.dim()}}
        for word, tensor in held.items():
            found[name + word] = parts(tensor)
    return found


def parts(tensor: Tensor) -> list[list[tuple[int, int]]]:
    import torch_xla.distributed.spmd as spmd

    whole = [(0, size) for size in tensor.shape]
    shards = spmd.XLAShardedTensor(tensor.detach()).local_shards
    by_device = sorted(shards, key=lambda shard: int(shard.shard_device.partition(":")[2]))
    return [whole if shard.indices is ... else [(at.start, at.stop) for at in shard.indices] for shard in by_device]


def recipe(plan: Path) -> Recipe:
    """What the generated program hands to the runners."""
    sys.path.insert(0, str(plan))
    made = runpy.run_path(str(plan / "train.py"), run_name="train")
    sys.path.remove(str(plan))
    del sys.modules["model"]
    functions = (made["INITIALISATION"], made["optimizer"], made["learning_rate"])
    return Recipe(made["Model"], made.get("Cache"), made["PRETRAINING"], *functions)


if __name__ == "__main__":
    main()
