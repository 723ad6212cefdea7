"""Training in several processes."""

import dataclasses
import json
import socket
import time

from sa_vae_tf.training.config import Config
from tests import runs
from tests.launcher import Finished, Launcher


class Workers:
    """Processes on this machine that train together."""

    def __init__(self, launcher: Launcher, config: Config, count: int = 2):
        self.launcher, sockets = launcher, [socket.socket() for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        cluster = {"worker": [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]}
        for each in sockets:
            each.close()
        arguments = runs.arguments(dataclasses.replace(config, strategy="multi_worker"))
        self.processes = [
            launcher.start(
                "bin/train.py",
                *arguments,
                environment={"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})},
            )
            for index in range(count)
        ]

    def wait(self) -> list[Finished]:
        return [self.launcher.wait(process) for process in self.processes]


def wait_for_step(run_dir: str, step: int) -> None:
    """Waits until the run has saved a checkpoint at this step or a later one."""
    limit = time.monotonic() + 120
    while runs.newest(run_dir) < step:
        assert time.monotonic() < limit
        time.sleep(0.01)
