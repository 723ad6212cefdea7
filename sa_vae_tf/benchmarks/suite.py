"""What a report measures: the arguments of bin/benchmark.py, a process each."""

from __future__ import annotations

import os

import tensorflow as tf


def suite() -> list[list[str]]:
    """Returns the arguments of each measurement."""

    def each(configs: str, *arguments: str) -> list[list[str]]:
        return [[f"--config={config}", *arguments] for config in configs.split()]

    finite_difference, graph, nothing_kept = "--hvp=finite_difference", "--nojit_compile", "--kept_mib=0"
    hybrid, rounded = "--kernels=hybrid", "--kernels=bfloat16"
    devices = len(tf.config.list_physical_devices("GPU")) or len(os.sched_getaffinity(0))
    device_a_core = "--strategy=mirrored", f"--replicas={devices}"
    return [
        *each("small medium paper images", "--method=vae"),
        *each("small medium paper images", "--svi_steps=5"),
        *each("small medium images", "--svi_steps=10"),
        *each("small medium paper images synthetic", "--svi_steps=20"),
        *each("small", "--svi_steps=80"),
        *each("small medium", "--svi_steps=20", finite_difference),
        *each("paper images", "--svi_steps=5", finite_difference),
        *each("small medium", "--svi_steps=20", nothing_kept),
        *each("paper images", "--svi_steps=5", nothing_kept),
        *each("small medium", "--svi_steps=20", hybrid),
        *each("paper", "--svi_steps=5", "--kernels=fused"),
        *each("images", "--svi_steps=5", graph, "--kernels=fused"),
        *each("small medium", "--svi_steps=20", rounded),
        *each("paper images", "--svi_steps=5", rounded),
        *each("paper", "--svi_steps=20", rounded),
        *each("small medium synthetic", "--svi_steps=20", *device_a_core),
        *each("paper images", "--svi_steps=5", *device_a_core),
        *each("paper", "--svi_steps=20", *device_a_core),
        *each("medium", "--svi_steps=20", hybrid, *device_a_core),
        *each("medium", "--svi_steps=20", rounded, *device_a_core),
        *each("paper images", "--svi_steps=5", rounded, *device_a_core),
        # With as little memory as can be, and with as much as is of use.
        *each("paper", "--svi_steps=20", nothing_kept),
        *each("paper", "--svi_steps=5", "--kept_mib=1536"),
        *each("paper", "--svi_steps=20", "--kept_mib=6144"),
        *each("paper", "--svi_steps=20", "--kept_mib=4096", rounded),
        *each("paper images", "--svi_steps=5", "--kept_mib=2048", *device_a_core),
        *each("paper", "--svi_steps=20", "--kept_mib=7168", *device_a_core),
        # Compiled by XLA these take many minutes.
        *each("small medium images", "--svi_steps=5", graph, "--compare=unrolled"),
        *each("small medium", "--measure=rounding", "--svi_steps=20", rounded),
        *each("paper images", "--measure=rounding", "--svi_steps=2", rounded),
        *each("small medium", "--measure=parts", "--svi_steps=20"),
        *each("paper images", "--measure=parts", "--svi_steps=2"),
        *each("medium paper images", "--measure=sampling"),
        *each("medium images", "--measure=evaluation", "--iw_samples=10"),
    ]
