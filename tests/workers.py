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

    def __init__(self, launcher: Launcher, *configs: Config):
        # One stands for two workers of the same settings.
        configs = configs * 2 if len(configs) == 1 else configs
        self.launcher, sockets = launcher, [socket.socket() for _ in configs]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        cluster = {"worker": [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]}
        for each in sockets:
            each.close()
        self.processes = [
            launcher.start(
                "bin/train.py",
                *runs.arguments(dataclasses.replace(config, strategy="multi_worker")),
                environment={"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})},
            )
            for index, config in enumerate(configs)
        ]

    def wait(self) -> list[Finished]:
        return [self.launcher.wait(process) for process in self.processes]


def wait_for_step(run_dir: str, step: int) -> None:
    """Waits until the run has saved a checkpoint at this step or a later one."""
    limit = time.monotonic() + 120
    while runs.newest(run_dir) < step:
        assert time.monotonic() < limit
        time.sleep(0.01)
