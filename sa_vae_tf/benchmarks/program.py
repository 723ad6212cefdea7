"""A training step as a program that any runtime of XLA can run: StableHLO, its inputs, and what it must return.

A machine may have a GPU and no TensorFlow: `bin/run_program.py` runs such a program with JAX's runtime alone.
"""

from __future__ import annotations

import dataclasses
import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from sa_vae_tf.benchmarks.cost import Cost, step_cost
from sa_vae_tf.benchmarks.sizes import make
from sa_vae_tf.errors import UserError
from sa_vae_tf.files import writable_folder, write_atomically
from sa_vae_tf.training.config import Config

# Numbers of an input above which it is drawn anew where the program is run, rather than carried there.
DRAWN = 2**16


def write_program(config: Config, folder: Path, size: str, run: bool) -> dict[str, Any]:
    """Writes a training step on a random batch.

    Args:
      config: settings; the step is compiled whole, whatever its `jit_compile` is, and kernels that are to be chosen are
        those of a GPU, whatever is here.
      folder: where to: step.mlir, StableHLO; inputs.npz, the small inputs; program.json, all else.
      size: name of the sizes.
      run: whether to take the step here too, so that the other runtime's results can be compared with these.

    Returns:
      What program.json says of the step.
    """
    if config.strategy != "none":
        raise UserError(f"--strategy={config.strategy}: expected none, for a program of one device")
    writable_folder("program_dir", folder)
    if config.kernels == "auto":
        config = dataclasses.replace(config, kernels="fused")
    model, batch = make(config)
    step = tf.function(model.train_step, autograph=False, jit_compile=True)
    concrete = step.get_concrete_function(batch)
    by_handle = {id(v.handle): v for v in concrete.variables}
    variables = [by_handle[id(handle)] for handle in concrete.captured_inputs]
    kept: dict[str, Any] = {}
    inputs = []
    for number, tensor in enumerate([*tf.nest.flatten(batch), *variables]):
        value = tensor.numpy()
        spec = {"dtype": value.dtype.name, "shape": list(value.shape)}
        if value.size > DRAWN and value.dtype.kind == "f":
            spec.update(low=float(value.min()), high=float(value.max()))
            tensor.assign(drawn(number, spec))
        else:
            kept[f"input{number}"] = value
        inputs.append(spec)
    header = _compiled(step, batch, "hlo", model.step.device).partition("\n")[0]
    (folder / "step.mlir").write_bytes(_compiled(step, batch, "stablehlo_serialized", model.step.device))
    np.savez_compressed(folder / "inputs.npz", **kept)
    described = {
        "config": size,
        "batch_size": config.batch_size,
        "svi_steps": model.steps,
        **{name: getattr(config, name) for name in ("method", "hvp", "kernels", "kept_mib", "tensor_float_32")},
        "kept_steps": list(model.settings.keep),
        "flops": sum(step_cost(config, model.steps, model.settings).values(), Cost()).flops,
        "tensorflow": tf.__version__,
    }
    program = {
        **described,
        "inputs": inputs,
        "outputs": _outputs(header),
        "updates": _updates(header),
        "results": sorted(concrete.structured_outputs),
        "expected": {name: float(value) for name, value in step(batch).items()} if run else {},
    }
    write_atomically(folder / "program.json", json.dumps(program, indent=1) + "\n")
    return {**described, "program": str(folder), **program["expected"]}


def _compiled(step: Any, batch: dict[str, tf.Tensor], stage: str, device: str) -> Any:
    with warnings.catch_warnings():
        # Without a device TensorFlow refuses variables, with one it warns.
        warnings.simplefilter("ignore")
        return step.experimental_get_compiler_ir(batch)(stage=stage, device_name=device)


def drawn(number: int, spec: dict[str, Any]) -> np.ndarray:
    """Returns the values of an input that is not carried; `bin/run_program.py` draws the same."""
    generator = np.random.Generator(np.random.PCG64(number))
    return generator.uniform(spec["low"], spec["high"], spec["shape"]).astype(spec["dtype"])


def _outputs(header: str) -> list[dict[str, Any]]:
    """Returns types and shapes of a program's results, from the first line of its text."""
    names = {"f32": "float32", "s32": "int32", "s64": "int64", "pred": "bool", "u8": "uint8"}
    results = header.partition("entry_computation_layout={(")[2].partition(")->(")[2]
    return [
        {"dtype": names[dtype], "shape": [int(size) for size in shape.split(",") if size]}
        for dtype, shape in re.findall(r"([a-z]+\d*)\[([\d,]*)\]", results)
    ]


def _updates(header: str) -> dict[str, int]:
    """Returns by number of an output the input that it is the next value of, from the same line."""
    return {output: int(given) for output, given in re.findall(r"\{(\d+)\}: \((\d+),", header)}
