"""Peak memory of reading a corpus and the batches of an epoch, by its size.

`python -m tests.torture.scale text 10000000` measures one size.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.launcher import ROOT
from tests.torture.runs_to_disturb import Row

# By how much memory may grow, in MiB: to a part of the records (`sa_vae_tf.data.records.PART`) with its order and the
# places of its records on disk, and those of the files that it shares with its neighbours; and then no more.
GROWTH_MIB = 150
# The smaller fills a part that is sorted when data is prepared, the larger more than one of those that are shuffled, of
# texts. Ten million take no more (RELIABILITY.md), but longer than this should.
SIZES = {"text": (150_000, 1_500_000), "images": (10_000, 100_000)}
BATCHES = 200


def rows() -> Iterator[Row]:
    """Yields whether ten times the data takes more memory."""
    for kind, sizes in SIZES.items():
        small, large = (_measured(kind, size) for size in sizes)
        allowed = small["peak_mib"] + GROWTH_MIB
        note = " and ".join(
            f"{size:,}: {of['peak_mib']:.0f} MiB, {of['seconds']:.0f} s"
            for size, of in zip(sizes, (small, large), strict=True)
        )
        yield Row(f"ten times the data, {kind}", 1, int(large["peak_mib"] < allowed), note)


def _measured(kind: str, size: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.torture.scale", kind, str(size)]
    return json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def _write_text(path: Path, count: int) -> None:
    chance = np.random.default_rng(1)
    block = [" ".join(map(str, chance.integers(0, 5000, chance.integers(3, 12)))) for _ in range(10_000)]
    with path.open("w") as file:
        for first in range(0, count, len(block)):
            file.write("\n".join(block[: count - first]) + "\n")


def _write_images(path: Path, count: int) -> None:
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (count, 28, 28))
    for first in range(0, count, 1000):
        images[first : first + 1000] = np.random.default_rng(first).integers(0, 256, images[first : first + 1000].shape)


class PeakMemory:
    """Watches the memory of this process that is its own: pages of files that are mapped are given back when needed."""

    def __init__(self) -> None:
        self.mib, self._ended = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            status = Path("/proc/self/status").read_text()
            self.mib = max(self.mib, int(re.findall(r"RssAnon:\s*(\d+) kB", status)[0]) / 1024)


def measure(kind: str, count: int) -> dict[str, float]:
    """Returns peak memory in MiB and seconds of preparing so many examples and reading BATCHES batches of them."""
    from sa_vae_tf.data.image_corpora import file_images
    from sa_vae_tf.data.images import image_splits
    from sa_vae_tf.data.text import prepare_files

    with tempfile.TemporaryDirectory() as name:
        folder, data = Path(name), str(Path(name) / "data")
        write = {"text": _write_text, "images": _write_images}[kind]
        path = folder / {"text": "train.txt", "images": "train.npy"}[kind]
        write(path, count)
        began = time.monotonic()
        with PeakMemory() as peak:
            if kind == "text":
                _write_text(folder / "val.txt", 100)
                splits = prepare_files(str(path), str(folder / "val.txt"), "", data_dir=data).splits
            else:
                splits = image_splits(file_images(str(path), 28, 28, data), 1)
            for _ in splits["train"].shuffled(32, 1, 0).take(BATCHES):
                pass
        seconds = time.monotonic() - began
    return {"peak_mib": peak.mib, "seconds": seconds}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
