"""Spec to Experiment: each part lowers itself, and nothing here asks of which kind it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from specc import ir
from specc.diagnostics import Finding
from specc.kinds.stage.context import StageContext
from specc.kinds.stage.mention import MODELS
from specc.spec.averages import check_averages
from specc.spec.consistency import check_suites
from specc.spec.contamination import check_contamination
from specc.spec.curricula import check_curricula
from specc.spec.documents import check_documents, keeps_apart
from specc.spec.emission import check_emission
from specc.spec.families import check_families
from specc.spec.lineage import lineage, upstream
from specc.spec.mixtures import check_mixtures
from specc.spec.objectives import check_objectives, needed_tokens, sees_prefix
from specc.spec.references import check_references
from specc.spec.settings import address, settings
from specc.spec.spec import Spec
from specc.spec.surroundings import check_growth, check_kernel, check_vocabulary
from specc.spec.tasks import check_tasks
from specc.spec.tuning import check_tuning

# Fields whose value is the name of something that is hashed itself.
REFERENCES = frozenset({"from", "data", "models", "suites", "reference"})
# Fields that a training stage resolves to steps and sequences, which are hashed in their place.
_LENGTHS = frozenset({"duration", "global_batch_size", "schedule.warmup", "schedule.decay"})

# Errors that leave sizes, lengths and references alone: nothing else is wrong because of them.
_HARMLESS = frozenset(
    {
        *("SPC110", "SPC145", "SPC150", "SPC151", "SPC201", "SPC202", "SPC204", "SPC205", "SPC206", "SPC208"),
        *(
            "SPC214",
            "SPC215",
            "SPC216",
            "SPC217",
            "SPC220",
            "SPC224",
            "SPC226",
            "SPC228",
            "SPC232",
            "SPC307",
            "SPC314",
            "SPC502",
            "SPC503",
            "SPC504",
        ),
        *("SPC508", "SPC512", "SPC601", "SPC603", "SPC605", "SPC606", "SPC607", "SPC608", "SPC609", "SPC516"),
    }
)
# What was so before it could be written: it is no part of an address, and the runs that exist keep theirs.
_UNSAID: dict[str, object] = {
    "objective.kind": "causal",
    "packing.kind": "concatenate",
    "mask_token": None,
    "sentinel_tokens": None,
    "on_spike.kind": "ignore",
    "early_stopping": None,
    "z_loss": 0.0,
    "label_smoothing": 0.0,
    "weights": "last",
}

Work = ir.Training | ir.Evaluation | ir.Import | ir.Export


def check(spec: Spec) -> Iterator[Finding]:
    """What must hold before the spec can be lowered: sizes that fit, names that exist."""
    yield from spec.tokenizer.check()
    yield from spec.model.check(apart=keeps_apart(spec), sees_prefix=sees_prefix(spec))
    yield from check_objectives(spec)
    yield from check_families(spec)
    yield from check_vocabulary(spec)
    yield from check_kernel(spec)
    yield from check_growth(spec)
    yield from check_documents(spec)
    yield from check_mixtures(spec)
    yield from check_curricula(spec)
    yield from check_suites(spec)
    yield from check_tasks(spec)
    yield from check_averages(spec)
    unknown = list(check_references(spec))
    yield from unknown
    if not unknown:
        yield from check_contamination(spec)
        yield from check_tuning(spec)
    yield from check_emission(spec)
    sizes = {name: None if data.tokens is None else data.tokens.whole for name, data in spec.data.items()}
    for name, stage in spec.stages.items():
        yield from stage.check(name, spec.model.context_length, sizes)


def can_be_lowered(findings: Iterable[Finding]) -> bool:
    """Whether all errors are such that the rest of the experiment keeps its meaning, and can be looked at as well."""
    return all(finding.severity != "error" or finding.code in _HARMLESS for finding in findings)


def lower(spec: Spec, name: str, spec_path: str) -> ir.Experiment:
    """The experiment of a spec without findings. `name` carries the variant, `spec_path` is what the user typed."""
    tokenizer = spec.tokenizer.lower(needed_tokens(spec))
    model = spec.model.lower(tokenizer, apart=keeps_apart(spec), sees_prefix=sees_prefix(spec))
    datasets = {key: data.lower(key) for key, data in spec.data.items()}
    suites = {key: suite.lower(key) for key, suite in spec.suites.items()}
    resolved = tuple(settings(spec))
    context = StageContext(model, datasets, suites, tokenizer, spec.model, _origins(spec))
    works = {key: stage.lower(context) for key, stage in spec.stages.items()}
    keys = _stage_keys(spec, context, works, resolved)
    stages = tuple(
        ir.Stage(
            name=key,
            kind=stage.kind,
            after=upstream(spec, key),
            data=getattr(stage, "data", None),
            work=works[key],
            lowered=stage.lowered and getattr(works[key], "refusal", None) is None,
            key=keys[key],
        )
        for key, stage in spec.stages.items()
    )
    identity = address(sorted(keys.values()))
    return ir.Experiment(
        name, spec_path, spec.seed, tokenizer, model, tuple(datasets.values()), stages, resolved, identity
    )


def _origins(spec: Spec) -> dict[str, str | None]:
    """By stage: what an import says of where the weights came from that the stage goes back to."""
    return {name: getattr(spec.stages[lineage(spec, name)[-1]], "family", None) for name in spec.stages}


def _identities(resolved: tuple[ir.Setting, ...], prefix: str) -> dict[str, object]:
    """Identity-class settings below a prefix, by the rest of their path; what they name is hashed itself."""
    return {
        rest: setting.meaning
        for setting in resolved
        if setting.effect == "identity"
        and setting.path.startswith(prefix)
        and not REFERENCES & set((rest := setting.path.removeprefix(prefix)).split(".")[-2:])
        and _UNSAID.get(rest, setting) != setting.value
    }


def _stage_keys(
    spec: Spec, context: StageContext, works: dict[str, Work], resolved: tuple[ir.Setting, ...]
) -> dict[str, str]:
    """Content addresses. Names are no part of them, what the names stand for is."""
    common = [_identities(resolved, part) for part in ("seed", "tokenizer.", "model.")]
    if keeps_apart(spec):
        # A stage that packs nothing itself reads with the mask of the model all the same.
        common.append({"packing.cross_document": False})
    special = needed_tokens(spec)
    if special.count:
        # They widen the token table of every stage.
        common.append({"mask": special.mask, "sentinels": special.sentinels, "modes": special.modes})
    keys: dict[str, str] = {}

    def key_of(name: str) -> str:
        if name not in keys:
            stage = spec.stages[name]
            own = _identities(resolved, f"stages.{name}.")
            content = {path: value for path, value in own.items() if not _resolved(path)}
            reads = [_identities(resolved, f"data.{data}.") for data in stage.reads(context)]
            suites = [_identities(resolved, f"suites.{suite}.") for suite in getattr(stage, "suites", ())]
            models = [
                (mention.path, model_of(mention.name)) for mention in stage.mentions() if mention.sought in MODELS
            ]
            keys[name] = address([common, content, _lengths(works[name]), reads, suites, models])
        return keys[name]

    def model_of(name: str) -> object:
        return key_of(name) if name in spec.stages else _identities(resolved, f"models.{name}.")

    return {name: key_of(name) for name in spec.stages}


def _resolved(path: str) -> bool:
    """Whether a setting of a stage is hashed as what it comes to, and not as it was written."""
    return path in _LENGTHS or path.startswith("curriculum.")


def _lengths(work: Work) -> tuple[object, ...]:
    """The lengths of a training stage in steps and sequences, however they were written, and what changes meanwhile."""
    if not isinstance(work, ir.Training):
        return ()
    changes = () if work.curriculum is None else (work.curriculum.values,)
    return (work.steps, work.global_batch_size, work.warmup_steps, work.decay_steps, *changes)
