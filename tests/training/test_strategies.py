"""The devices of --strategy."""

import os
import subprocess
import sys

SCRIPT = """
import tensorflow as tf
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.strategies import make_strategy
strategy = make_strategy(Config(strategy="mirrored", replicas=2))
print(strategy.num_replicas_in_sync, tf.config.threading.get_intra_op_parallelism_threads())
"""


def test_devices_share_out_the_cores():
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=hidden)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split()[-2:] == ["2", str(max(1, len(os.sched_getaffinity(0)) // 2))]


def test_runs_in_one_process_share_their_devices():
    # A second strategy's messages would be taken for the first one's, of other shapes.
    again = "assert strategy is make_strategy(Config(strategy='mirrored', replicas=2))\n"
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run([sys.executable, "-c", SCRIPT + again], capture_output=True, text=True, env=hidden)
    assert ended.returncode == 0, ended.stderr


def test_more_devices_than_cores_are_warned_of():
    script = "import os; os.sched_getaffinity = lambda process: {0}\nimport logging; logging.basicConfig()\n" + SCRIPT
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=hidden)
    assert ended.stdout.split()[-2:] == ["2", "1"], ended.stderr
    assert "--replicas=2: more devices than cores, 1" in ended.stderr
