from model import Cache, Model

from runners.evaluate import Baseline, Evaluation, evaluate

EVALUATION = Evaluation(
    stage="evaluate",
    models=("pretrain",),
    suites=("suites/held_out.yaml",),
    data=("corpus",),
    limit=None,
    batch_size=8,
    max_length=32,
    baselines=(Baseline(kind="byte_trigram", data="corpus"),),
)

if __name__ == "__main__":
    evaluate(Model, Cache, EVALUATION)
