"""muP against table 8 of the paper, and what it is for: steps that do the same at every width."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from tests import compiling

BASE = 32


def wide(folder: Path, width: int, init: str) -> tuple[torch.nn.Module, dict[str, float], dict[str, float]]:
    """A model of so many heads of 16, drawn as its plan says, with the standard deviation and rate of each weight."""
    plan = compiling.planned(
        f"model.hidden_size={width}",
        f"model.attention={{kind: mha, num_heads: {width // 16}}}",
        f"model.ffn.intermediate_size={2 * width}",
        "model.tie_embeddings=false",
        f"model.init={init}",
    )
    model = compiling.module(compiling.files(plan)["model.py"], folder).Model()
    weights = list(plan.experiment.model.weights())
    stds = {weight.name: weight.init.std for weight in weights}
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if stds[name]:
                value.normal_(std=stds[name], generator=generator)
    return model, stds, {weight.name: weight.init.rate for weight in weights}


def test_widths_follow_table_8_of_the_paper(tmp_path: Path) -> None:
    plan = compiling.planned(
        "model.init={kind: mup, base_hidden_size: 16, std: 0.1, depth_scaled: false}", "model.tie_embeddings=false"
    )
    said = {weight.name: weight.init for weight in plan.experiment.model.weights()}
    m = 64 / 16
    hidden = said["layers.0.ffn.up_proj.weight"]
    assert (hidden.std, hidden.rate) == (0.1 / math.sqrt(m), 1 / m)
    for name in ("embedding.weight", "lm_head.weight"):
        assert (said[name].std, said[name].rate) == (0.1, 1.0)
    assert said["norm.weight"].rate == 1.0
    files = compiling.files(plan)
    assert "return 0.25 * self.lm_head(" in files["model.py"]
    assert "scale=0.25" in files["train.py"]
    compiling.module(files["model.py"], tmp_path)


def test_the_base_width_is_the_plain_model() -> None:
    plain, base = (
        compiling.planned(f"model.init={init}")
        for init in ("{kind: depth_scaled, std: 0.02}", "{kind: mup, base_hidden_size: 64}")
    )
    assert list(plain.experiment.model.weights()) == list(base.experiment.model.weights())


@pytest.mark.parametrize(
    ("init", "grows"),
    [(f"{{kind: mup, base_hidden_size: {BASE}, std: 0.1}}", False), ("{kind: normal, std: 0.1}", True)],
)
def test_a_step_changes_features_alike_at_every_width_only_under_mup(init: str, grows: bool, tmp_path: Path) -> None:
    """The coordinate check of the paper (appendix D.1): |change of a block's output| after a few steps, over widths."""
    changes = []
    for width in (BASE, 4 * BASE, 16 * BASE):
        model, _, rates = wide(tmp_path, width, init)
        torch.manual_seed(1)
        ids = torch.randint(0, 257, (4, 33))
        seen: list[torch.Tensor] = []
        model.get_submodule("layers.1").register_forward_hook(lambda *call, seen=seen: seen.append(call[2].detach()))
        groups = [{"params": [value], "lr": 0.003 * rates[name]} for name, value in model.named_parameters()]
        optimizer = torch.optim.Adam(groups)
        for _ in range(4):
            optimizer.zero_grad()
            logits = model(ids[:, :-1])
            torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
            optimizer.step()
        changes.append(float((seen[-1] - seen[0]).abs().mean()))
    growth = changes[-1] / changes[0]
    assert growth > 4 if grows else 0.5 < growth < 2, changes
