from __future__ import annotations

import dataclasses
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from submitit.helpers import DelayedSubmission

from runners import local
from runners.data import prepare
from runners.errors import RunError
from runners.events import open_events
from runners.submit import MAX_TIME_LIMITS, Execute, Job, submit

if TYPE_CHECKING:
    from tests.runners.conftest import Experiment

PRETRAIN = Job(
    "pretrain", "train.py", gpus_per_node=8, nodes=2, mem=512.0, time_limit=120, partition="gpu", account="lm"
)
EVALUATE = Job("evaluate", "evaluate.py", after=("pretrain",))
SFT = Job("sft", None, after=("pretrain",))
PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from runners.events import open_events
run = Path(sys.argv[sys.argv.index("--run") + 1])
(run.parent / "order").open("a").write(Path(__file__).stem + " " + " ".join(sys.argv[3:]) + "\\n")
if {fails!r}:
    raise SystemExit(3)
with open_events(run) as events:
    events.write("run_finished", state="finished", step=None, error=None, seconds=0.0)
"""


def stand_in(experiment: Experiment, program: str, fails: bool = False) -> None:
    """A program that only says that it ran."""
    root = str(Path(__file__).parents[2])
    (experiment.plan / program).write_text(PROGRAM.format(root=root, fails=fails))


@pytest.fixture
def fake_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`sbatch` that keeps what it is given and counts up; `srun` that exists."""
    home = tmp_path / "bin"
    home.mkdir()
    count = f"n=$(ls {home}/sent.* 2>/dev/null | wc -l)"
    sbatch = f"#!/bin/bash\n{count}\ncp $1 {home}/sent.$n\necho Submitted batch job $((100 + n))\n"
    for name, text in {"sbatch": sbatch, "srun": "#!/bin/bash\n", "sacct": "#!/bin/bash\n"}.items():
        (home / name).write_text(text)
        (home / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(home), prepend=":")
    return home


