"""Two training steps of SA-VAE and a sample of images at the paper's size (section 4.3).

Prints the losses, the peak of this process's memory in the two steps, in GB, and the seconds that 64 images take.
"""

import json
import pathlib
import re
import time

import keras
import numpy as np
import tensorflow as tf

from sa_vae_tf.inference import RefinementSettings
from sa_vae_tf.models.pixelcnn import PixelCNNDecoder
from sa_vae_tf.models.pixelcnn_sampling import sample_images
from sa_vae_tf.models.resnet import ResNetEncoder
from sa_vae_tf.training.model import LatentVariableModel

BATCH, STEPS, SIZE, LATENT, DRAWN = 50, 20, 28, 32, 64


def main() -> None:
    decoder = PixelCNNDecoder(SIZE, SIZE, LATENT)
    encoder = ResNetEncoder(SIZE, SIZE, LATENT)
    settings = RefinementSettings(1 / BATCH, 1 / BATCH)
    model = LatentVariableModel(encoder, decoder, "sa_vae", LATENT, settings, STEPS)
    model.compile(optimizer=keras.optimizers.Adam(1e-3))
    images = (np.random.default_rng(0).random([BATCH, SIZE, SIZE, 1]) < 0.1).astype(np.uint8)
    batch = {"x": tf.constant(images), "index": tf.range(BATCH, dtype=tf.int64)}
    step = tf.function(model.train_step, autograph=False, jit_compile=True)
    losses = []
    for _ in range(2):
        model.shown["loss"].reset_state()
        losses.append(float(step(batch)["loss"]))
    # Not ru_maxrss, which a process inherits from the one that started it.
    peak = re.findall(r"VmHWM:\s*(\d+) kB", pathlib.Path("/proc/self/status").read_text())[0]

    z, seed = tf.random.stateless_normal([DRAWN, LATENT], [1, 2]), tf.constant([3, 4])
    started = time.monotonic()
    sample_images(decoder, z, tf.range(DRAWN, dtype=tf.int64), seed).images.numpy()
    seconds = time.monotonic() - started
    print(json.dumps({"losses": losses, "peak_memory": int(peak) / 1e6, "sampling_seconds": seconds}))


if __name__ == "__main__":
    main()
