"""Spikes, the end of progress, and what a run says of itself, on runs in which they really happen."""

from __future__ import annotations

import math
import signal
from pathlib import Path
from statistics import fmean, pstdev

import pytest
import torch

from runners import checkpoint
from runners.early_stopping import Best, EarlyStopping
from runners.errors import RunError
from runners.events import read_events
from runners.spikes import Ignore, Rollback, Skip, Stop, judge
from runners.watching import Rewind, Watch
from tests.runners.conftest import Experiment
from tests.runners.test_pretrain import wait_for_step

# One batch is poisoned: its loss is what the model gives for it times a number, so that loss and gradients jump.
POISON = """
import runners.objective.causal as causal
from runners.objective.examples import summed_loss

def poisoned(self, model, examples, by):
    bad = int(examples.ids.sum()) in {sums}
    return summed_loss(model, examples) * ({factor} if bad and model.training else 1.0)

causal.Causal.loss = poisoned
"""


def poison(experiment: Experiment, steps: tuple[int, ...], factor: str) -> None:
    """Make the batches of these numbers (from 0) bad ones."""
    from runners.batches import training_batches
    from runners.data import prepare

    data = prepare(experiment.folder, experiment.manifest, "corpus")
    batches = training_batches(data, 7, 32, 4)
    sums = {int(batches.batch(step)[:, :-1].sum()) for step in steps}
    assert len({int(batches.batch(step)[:, :-1].sum()) for step in range(60)} & sums) == len(steps)
    text = POISON.format(sums=sums, factor=factor)
    experiment.change("if __name__", text + "\n\nif __name__")


def rule(experiment: Experiment, text: str) -> None:
    name = text.partition("(")[0]
    experiment.change("from runners.pretrain", f"from runners.spikes import {name}\nfrom runners.pretrain")
    experiment.change('    stage="pretrain",', f'    stage="pretrain",\n    on_spike={text},')


def losses(run: Path) -> dict[int, float]:
    found: dict[int, tuple[int, float]] = {}
    for event in read_events(run):
        if event["type"] == "metric" and event["name"] == "train/loss":
            attempt = found.get(event["step"], (0, 0.0))[0]
            if event["attempt"] >= attempt:
                found[event["step"]] = (event["attempt"], event["value"])
    return {step: value for step, (_, value) in sorted(found.items())}


def weights(run: Path) -> dict[str, torch.Tensor]:
    found, _ = checkpoint.latest(run)
    assert found is not None
    return found.weights()


def test_a_spike_is_told_by_the_mean_and_the_deviation_of_the_losses_before() -> None:
    before = [3.0 + 0.1 * math.sin(step) for step in range(50)]
    stop = Stop(deviations=5.0, window=20)
    limit = fmean(before[-20:]) + 5.0 * pstdev(before[-20:])
    assert judge(stop, before, limit + 1e-9, 1.0) == "high"
    assert judge(stop, before, limit - 1e-9, 1.0) == "fine"
    assert judge(stop, before[:19], 100.0, 1.0) == "fine"
    assert judge(Ignore(), before, 100.0, 1.0) == "fine"
    for rule in (Ignore(), stop):
        assert judge(rule, before, math.nan, 1.0) == "no number"
        assert judge(rule, before, 3.0, math.inf) == "no number"


def test_what_is_left_out_is_counted_in_a_row() -> None:
    watch = Watch(Skip(deviations=5.0, window=2, limit=2))
    for loss in (3.0, 3.1):
        assert watch.updates(1, loss, 1.0, "advice", may_overflow=False)
    for _ in range(2):
        assert not watch.updates(3, 9.0, 1.0, "advice", may_overflow=False)
    with pytest.raises(RunError, match="2 updates in a row were left out already; advice"):
        watch.updates(5, 9.0, 1.0, "advice", may_overflow=False)


def test_the_memory_survives_a_checkpoint() -> None:
    watch = Watch(Rollback(5.0, 3, 2, 4, 1))
    for loss in (3.0, 3.1, 2.9, 0.1 + 0.2):
        watch.updates(1, loss, 1.0, "", may_overflow=False)
    watch.rewound(10, 6, 0)
    watch.best = Best(2.5, 1)
    other = Watch(watch.rule)
    other.restore(watch.scalars())
    assert other == watch
    assert (watch.left_out, watch.losses) == (8, [3.1, 2.9, 0.1 + 0.2])
    with pytest.raises(RunError, match="went back 1 times already"):
        watch.updates(11, 9.0, 1.0, "", may_overflow=False)
    with pytest.raises(Rewind):
        Watch(watch.rule, [3.0, 3.1, 2.9]).updates(11, 9.0, 1.0, "", may_overflow=False)


def test_progress_ends_after_the_patience() -> None:
    best, given = Best(), EarlyStopping(patience=2, min_delta=0.1)
    for loss, waited in ((3.0, 0), (2.95, 1), (2.85, 0), (2.8, 1), (2.76, 2)):
        best = best.after(loss, given)
        assert best.waited == waited, loss
    assert best.is_over(given)


@pytest.mark.parametrize("text", ["Ignore()", "Stop(deviations=5.0, window=8)"])
def test_a_loss_that_is_no_number_ends_the_run_and_says_where(experiment: Experiment, text: str) -> None:
    experiment.change("steps=200", "steps=40")
    poison(experiment, (22,), "float('nan')")
    rule(experiment, text)
    ended = experiment.execute("train.py", "run")
    assert ended.returncode == 1
    assert "the loss is nan and the norm of the gradient nan in step 23" in ended.stderr
    assert "the last checkpoint is step 20" in ended.stderr


