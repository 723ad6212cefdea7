"""Two training steps of omniglot.flags and a sample of images by its model (section 4.3).

Prints the losses, the peak of this process's memory in the two steps, in GB, and the seconds that 64 images take.
"""

import dataclasses
import json
import pathlib
import re
import time

import numpy as np
import tensorflow as tf

from sa_vae_tf.models.pixelcnn_sampling import sample_images
from sa_vae_tf.training.build import build_model, set_up_tensorflow
from sa_vae_tf.training.compilation import compiles
from sa_vae_tf.training.flags import from_flagfile

DRAWN = 64
FLAGS = pathlib.Path(__file__).parents[2] / "omniglot.flags"


def main() -> None:
    config = dataclasses.replace(from_flagfile(str(FLAGS)), data_file="random", device="cpu")
    set_up_tensorflow(config)
    model = build_model(config)
    images = np.random.default_rng(0).random([config.batch_size, config.image_height, config.image_width, 1]) < 0.1
    batch = {"x": tf.constant(images, tf.uint8), "index": tf.range(config.batch_size, dtype=tf.int64)}
    step = tf.function(model.train_step, autograph=False, jit_compile=compiles(config))
    losses = []
    for _ in range(2):
        model.shown["loss"].reset_state()
        losses.append(float(step(batch)["loss"]))
    # Not ru_maxrss, which a process inherits from the one that started it.
    peak = re.findall(r"VmHWM:\s*(\d+) kB", pathlib.Path("/proc/self/status").read_text())[0]

    z, seed = tf.random.stateless_normal([DRAWN, config.latent_dim], [1, 2]), tf.constant([3, 4])
    started = time.monotonic()
    sample_images(model.decoder, z, tf.range(DRAWN, dtype=tf.int64), seed).images.numpy()
    seconds = time.monotonic() - started
    print(json.dumps({"losses": losses, "peak_memory": 1024 * int(peak) / 1e9, "sampling_seconds": seconds}))


if __name__ == "__main__":
    main()
