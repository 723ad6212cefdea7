"""What each value of --data stands for.

To add a data set or a model, write a `Task` in a file of its own and list it here. Besides, `compilation` knows which
models are costly.
"""

from sa_vae_tf.training.config import Config
from sa_vae_tf.training.tasks.image import IMAGE
from sa_vae_tf.training.tasks.synthetic import SYNTHETIC
from sa_vae_tf.training.tasks.task import Data, Task, data_seed
from sa_vae_tf.training.tasks.text import TEXT

TASKS = {"synthetic": SYNTHETIC, "text": TEXT, "image": IMAGE}


def evaluated_split(config: Config) -> str:
    """Returns the split to evaluate: test where there is one."""
    return TASKS[config.data].evaluated_split(config)


__all__ = ["TASKS", "Data", "Task", "data_seed", "evaluated_split"]