def test_a_stage_without_a_program_is_refused_before_anything_is_queued(
    experiment: Experiment, fake_slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    late = dataclasses.replace(EVALUATE, stage="late", after=("sft",))
    stages = experiment.manifest.stages
    experiment.declare(stages={**stages, "late": dataclasses.replace(stages["evaluate"], after=("sft",))})
    with pytest.raises(SystemExit) as end:
        submit((PRETRAIN, EVALUATE, SFT, late), experiment.plan, [])
    assert end.value.code == 1
    errors = capsys.readouterr().err
    assert "generates no program for stage `sft`; send the others with --stages pretrain,evaluate" in errors
    assert not list(fake_slurm.glob("sent.*"))


def test_an_engine_that_no_program_runs_is_refused_before_anything_is_queued(
    experiment: Experiment, fake_slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sharded = dataclasses.replace(PRETRAIN, engine="other", nodes=64)
    with pytest.raises(SystemExit):
        submit((sharded, EVALUATE), experiment.plan, ["--stages", "pretrain"])
    assert "and stage `pretrain` needs `other`" in capsys.readouterr().err
    assert not list(fake_slurm.glob("sent.*"))


def test_a_stage_that_reads_an_incomplete_one_is_refused(
    experiment: Experiment, fake_slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for stages, message in {"evaluate": "which is not complete; ask for `pretrain` too", "x": "no stage `x`"}.items():
        with pytest.raises(SystemExit):
            submit((PRETRAIN, EVALUATE), experiment.plan, ["--stages", stages])
        assert message in capsys.readouterr().err
    assert not list(fake_slurm.glob("sent.*"))


def test_a_dry_run_prints_what_would_be_sent_and_leaves_nothing(
    experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(experiment.folder.rglob("*"))
    submit((EVALUATE, PRETRAIN, SFT), experiment.plan, ["--dry-run", "--stages", "evaluate,pretrain"])
    text = capsys.readouterr().out
    first, second = text.split("# evaluate")
    for line in ("--nodes=2", "--gpus-per-node=8", "--mem=512GB", "--time=120", "--partition=gpu", "--account=lm"):
        assert f"#SBATCH {line}" in first
    assert "#SBATCH --dependency='afterok:<job of pretrain>'" in second.replace('"', "'")
    assert "#SBATCH --kill-on-invalid-dep=yes" in second
    assert "train.py --run" in first
    assert f"--from pretrain={experiment.folder / 'pretrain-aaaaaaaaaaaa'}" in second
    assert sorted(experiment.folder.rglob("*")) == before


def test_a_dry_run_shows_the_jobs_that_can_be_sent_and_then_refuses(
    experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    job = dataclasses.replace(PRETRAIN, reservation="night", exclude=("n1", "n2"))
    with pytest.raises(SystemExit):
        submit((job, SFT), experiment.plan, ["--dry-run"])
    said = capsys.readouterr()
    assert "#SBATCH --reservation=night" in said.out
    assert "#SBATCH --exclude=n1,n2" in said.out
    assert "no program for stage `sft`" in said.err


def test_jobs_are_sent_to_slurm_with_their_dependencies(experiment: Experiment, fake_slurm: Path) -> None:
    submit((EVALUATE, PRETRAIN), experiment.plan, [])
    first, second = ((fake_slurm / f"sent.{n}").read_text() for n in range(2))
    assert "#SBATCH --job-name=pretrain" in first
    assert "dependency" not in first
    assert "#SBATCH --dependency=afterok:100" in second
    assert "#SBATCH --kill-on-invalid-dep=yes" in second
    assert "#SBATCH --gpus-per-node=8" in first


@pytest.mark.parametrize("requeue", [True, False])
def test_a_job_says_whether_it_is_queued_again_and_how_long_before_its_end_it_is_warned(
    experiment: Experiment, fake_slurm: Path, requeue: bool
) -> None:
    submit((dataclasses.replace(PRETRAIN, requeue=requeue, signal_delay=300),), experiment.plan, [])
    sent = (fake_slurm / "sent.0").read_text()
    assert f"#SBATCH --{'requeue' if requeue else 'no-requeue'}\n" in sent
    assert "#SBATCH --signal=USR2@300\n" in sent
    (pickled,) = (experiment.folder / "pretrain-aaaaaaaaaaaa" / "jobs").glob("*.pkl")
    delayed = DelayedSubmission.load(pickled)
    assert delayed._timeout_countdown == (MAX_TIME_LIMITS if requeue else 0)
    assert isinstance(delayed.function, Execute)
    again = delayed.function.checkpoint()
    assert (again is not None) == requeue


def test_jobs_run_in_order_on_this_machine(experiment: Experiment) -> None:
    for program in ("train.py", "evaluate.py"):
        stand_in(experiment, program)
    jobs = (EVALUATE, Job("pretrain", "train.py"))
    submit(jobs, experiment.plan, ["--cluster", "local"])
    lines = (experiment.folder / "order").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["train", "evaluate"]
    assert lines[1].endswith(f"--from pretrain={experiment.folder / 'pretrain-aaaaaaaaaaaa'}")
    submit(jobs, experiment.plan, ["--cluster", "local"])
    assert len((experiment.folder / "order").read_text().splitlines()) == 2


def test_what_waits_for_a_failed_stage_is_not_started(
    experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(experiment, "train.py", fails=True)
    stand_in(experiment, "evaluate.py")
    with pytest.raises(SystemExit):
        submit((Job("pretrain", "train.py"), EVALUATE), experiment.plan, ["--cluster", "local"])
    assert "stage `pretrain` failed" in capsys.readouterr().err
    assert (experiment.folder / "order").read_text().splitlines()[-1].startswith("train")


def test_a_complete_stage_is_not_sent_again(experiment: Experiment, fake_slurm: Path) -> None:
    with open_events(experiment.folder / "pretrain-aaaaaaaaaaaa") as events:
        events.write("run_finished", state="finished", step=1, error=None, seconds=0.0)
    submit((PRETRAIN, EVALUATE), experiment.plan, [])
    (sent,) = fake_slurm.glob("sent.*")
    assert "dependency" not in sent.read_text()


def test_a_complete_stage_is_no_such_thing_when_its_texts_changed(
    experiment: Experiment, corpus: Path, fake_slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read = prepare(experiment.folder, experiment.manifest, "corpus").folder.name
    with open_events(experiment.folder / "pretrain-aaaaaaaaaaaa") as events:
        events.write("data", name="corpus", address=read, documents=1, tokens=1)
        events.write("run_finished", state="finished", step=1, error=None, seconds=0.0)
    (corpus / "part0" / "file0.py").write_text("other text")
    with pytest.raises(SystemExit):
        submit((PRETRAIN, EVALUATE), experiment.plan, [])
    assert f"pretrain-aaaaaaaaaaaa read {read}, and the files of `corpus` now make" in capsys.readouterr().err
    assert not list(fake_slurm.glob("sent.*"))
    with pytest.raises(RunError, match="now make"):
        local._run(experiment.plan, ["pretrain"], fresh=False)


def test_a_complete_stage_says_under_which_numerics_it_ran(
    experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    run = experiment.folder / "pretrain-aaaaaaaaaaaa"
    experiment.began_and_now(run, {"precision": "fp32"}, {"precision": "bf16"}, state="finished")
    said = "complete already, with stages.pretrain.precision fp32 and not bf16; "
    assert local._run(experiment.plan, ["pretrain"], fresh=False) == 0
    assert f"{said}--fresh runs it again" in capsys.readouterr().out
    submit((PRETRAIN,), experiment.plan, ["--dry-run"])
    assert f"pretrain: {said}specc run --fresh runs it again" in capsys.readouterr().out


@pytest.mark.parametrize("field", ["partition", "account", "qos", "constraint", "reservation", "exclude"])
@pytest.mark.parametrize("character", ["\n", "\t", "\0", "\x7f", "\x85"])
def test_a_control_character_is_refused_before_anything_is_queued_or_printed(
    experiment: Experiment, fake_slurm: Path, capsys: pytest.CaptureFixture[str], field: str, character: str
) -> None:
    text = f"x{character}#SBATCH --uid=0"
    late = dataclasses.replace(EVALUATE, **{field: ("n1", text) if field == "exclude" else text})
    for arguments in ([], ["--dry-run"]):
        with pytest.raises(SystemExit):
            submit((PRETRAIN, late), experiment.plan, arguments)
        said = capsys.readouterr()
        assert said.out == ""
        assert f"`{field}` of stage 'evaluate' holds a control character" in said.err
        assert len(said.err.splitlines()) == 1
    assert not list(fake_slurm.glob("sent.*"))


def test_a_stage_or_a_folder_with_a_newline_is_refused(
    experiment: Experiment, fake_slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = experiment.manifest.stages
    experiment.declare(stages={**stages, "pre\ntrain": stages["pretrain"]})
    with pytest.raises(SystemExit):
        submit((dataclasses.replace(PRETRAIN, stage="pre\ntrain"),), experiment.plan, [])
    assert "`stage` of stage 'pre\\ntrain' holds a control character" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        submit((PRETRAIN,), experiment.plan, ["--experiment", str(experiment.folder / "a\nb")])
    assert "the command of stage 'pretrain' holds a control character" in capsys.readouterr().err
    assert not list(fake_slurm.glob("sent.*"))
