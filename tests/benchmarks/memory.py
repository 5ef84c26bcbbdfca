"""Peak memory of `kiwi-fhir run` on a small and on a large NOTEEVENTS.csv.gz, and whether every row is accounted for.

python tests/benchmarks/memory.py [--rows 2000 20000] [--characters 1000]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from synthetic import write


def peak_of(command: list[str]) -> tuple[int, float]:
    """The highest resident memory (bytes) of a command with its children, and its seconds."""
    started = time.monotonic()
    process = psutil.Popen(command, stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        try:
            family = [process, *process.children(recursive=True)]
            peak = max(peak, sum(member.memory_info().rss for member in family))
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"the run ended with {process.returncode}")
    return peak, time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[2000, 20_000])
    parser.add_argument("--characters", type=int, default=1000)
    arguments = parser.parse_args()
    peaks = []
    for rows in arguments.rows:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "NOTEEVENTS.csv.gz")
            true = write("mimic-iii", path, rows=rows, characters=arguments.characters)
            out = Path(folder, "out")
            command = [sys.executable, "-m", "kiwi_fhir", "run", "--source", "mimic-iii"]
            peak, seconds = peak_of([*command, "--input", str(path), "--output", str(out)])
            notes = json.loads((out / "run.json").read_text())["notes"]
            expected = true["rows"] - true["dropped"]
            right = notes["in"] == notes["out"] + notes["failed"] == expected and notes["dropped"] == true["dropped"]
            peaks.append(peak)
            print(
                f"{rows} rows: {notes['in']} in, {notes['out']} out, {notes['failed']} failed, "
                f"{'as' if right else 'NOT as'} the true count; {peak / 2**20:.0f} MiB, {seconds:.0f} s, "
                f"{notes['out'] / seconds:.1f} notes/s",
                flush=True,
            )
    print(f"peak of the last against the first: {peaks[-1] / peaks[0]:.2f}")


if __name__ == "__main__":
    main()
