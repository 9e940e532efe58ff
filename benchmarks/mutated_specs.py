"""`python -m benchmarks.mutated_specs [COUNT]`: the slowest and the largest check of COUNT specs with something wrong.

The bound that users feel is a second each and half a gigabyte; the exit code is 1 where either is passed.
"""

from __future__ import annotations

import json
import subprocess
import sys

BLOCK = 1_000
MOST_SECONDS, MOST_BYTES = 1.0, 500 * 10**6


def main(count: int) -> int:
    """Check the specs of seeds 0 to `count` in processes of a thousand each; print what was found."""
    slowest, largest, failures = (0.0, -1), 0, []
    for first in range(0, count, BLOCK):
        command = [sys.executable, "-m", "tests.spec.mutations", str(first), str(min(first + BLOCK, count))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        slowest = max(slowest, (found["slowest_s"], found["slowest"]))
        largest = max(largest, found["peak_bytes"])
        failures += found["failures"]
    print(f"mutated specs                 {count:>10,}")
    print(f"answered with a traceback     {len(failures):>10,}")
    for failure in failures[:5]:
        print(f"    {failure}")
    print(f"slowest check, CPU seconds    {slowest[0]:>10.3f}    seed {slowest[1]}")
    print(f"largest process               {largest / 10**6:>7,.0f} MB")
    return int(bool(failures) or slowest[0] > MOST_SECONDS or largest > MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
