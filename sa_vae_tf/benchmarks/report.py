"""BENCHMARKS.md: every measurement, each in a process of its own, as tables and a plot."""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf

from sa_vae_tf import interrupts
from sa_vae_tf.benchmarks.plot import plot
from sa_vae_tf.benchmarks.sizes import SIZES
from sa_vae_tf.benchmarks.suite import suite
from sa_vae_tf.benchmarks.tables import Line, to_markdown
from sa_vae_tf.errors import UserError, one_line
from sa_vae_tf.files import writable_folder, write_atomically
from sa_vae_tf.training.compilation import CPU

# Of a line of another program, what its fields must be.
PEER = {
    "impl": (lambda value: isinstance(value, str), "a name"),
    "config": (lambda value: isinstance(value, str) and value in SIZES, f"one of {', '.join(SIZES)}"),
    "K": (lambda value: type(value) is int and value >= 0, "a whole number of refinement steps"),
    "median_s": (lambda value: type(value) in (int, float) and 0 < value < math.inf, "a positive number of seconds"),
}

# What a processor's name does not tell and the seconds depend on, the widest products first.
WIDEST = ["amx_bf16", "avx512_bf16", "avx512f", "avx2"]


def write(folder: Path, command: str, peers: str = "") -> list[Path]:
    """Measures everything and writes BENCHMARKS.md, and its figures into docs/, under a folder.

    What has been measured is kept until the end, in docs/benchmarks.jsonl: the same command goes on there, on the same
    day and machine.

    Args:
      folder: where to.
      command: that the tables are said to be made by.
      peers: path of a file of other programs' JSON lines, with impl, config, K and median_s; empty for none.

    Raises:
      UserError: if the file of the others is not of this form, or a measurement fails.
    """
    others = _read(peers) if peers else []
    writable_folder("report_dir", folder / "docs")
    kept = folder / "docs" / "benchmarks.jsonl"
    machine, lines = _machine(), []
    measured = _kept(kept, machine)
    for arguments in suite():
        name = " ".join(arguments)
        if name not in measured:
            measured[name] = _measured(arguments)
            line = json.dumps({"machine": machine, "arguments": name, "lines": measured[name]})
            with kept.open("a", encoding="utf-8") as file:
                file.write(f"\n{line}\n")  # After a line that was not written to its end.
        lines += measured[name]
        print(json.dumps(lines[-1]), flush=True)
    text = to_markdown(lines, others, command, machine)
    plot(lines, others, folder / "docs" / "benchmarks.png")
    write_atomically(folder / "BENCHMARKS.md", text)
    kept.unlink(missing_ok=True)
    return [folder / "BENCHMARKS.md", folder / "docs" / "benchmarks.png", folder / "docs" / "benchmarks.json"]


def _kept(path: Path, machine: str) -> dict[str, list[Line]]:
    """Returns the lines of each measurement that a report, interrupted here and today, has left, by its arguments."""
    measured = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):  # Of a line that was not written to its end.
            found = json.loads(line)
            if found["machine"] == machine:
                measured[found["arguments"]] = found["lines"]
    return measured


def _read(path: str) -> list[Line]:
    try:
        texts = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--peers={path}: expected a file of JSON lines ({reason})") from None
    return [_peer(text, f"--peers={path}: line {number}") for number, text in enumerate(texts, 1) if text.strip()]


def _peer(text: str, where: str) -> Line:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        line = None
    if not isinstance(line, dict):
        raise UserError(f"{where}: {text[:60]!r}: expected JSON with {', '.join(PEER)}")
    for name, (sound, expected) in PEER.items():
        if not sound(line.get(name)):
            found = repr(line[name])[:60] if name in line else "missing"
            raise UserError(f"{where}: {name}: {found}: expected {expected}")
    return {("svi_steps" if name == "K" else name): line[name] for name in PEER}


def _measured(arguments: Iterable[str]) -> list[Line]:
    with interrupts.raised():  # The process that measures is ended too.
        ended = subprocess.run([sys.executable, sys.argv[0], *arguments], capture_output=True, text=True)
    if ended.returncode:
        raise UserError(f"{' '.join(arguments)}: {one_line(ended.stderr.strip())[-300:]}")
    return [json.loads(line) for line in ended.stdout.splitlines()]


def _machine() -> str:
    info = CPU.read_text(encoding="utf-8") if CPU.exists() else ""
    names = [line.partition(": ")[2] for line in info.splitlines() if line.startswith("model name")]
    widest = next((f" ({name})" for name in WIDEST if name in info.split()), "")
    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    cores = f"{os.cpu_count()} cores of {names[0] if names else platform.machine()}{widest}"
    versions = f"Python {platform.python_version()}, TensorFlow {tf.__version__}"
    return f"{', '.join([cores, *gpus])}; {versions}; {datetime.date.today().isoformat()}"
