"""`make torture`: kills, corrupts, fills, starves and resumes, and prints what came of it."""

from __future__ import annotations

import argparse
import platform
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.launcher import ROOT, Launcher
from tests.torture import damage, kills, leaks, lost_workers, scale, scarcity
from tests.torture.runs_to_disturb import Row, Undisturbed, undisturbed

# Groups at once: each waits most of the time for one process.
AT_ONCE = 2
HEADER = ("fault", "tried", "survived", "lost", "")


def fuzz(seed: int) -> Iterator[Row]:
    """Yields what came of malformed input, from the property-based tests of tests/fuzz with many examples."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "tests/fuzz",
        "--hypothesis-profile=torture",
        f"--hypothesis-seed={seed}",
    ]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    counts = re.findall(r"^(.+): (\d+) tried, (\d+) refused", ended.stdout, re.MULTILINE)
    failed = re.findall(r"^FAILED (\S+)", ended.stdout, re.MULTILINE)
    print(*(f"  {line}" for line in failed), sep="\n", end="\n" if failed else "")
    for kind, count, refused in counts:
        # The file of a kind begins with the same letters: vocabulary files are in test_vocabularies.py.
        lost = sum(test.startswith(f"tests/fuzz/test_{kind.split()[0][:5]}") for test in failed)
        failed = [test for test in failed if not test.startswith(f"tests/fuzz/test_{kind.split()[0][:5]}")]
        yield Row(f"malformed {kind}", int(count), int(count) - lost, f"{int(refused):,} refused, the others read")
    if not counts or failed or ended.returncode not in (0, 1):
        print(ended.stdout[-2000:])
        yield Row("malformed input", 1, 0, "the tests did not run to their end")


def groups(options: argparse.Namespace) -> dict[str, Callable[[Launcher, list[Undisturbed], Path], Iterator[Row]]]:
    """Returns what there is to try, by name."""
    chance, times = random.Random(options.seed), options.times
    return {
        # The longest first, so that two at once end together.
        "fuzz": lambda launcher, whole, folder: fuzz(options.seed),
        "kills": lambda launcher, whole, folder: kills.rows(launcher, whole, chance, times, folder),
        "damage": lambda launcher, whole, folder: damage.rows(launcher, whole, chance, times),
        "scarcity": lambda launcher, whole, folder: scarcity.rows(launcher, whole, chance, times // 2),
        "workers": lambda launcher, whole, folder: lost_workers.rows(launcher, whole, chance, times // 4),
        "leaks": leaks.rows,
        "scale": lambda launcher, whole, folder: scale.rows(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of all that is left to chance")
    parser.add_argument("--times", type=int, default=12, help="how often each fault is tried")
    parser.add_argument("--only", default="", help="names of groups, separated by commas")
    options = parser.parse_args()
    began, tables = time.monotonic(), {}
    print(f"--seed={options.seed} --times={options.times}")
    with tempfile.TemporaryDirectory() as name:
        launcher = Launcher()
        whole = list(undisturbed(launcher, Path(name)))
        launcher.close()
        every = groups(options)

        def tried(group: str) -> None:
            """Fills the table of a group, with processes of its own."""
            launcher, tables[group] = Launcher(), []
            for row in every[group](launcher, whole, Path(name)):
                tables[group].append(row)
                seconds = f"{time.monotonic() - began:5.0f} s"
                print(f"{seconds}  {row.fault}: {row.survived} of {row.tried}  {row.note}", flush=True)
            launcher.close()

        chosen = options.only.split(",") if options.only else list(every)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(tried, chosen))
    print()
    rows = [(r.fault, r.tried, r.survived, r.tried - r.survived, r.note) for group in chosen for r in tables[group]]
    for line in (HEADER, ["---"] * len(HEADER), *rows):
        print(f"| {' | '.join(map(str, line))} |")
    print(f"\n{(time.monotonic() - began) / 60:.0f} minutes, {platform.machine()}, Python {platform.python_version()}")
    return int(any(lost for *_, lost, _ in rows))


if __name__ == "__main__":
    sys.exit(main())
