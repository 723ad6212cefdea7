"""Runs scripts as processes of their own, without waiting for TensorFlow's import each time.

A server imports what the scripts import and forks for each of them. The child then is what `python script.py` is after
its imports: TensorFlow has computed nothing yet. Its files, exit status and signals are a process's own.
"""

import gc
import importlib
import json
import os
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
IMPORTED = (
    "sa_vae_tf.cli",
    "sa_vae_tf.analysis.curves",
    "sa_vae_tf.analysis.figure1",
    "sa_vae_tf.analysis.figure2",
    "sa_vae_tf.analysis.method_tables",
    "sa_vae_tf.analysis.table1",
    "sa_vae_tf.evaluation.evaluate",
    "sa_vae_tf.export.export",
    "sa_vae_tf.samples.images",
    "sa_vae_tf.samples.texts",
    "sa_vae_tf.benchmarks.report",
    "sa_vae_tf.benchmarks.step",
    "sa_vae_tf.benchmarks.use",
    "sa_vae_tf.training.train",
)


# Seconds after which the system ends a script that hangs, by SIGALRM.
AT_MOST = 600


class Finished(NamedTuple):
    """How a process ended: status as of `subprocess`, the number of the signal that killed it negative."""

    status: int
    stdout: str
    stderr: str


class Launcher:
    """Starts scripts and tells how they ended."""

    def __init__(self):
        self.server = subprocess.Popen(
            [sys.executable, "-m", "tests.launcher"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            # What TensorFlow notes is left to the scripts.
            env={name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"},
        )
        self.outputs: dict[int, tempfile.TemporaryDirectory] = {}

    def start(
        self,
        script: str | Path,
        *arguments: str,
        limits: dict[str, int] | None = None,
        environment: dict[str, str] | None = None,
    ) -> int:
        """Starts a script and returns its process number.

        Args:
          script: path, relative to the repository.
          *arguments: of its command line.
          limits: what it may use of a resource, by the name that `resource.RLIMIT_...` has: FSIZE is the bytes to
            which a file may grow; beyond, writing fails as on a full disk.
          environment: variables beside those of this process.
        """
        output = tempfile.TemporaryDirectory()
        argv = [str(ROOT / script), *arguments]
        process = self._ask(argv=argv, output=output.name, limits=limits or {}, environment=environment or {})
        self.outputs[process] = output
        return process

    def wait(self, process: int) -> Finished:
        status = self._ask(wait=process)
        with self.outputs.pop(process) as output:
            return Finished(status, *(Path(output, name).read_text(encoding="utf-8") for name in ("out", "err")))

    def run(self, script: str | Path, *arguments: str, **options: Any) -> Finished:
        return self.wait(self.start(script, *arguments, **options))

    def close(self) -> None:
        self.server.communicate()

    def _ask(self, **request: Any) -> int:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())


def serve() -> None:
    """Answers requests, one a line: a script to start by its process number, one to wait for by its status."""
    for module in IMPORTED:
        importlib.import_module(module)
    # What was imported is not looked at by the children's garbage collection, which would copy its memory.
    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                return become(**request)
        print(answer, flush=True)


def become(argv: list[str], output: str, limits: dict[str, int], environment: dict[str, str]) -> None:
    """Makes this process a script."""
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.alarm(AT_MOST)
    for descriptor, path in enumerate((os.devnull, f"{output}/out", f"{output}/err")):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), descriptor)
    for name, limit in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))
    sys.argv = argv
    runpy.run_path(argv[0], run_name="__main__")


if __name__ == "__main__":
    serve()
