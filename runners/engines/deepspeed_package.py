"""The one place where DeepSpeed is imported, so that nothing is compiled and nothing is said on the way."""

from __future__ import annotations

import fcntl
import inspect
import json
import logging
import os
import shutil
import warnings
from pathlib import Path
from typing import IO, Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore

from runners.errors import RunError
from runners.recipe import Recipe

# Read when the package is imported; without it, it asks for packages of devices that are not there.
if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
# It calls collectives of PyTorch by their former names, in every step.
warnings.filterwarnings("ignore", "`torch.distributed.*` is deprecated", FutureWarning)
try:
    import deepspeed
    from deepspeed.ops.op_builder import AsyncIOBuilder
    from deepspeed.pipe import LayerSpec, PipelineModule, TiedLayerSpec
    from deepspeed.runtime.bf16_optimizer import BF16_Optimizer
    from deepspeed.runtime.pipe import schedule
    from deepspeed.runtime.utils import combine_grad_norm_groups, get_global_norm_of_tensors
    from deepspeed.runtime.zero.stage3 import DeepSpeedZeroOptimizer_Stage3
    from deepspeed.runtime.zero.stage_1_and_2 import INITIAL_MICRO_STEP_ID
except ImportError as error:
    raise RunError(
        f"the plan runs on DeepSpeed, which cannot be imported ({error}); `pip install specc[deepspeed]`"
    ) from None

__all__ = [
    "INITIAL_MICRO_STEP_ID",
    "BF16_Optimizer",
    "DeepSpeedZeroOptimizer_Stage3",
    "LayerSpec",
    "PipelineModule",
    "TiedLayerSpec",
    "combine_grad_norm_groups",
    "configuration",
    "get_global_norm_of_tensors",
    "in_group",
    "schedule",
]


def in_group() -> Any:
    """The package, in the process group that is there, or in one of its own where there is one process."""
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    # A C++ extension for collectives among CPUs: half a minute of g++ at the first start. gloo does them.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if not dist.is_initialized():
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", store=HashStore(), rank=0, world_size=1
        )
        os.environ.setdefault("LOCAL_RANK", "0")
    deepspeed.init_distributed(dist_backend=dist.get_backend(), auto_mpi_discovery=False, verbose=False)
    return deepspeed


def configuration(recipe: Recipe) -> dict[str, Any]:
    """What the plan says to DeepSpeed; RunError when the file is not there, or is of another batch."""
    settings = recipe.settings
    if settings.engine_config is None:
        raise RunError("the plan runs on DeepSpeed and names no `engine_config`")
    # The program and its configuration lie beside the model, wherever the plan was copied to.
    path = Path(inspect.getfile(recipe.model.__init__)).parent / settings.engine_config
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: {error}") from None
    told = (config["train_micro_batch_size_per_gpu"], config["gradient_accumulation_steps"])
    if told != (settings.micro_batch_size, settings.gradient_accumulation_steps):
        raise RunError(f"{path} has micro-batches of {told[0]} in {told[1]} steps, and the program has others")
    _claim_nvme(config["zero_optimization"])
    return config


def _claim_nvme(zero: dict[str, Any]) -> None:
    """RunError where something goes to NVMe and this machine cannot write it, or another run writes there.

    DeepSpeed's files are named by rank and weight, and not by run: two would read each other's. So each rank locks a
    file of its own there, for as long as its process lives.
    """
    moved = (zero.get(f"offload_{what}") or {} for what in ("optimizer", "param"))
    folders = {Path(one["nvme_path"]) for one in moved if one.get("device") == "nvme"}
    if folders and not (AsyncIOBuilder().is_compatible(verbose=False) and shutil.which(os.environ.get("CXX", "c++"))):
        raise RunError(
            "the plan keeps weights or states on NVMe, and this machine lacks `libaio-dev` or a C++ compiler"
        )
    rank = dist.get_rank() if dist.is_initialized() else 0
    for folder in folders - _claimed.keys():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _claimed[folder] = _locked(folder / f"rank{rank}.lock")
        except BlockingIOError:
            raise RunError(f"another run writes to `nvme_path`, {folder}: each needs a folder of its own") from None
        except OSError as error:
            raise RunError(f"the plan keeps weights or states on NVMe, and not here: {error}") from None


def _locked(path: Path) -> IO[str]:
    lock = path.open("w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # DeepSpeed goes past the cache of the system, which a file system in memory does not know.
        os.close(os.open(path, os.O_WRONLY | os.O_DIRECT))
    except OSError:
        lock.close()
        raise
    return lock


_claimed: dict[Path, IO[str]] = {}
"""Folders on NVMe that this process writes, and their locks."""