def test_a_skipped_update_leaves_the_weights_as_they_are(experiment: Experiment) -> None:
    """The same run without the bad batch's update, done by hand: its loss is multiplied by 0 and nothing decays."""
    experiment.change("steps=200", "steps=24")
    poison(experiment, (22,), "1000.0")
    rule(experiment, "Skip(deviations=100.0, window=8, limit=1)")
    skipped = experiment.execute("train.py", "skipped")
    assert skipped.returncode == 0, skipped.stderr
    told = losses(experiment.folder / "skipped")
    assert told[23] > 100 * told[22]
    assert told[24] < 1.5 * told[22]


def test_a_rollback_goes_around_the_bad_batches_and_resumes_to_the_same_bits(experiment: Experiment) -> None:
    experiment.change("steps=200", "steps=45")
    experiment.change("keep_checkpoints=2", "keep_checkpoints=4")
    poison(experiment, (27,), "1000.0")
    rule(experiment, "Rollback(deviations=100.0, window=8, rewind=5, skip=3, limit=2)")
    whole = experiment.execute("train.py", "whole")
    assert whole.returncode == 0, whole.stderr
    assert "in step 28, more than 100 deviations above the 8 losses before: back to step 20" in whole.stdout
    assert "on without 11 batches" in whole.stdout  # 8 from the checkpoint to the spike, and 3 after it
    run = experiment.folder / "whole"
    incidents = [event for event in read_events(run) if event["type"] == "incident"]
    assert [(event["step"], event["name"]) for event in incidents] == [(28, "spike")]
    attempts = [event["resumed_from_step"] for event in read_events(run) if event["type"] == "run_started"]
    assert attempts == [None, 20]
    assert max(losses(run).values()) < 10
    process = experiment.start("train.py", "killed")
    wait_for_step(experiment.folder / "killed", 33, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    resumed = experiment.execute("train.py", "killed")
    assert resumed.returncode == 0, resumed.stderr
    one, other = weights(run), weights(experiment.folder / "killed")
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert losses(run) == losses(experiment.folder / "killed")


def test_the_batches_around_a_spike_are_really_left_out(experiment: Experiment) -> None:
    """Every batch from the checkpoint to the spike is bad as well: only a run that never sees one again ends."""
    experiment.change("steps=200", "steps=30")
    poison(experiment, (19, 20, 21, 22), "1000.0")
    rule(experiment, "Rollback(deviations=100.0, window=8, rewind=5, skip=3, limit=1)")
    ended = experiment.execute("train.py", "run")
    assert ended.returncode == 0, ended.stderr
    assert "in step 20," in ended.stdout
    assert max(losses(experiment.folder / "run").values()) < 10


def test_a_run_that_has_nothing_to_go_back_to_says_so(experiment: Experiment) -> None:
    experiment.change("steps=200", "steps=30")
    poison(experiment, (12,), "1000.0")
    rule(experiment, "Rollback(deviations=100.0, window=8, rewind=5, skip=3, limit=1)")
    ended = experiment.execute("train.py", "run")
    assert ended.returncode == 1
    assert "there is no checkpoint of step 8 or before to go back to" in ended.stderr


def test_training_ends_early_and_is_complete(experiment: Experiment) -> None:
    experiment.change("validate_every=50", "validate_every=5")
    experiment.change(
        "learning_rate(step: int) -> float:\n    return 1e-2", "learning_rate(step: int) -> float:\n    return 0.0"
    )
    experiment.change(
        "from runners.pretrain", "from runners.early_stopping import EarlyStopping\nfrom runners.pretrain"
    )
    early = "early_stopping=EarlyStopping(patience=3, min_delta=0.0)"
    experiment.change('    stage="pretrain",', f'    stage="pretrain",\n    {early},')
    ended = experiment.execute("train.py", "run")
    assert ended.returncode == 0, ended.stderr
    assert "finished: 20 steps" in ended.stdout
    assert "stopped early: the validation loss fell no more" in ended.stdout
    assert "is already complete" in experiment.execute("train.py", "run").stdout


def test_bits_per_byte_and_perplexity_are_those_of_the_loss(experiment: Experiment) -> None:
    experiment.change("steps=200", "steps=5")
    assert experiment.execute("train.py", "run").returncode == 0
    told = {event["name"]: event["value"] for event in read_events(experiment.folder / "run") if "value" in event}
    from runners.data import prepare

    data = prepare(experiment.folder, experiment.manifest, "corpus")
    documents = data.held_out.read_text(encoding="utf-8").splitlines()
    size = sum(part.bytes for part in data.validation.ranges.values())
    tokens = size + len(documents)  # one a byte, and one before each document
    assert told["validation/bits_per_byte"] == pytest.approx(told["validation/loss"] / math.log(2) * tokens / size)
    assert told["validation/perplexity"] == pytest.approx(math.exp(told["validation/loss"]))
    assert told["train/memory_bytes"] > 0


def test_too_little_memory_is_told_with_what_the_plan_said(experiment: Experiment) -> None:
    experiment.change("micro_batch_size=4", "micro_batch_size=400")
    experiment.change("global_batch_size=4", "global_batch_size=400")
    experiment.change(
        "if __name__", "import resource\nresource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))\n\nif __name__"
    )
    experiment.change("context_length=32", "context_length=1024")
    ended = experiment.execute("train.py", "run")
    assert ended.returncode == 1
    assert "the device is out of memory" in ended.stderr
    assert "has 3.00 GiB; lower `micro_batch_size`" in ended.stderr
