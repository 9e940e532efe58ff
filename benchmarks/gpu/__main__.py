"""Tokens/s, MFU and peak memory of 1 B models on one GPU, and decoding of a 7 B one, with `transformers` beside it.

python -m benchmarks.gpu [--small] [--only training|decoding]

Training: a Llama-style and an ALiBi model of 1.2 B parameters, 4,096 tokens a sequence, bf16 matrix products with fp32
weights and AdamW, each attention kernel that is there, as it is and compiled. MFU counts the model's own FLOPs, as the
compiler does (forward and backward, nothing recomputed), against the peak of the catalogue. Every case is a process of
its own, so that none finds memory that another left. `--small` runs everything tiny on whatever device there is: it
shows that the command works, and its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from benchmarks.gpu.cases import DECODING, TRAINING, Case


def main() -> None:
    """Measure, and print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--only", choices=("training", "decoding"))
    options = parser.parse_args()
    if options.only != "decoding":
        print(f"{'training':<44}{'tokens/s':>12}{'MFU':>8}{'peak memory':>14}")
        for case in TRAINING:
            _line(case, small=options.small)
    if options.only != "training":
        print(f"{'decoding':<44}{'tokens/s':>12}{'':>8}{'peak memory':>14}")
        for case in DECODING:
            _line(case, small=options.small)


def _line(case: Case, *, small: bool) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu.worker", json.dumps(vars(case)), *(["small"] if small else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        print(f"{case.title:<44}  {reason[:90]}", flush=True)
        return
    found = json.loads(done.stdout.strip().splitlines()[-1])
    mfu = "" if found["mfu"] is None else f"{found['mfu']:.1%}"
    print(
        f"{case.title:<44}{found['tokens_per_second']:>12,.0f}{mfu:>8}{found['memory'] / 2**30:>10.1f} GiB", flush=True
    )


if __name__ == "__main__":
    main()
