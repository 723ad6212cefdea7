"""Times programs of training steps with JAX's runtime: python bin/run_program.py PROGRAM_DIR ...

Programs are written by bin/benchmark.py --program_dir. What a step returns is compared with what it returned there.
A line of JSON for each program: what bin/benchmark.py says of a step; device, jax, flags (XLA_FLAGS) and repeats;
compile_s; gib, what the runtime says that the step takes; found, the first step's results, and distance, how far they
are from those expected, relative to them; median_s, seconds of a step; tflops, 1e12 operations of its matrix products
and convolutions a second; or error. This file needs JAX and NumPy, and nothing else of its repository: TensorFlow, say,
may not be where a GPU is.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import os
import statistics
import sys
import time
from pathlib import Path

try:
    import jax
    import numpy as np
    from jax import export
except ModuleNotFoundError as missing:
    sys.exit(f"run_program.py: {missing}; expected JAX (pip install jax, or jax[cuda13] for a GPU)")

jax.config.update("jax_enable_x64", True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("programs", nargs="+", type=Path, help="Folders that bin/benchmark.py wrote.")
    parser.add_argument("--repeats", type=positive, default=11, help="Timed steps, after two that are not timed.")
    parser.add_argument("--compilers", type=positive, default=os.cpu_count(), help="Programs compiled at once.")
    arguments = parser.parse_args()
    for folder in arguments.programs:
        if not (folder / "program.json").is_file():
            parser.error(f"{folder}: expected a folder with program.json, which bin/benchmark.py --program_dir writes")
    failed = 0
    # Steps are timed when all is compiled.
    with concurrent.futures.ThreadPoolExecutor(arguments.compilers) as pool:
        compiled = [(folder, pool.submit(compile_step, folder)) for folder in arguments.programs]
    for folder, compilation in compiled:
        line = {"program": str(folder), "device": jax.devices()[0].device_kind, "jax": jax.__version__}
        line.update(flags=os.environ.get("XLA_FLAGS", ""), repeats=arguments.repeats)
        try:
            program, step, seconds = compilation.result()
            known = {key: program[key] for key in program if key not in ("inputs", "outputs", "updates", "results")}
            line = {
                **known,
                **line,
                "compile_s": round(seconds, 1),
                **measure(folder, program, step, arguments.repeats),
            }
        except Exception as error:  # What one program lacks, memory say, others may not.
            line["error"] = f"{type(error).__name__}: {str(error)[:300]}"
            print(f"run_program.py: {folder}: {line['error']}", file=sys.stderr)
            failed = 1
        print(json.dumps(line), flush=True)
    return failed


def positive(text):
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def compile_step(folder):
    """Returns what is known of a program, the program, and the seconds that it took to compile."""
    program = json.loads((folder / "program.json").read_text(encoding="utf-8"))
    inputs, outputs = (
        [jax.ShapeDtypeStruct(spec["shape"], spec["dtype"]) for spec in program[name]] for name in ("inputs", "outputs")
    )
    like = jax.jit(lambda *_: [jax.numpy.zeros(out.shape, out.dtype) for out in outputs], keep_unused=True)
    step = dataclasses.replace(export.export(like)(*inputs), mlir_module_serialized=(folder / "step.mlir").read_bytes())
    start = time.perf_counter()
    updated = tuple(program["updates"].values())
    compiled = jax.jit(step.call, donate_argnums=updated, keep_unused=True).lower(*inputs).compile()
    return program, compiled, time.perf_counter() - start


def measure(folder, program, step, repeats):
    """Returns the seconds of a step, its memory, and how far its first results are from those expected."""
    memory = step.memory_analysis()
    used = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    figures = {"gib": round((used + memory.temp_size_in_bytes) / 2**30, 3)}
    values = [jax.device_put(value) for value in inputs_of(folder, program)]
    times = []
    for repeat in range(repeats + 2):
        start = time.perf_counter()
        results = jax.block_until_ready(step(*values))
        times.append(time.perf_counter() - start)
        if not repeat:
            found = {name: float(result) for name, result in zip(program["results"], results)}  # noqa: B905
            figures["found"] = found
            figures["distance"] = {
                name: abs(found[name] - expected) / max(abs(expected), 1e-30) if expected else abs(found[name])
                for name, expected in program["expected"].items()
            }
        for output, number in program["updates"].items():
            values[number] = results[int(output)]
    median = statistics.median(times[2:])
    return {**figures, "median_s": round(median, 6), "tflops": round(program["flops"] / median / 1e12, 3)}


def inputs_of(folder, program):
    """Yields the inputs of a step."""
    with np.load(folder / "inputs.npz", allow_pickle=False) as kept:
        for number, spec in enumerate(program["inputs"]):
            if "low" in spec:
                generator = np.random.Generator(np.random.PCG64(number))
                yield generator.uniform(spec["low"], spec["high"], spec["shape"]).astype(spec["dtype"])
            else:
                yield kept[f"input{number}"]


if __name__ == "__main__":
    sys.exit(main())
