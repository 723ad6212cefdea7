"""What TensorFlow is told by environment variables, which it reads when it is first imported."""

import os
import platform


def set_up() -> None:
    """Sets the variables that make programs quicker and quieter, where the user did not; TensorFlow is yet to come."""
    # Every command would start with notes on TensorFlow's build, some of them written before it reads any setting.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # By itself TensorFlow takes all memory of every GPU, and an evaluation beside a training finds none.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    if platform.machine() in ("x86_64", "AMD64"):
        # By itself TensorFlow takes oneDNN's products and convolutions with AVX512-VNNI or the like.
        # They are quicker with AVX2 alone too, and the derivative of a convolution of groups is oneDNN's alone.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    # XLA's default order of operations on CPU starts whatever is ready, and at the paper's size holds a quarter of a
    # GiB more than one that counts memory, in the same time. What the user says comes last, and wins.
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"--xla_cpu_enable_concurrency_optimized_scheduler=false {flags}"
