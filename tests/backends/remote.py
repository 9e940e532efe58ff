"""The generated module as users have it: a folder that transformers loads with `trust_remote_code`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModelForCausalLM

from specc import ir
from specc.backends import modeling
from tests import compiling


@dataclass(frozen=True)
class Pair:
    """The same weights in `model.py` and in the generated module."""

    ours: nn.Module
    theirs: Any
    folder: Path


def pair(folder: Path, *sets: str, seed: int = 0, **loading: Any) -> Pair:
    """Compile, draw weights of the size of trained ones, write them under their names, and load them."""
    plan = compiling.planned(*sets)
    files = compiling.files(plan)
    torch.manual_seed(seed)
    ours = compiling.module(files["model.py"], folder).Model().eval()
    for value in ours.parameters():
        nn.init.normal_(value, std=0.2)
    for name, value in ours.named_buffers():
        if name.endswith("correction"):
            nn.init.normal_(value, std=0.2)
    out = exported(plan, files, ours, folder / "exported")
    return Pair(ours, load(out, **loading), out)


def exported(plan: ir.Plan, files: dict[str, str], ours: nn.Module, out: Path) -> Path:
    """A folder with the emitted module and the weights of ours, as `specc export` writes it."""
    out.mkdir()
    for path, text in files.items():
        if path.startswith(f"{modeling.FOLDER}/"):
            (out / Path(path).name).write_text(text, encoding="utf-8")
    state = ours.state_dict()
    tensors = {move["theirs"]: state[move["ours"][0]].clone() for move in modeling.moves(plan.experiment.model)}
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    return out


def load(folder: Path, **loading: Any) -> Any:
    """The language model in a folder, ready to be used."""
    return AutoModelForCausalLM.from_pretrained(str(folder), trust_remote_code=True, **loading).eval()
