"""What a process reads of a step, where batches grow and some were left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from runners.objective import Causal, training_examples
from runners.pretrain import Pretraining
from runners.ranks import ALONE
from runners.reading import ordered, upcoming
from runners.tokenizer import ByteTokenizer
from tests.runners.test_curriculum import data_of


def test_a_step_keeps_its_size_when_it_takes_a_later_batch(tmp_path: Path) -> None:
    settings = Pretraining(
        stage="pretrain", engine="torch", engine_config=None, seed=7, data="set", context_length=16, steps=9,
        global_batch_size=4, micro_batch_size=1, gradient_accumulation_steps=4, activation_checkpointing="none",
        precision="fp32", max_grad_norm=None, log_every=1, validate_every=1, validation_batches=1, checkpoint_every=1,
        keep_checkpoints=1, sample_prompt=None, sample_tokens=1, batch_sizes=((3, 2),),
    )  # fmt: skip
    batches = ordered(settings, data_of(np.arange(1000), tmp_path), ByteTokenizer(256), ALONE)
    with upcoming(settings, batches, ALONE, torch.device("cpu")) as reads:
        assert [len(reads.take(step, 0).ids) for step in range(5)] == [2, 2, 2, 4, 4]
        found = reads.take(2, 1)
    # Three steps of two sequences come before the batch that is taken in the place of the third.
    expected = training_examples(Causal(), batches.batch(3)[:2], 7, 6)
    assert torch.equal(found.ids, expected.ids)
    assert found.count == 2 * 16
