#!/usr/bin/env python3
"""A check of one series by driftline and by Evidently, on the same scores in the same run.

    benches/check.py [--sizes 1000,10000,100000] [--python PYTHON]

Needs Python 3.9 or newer. Evidently is installed from PyPI, at the version below, into target/evidently; its time is
that of Report([ValueDrift]).run() on frames that are already in memory.
"""

import argparse
import pathlib
import random
import subprocess
import sys
import tempfile
import venv

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ["evidently==0.7.23", "pandas<3"]
BASELINE = 10_000

TIMED = """
import sys, time, pandas
from evidently import DataDefinition, Dataset, Report
from evidently.metrics import ValueDrift

def frame(path):
    scores = [float(line) for line in open(path)]
    return Dataset.from_pandas(pandas.DataFrame({"score": scores}), DataDefinition(numerical_columns=["score"]))

baseline, current = frame(sys.argv[1]), frame(sys.argv[2])
best = float("inf")
for _ in range(7):
    started = time.perf_counter()
    result = Report([ValueDrift(column="score")]).run(current, baseline)
    result.dict()
    best = min(best, time.perf_counter() - started)
print(f"{best * 1e6:.0f}")
"""


def environment():
    """The Python that has Evidently, made once."""
    folder = ROOT / "target" / "evidently"
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


def write(path, size, rng):
    path.write_text("".join(f"{rng.betavariate(8, 2):.6f}\n" for _ in range(size)))


def ours(program, baseline, current):
    """Microseconds for a check, and for six tests."""
    printed = subprocess.run([*program, baseline, current], check=True, capture_output=True, text=True, cwd=ROOT)
    numbers = printed.stdout.split("\n")[1].split()
    return float(numbers[2]), float(numbers[3])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", default="1000,10000,100000,1000000")
    parser.add_argument("--program", help="the built bench; by default cargo builds it")
    arguments = parser.parse_args()
    program = [arguments.program] if arguments.program else ["cargo", "bench", "--quiet", "--bench", "check", "--"]
    python, rng = environment(), random.Random(13)
    print(f"{'scores':>10} {'check, µs':>10} {'six tests, µs':>14} {'Evidently, µs':>14} {'times':>8}")
    with tempfile.TemporaryDirectory() as folder:
        baseline, current = pathlib.Path(folder, "baseline"), pathlib.Path(folder, "current")
        write(baseline, BASELINE, rng)
        for size in map(int, arguments.sizes.split(",")):
            write(current, size, rng)
            check, tests = ours(program, baseline, current)
            timed = subprocess.run([python, "-c", TIMED, baseline, current], check=True, capture_output=True, text=True)
            theirs = float(timed.stdout.split()[-1])
            print(f"{size:>10} {check:>10.1f} {tests:>14.1f} {theirs:>14.0f} {theirs / (check + tests):>8.0f}")


if __name__ == "__main__":
    sys.exit(main())
