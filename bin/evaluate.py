"""Evaluates a trained run: python bin/evaluate.py --run_dir=runs/synthetic-oracle-sa_vae-1."""

from absl import flags

from sa_vae_tf import cli
from sa_vae_tf.evaluation.evaluate import evaluate
from sa_vae_tf.progress import progress_bar
from sa_vae_tf.training.run_folder import RunFolder

RUN_DIR = flags.DEFINE_string("run_dir", "", "Folder of the run.")
SPLIT = flags.DEFINE_enum(
    "split",
    "",
    ["", "train", "validation", "test"],
    "Which examples; default: test where there are some, else validation.",
)
SVI_STEPS = flags.DEFINE_integer("svi_steps", None, "Refinement steps; default: as in training.", lower_bound=0)
SVI_INIT = flags.DEFINE_enum(
    "svi_init", None, ["encoder", "zero", "random"], "Start of the refinement; default: as in training."
)
IW_SAMPLES = flags.DEFINE_integer("iw_samples", 500, "Samples of the importance-weighted NLL; 0: none.", lower_bound=0)
GAP_STEPS = flags.DEFINE_integer(
    "gap_steps", 200, "Steps of the long refinement for the amortization gap; 0: none.", lower_bound=0
)
MAX_EXAMPLES = flags.DEFINE_integer("max_eval_examples", 0, "Examples evaluated; 0: all.", lower_bound=0)
TEST_FILE = flags.DEFINE_string("test_file", "", "Text or images to evaluate in place of the run's test split.")
DEVICE = flags.DEFINE_enum("device", "", ["", "auto", "cpu", "gpu"], "As of training; default: the run's own.")
SEED = flags.DEFINE_integer("seed", 0, "Seed of all noise.", lower_bound=0, upper_bound=2**31 - 1)
OUTPUT = flags.DEFINE_string("output", "results.json", "Name of the file written into the run folder.")


def main():
    run = RunFolder(RUN_DIR.value)
    run.check_output_name(OUTPUT.value)
    results = evaluate(
        run,
        split=SPLIT.value,
        svi_steps=SVI_STEPS.value,
        svi_init=SVI_INIT.value,
        iw_samples=IW_SAMPLES.value,
        gap_steps=GAP_STEPS.value,
        max_examples=MAX_EXAMPLES.value,
        seed=SEED.value,
        test_file=TEST_FILE.value,
        device=DEVICE.value,
        progress=progress_bar("example"),
    )
    path = run.write_results(OUTPUT.value, results)  # first, since whoever reads what is printed may have gone
    for name, value in results.items():
        print(f"{name:30}{round(value, 4) + 0.0:12.4f}" if isinstance(value, float) else f"{name:30}{value!s:>12}")
    print(f"Results: {path}")


if __name__ == "__main__":
    cli.run(main)
