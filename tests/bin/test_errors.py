"""Wrong commands: one line that names the flag or file, its value and what was expected; exit status 2."""

import dataclasses
import os
import subprocess
import sys

import pytest

from sa_vae_tf.training.run_folder import RunFolder
from tests import runs
from tests.launcher import ROOT


def assert_one_line(ended, status: int, *parts: str) -> None:
    assert ended.status == status, ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr
    for part in parts:
        assert part in ended.stderr


@pytest.fixture(scope="module")
def run_dir(launcher, data_dir, tmp_path_factory):
    """A run of SVI with nothing trained yet: its first checkpoint is all there is."""
    path = tmp_path_factory.mktemp("run")
    config = runs.tiny(path, data_dir, method="svi", num_epochs=0)
    assert launcher.run("bin/train.py", *runs.arguments(config)).status == 0
    return path


@pytest.mark.parametrize(
    ("script", "arguments", "parts"),
    [
        ("train", ["--no_such_flag=3"], ["no_such_flag"]),
        ("train", ["--method=gan"], ["--method=gan: expected one of lm, vae, svi, vae_svi, vae_svi_kl, sa_vae\n"]),
        ("train", ["--svi_steps=-1"], ["--svi_steps=-1", "at least 0"]),
        ("train", ["--svi_steps=two"], ["error: --svi_steps=two: expected an integer\n"]),
        ("train", ["--svi_rate_mean=abc"], ["error: --svi_rate_mean=abc: expected a number\n"]),
        ("train", ["--svi_rate_mean=nan"], ["--svi_rate_mean=nan", "expected a finite number"]),
        ("train", ["--jit_compile=maybe"], ["error: --jit_compile=maybe: expected true or false\n"]),
        ("train", ["--nojit_compile=3"], ["--nojit_compile=3 does not take an argument"]),
        ("train", ["--flagfile="], ["--flagfile=: expected a file with a flag on each line"]),
        ("train", ["--flagfile"], ["--flagfile=: expected a file with a flag on each line"]),
        ("train", ["--flagfile=/no/such.flags"], ["--flagfile=/no/such.flags", "No such file", "expected"]),
        ("train", ["--flagfile=/"], ["--flagfile=/: Is a directory"]),
        ("train", ["vae"], ["unexpected argument 'vae'", "--name=value"]),
        ("train", ["--data_dir=/dev/null/data", "--run_dir={tmp}/run"], ["--data_dir=/dev/null/data: cannot write"]),
        ("train", ["--run_dir=/dev/null/run"], ["--run_dir=/dev/null/run: cannot write there (Not a directory)"]),
        ("train", ["--run_dir={tmp}/a[1]"], ["error: --run_dir={tmp}/a[1]: TensorFlow could not read what it writes"]),
        ("evaluate", ["--run_dir={tmp}"], ["--run_dir={tmp}: no run there", "expected the folder of a training run"]),
        ("evaluate", [], ["--run_dir"]),
        ("evaluate", ["--run_dir={tmp}", "--iw_samples=-1"], ["--iw_samples=-1: expected a non-negative integer"]),
        ("evaluate", ["--run_dir={tmp}", "--output=a/b.json"], ["--output=a/b.json", "expected the name of a file"]),
        ("evaluate", ["--run_dir="], ["evaluate.py: error: --run_dir: expected the folder of a training run\n"]),
        ("evaluate", ["--run_dir=README.md"], ["--run_dir=README.md: is a file; expected the folder of a training"]),
        ("analyze", ["--run_dir={tmp}"], ["--run_dir={tmp}: no run there"]),
        ("analyze", ["--run_dir="], ["analyze.py: error: --run_dir: expected the folder of a training run\n"]),
        ("analyze", [], ["analyze.py: error: --run_dir: expected the folder of a training run\n"]),
        ("analyze", ["--run_dir=README.md"], ["--run_dir=README.md: is a file; expected the folder of a training run"]),
        ("benchmark", ["--config=huge"], ["--config=huge: expected one of small, medium, paper"]),
        ("benchmark", ["--svi_steps=-1"], ["--svi_steps=-1"]),
        ("benchmark", ["--compare=unrolled", "--method=vae"], ["--compare=unrolled: expected --measure=step of --met"]),
        ("benchmark", ["--measure=parts", "--svi_steps=0"], ["--measure=parts: expected --method=sa_vae with --svi_s"]),
        ("benchmark", ["--config=synthetic", "--measure=sampling"], ["--measure=sampling: expected --config of texts"]),
        ("benchmark", ["--report_dir={tmp}", "--peers={tmp}/no"], ["--peers={tmp}/no: expected a file of JSON lines"]),
        (
            "benchmark",
            ["--report_dir={tmp}", "--config=medium"],
            ["--config: has no meaning with --report_dir, which m"],
        ),
        ("benchmark", ["--peers={tmp}/no"], ["--peers={tmp}/no: expected --report_dir besides"]),
        ("reproduce", [], ["error: no --table, no --figure: expected one of --table=1, --table=2, --table=3, --fig"]),
        ("reproduce", ["--table=9"], ["error: --table=9: expected one of --table=1, --table=2, --table=3, --figure=1"]),
        ("reproduce", ["--figure=0"], ["error: --figure=0: expected one of "]),
        (
            "reproduce",
            ["--table=1", "--rows=VAE"],
            ["error: --rows: has no meaning for --table=1; expected it left out"],
        ),
        (
            "reproduce",
            ["--figure=2", "--seeds=2"],
            ["error: --seeds: has no meaning for --figure=2; expected it left out"],
        ),
        ("reproduce", ["--table=1", "--figure=1"], ["error: --table=1 --figure=1: expected one of "]),
        *(
            (
                "reproduce",
                [f"--{of_synthetic}=1", "--data=text", "--corpus=ptb_mikolov", "--runs={tmp}", "--output_dir={tmp}"],
                ["--data=text: Table 1 and Figure 1 are of the synthetic task; expected --data=synthetic"],
            )
            for of_synthetic in ("table", "figure")
        ),
        (
            "reproduce",
            ["--table=1", "--runs={tmp}", "--output_dir=/dev/null"],
            ["error: --output_dir=/dev/null: cannot write there (File exists)\n"],
        ),
        (
            "reproduce",
            ["--figure=1", "--runs=/proc/runs", "--output_dir={tmp}"],
            ["error: --runs=/proc/runs: cannot write there ("],
        ),
        (
            "reproduce",
            ["--table=1", "--runs={tmp}/a[1]", "--output_dir={tmp}"],
            ["error: --runs={tmp}/a[1]/table1/oracle-vae-1: TensorFlow could not read what it writes there; expected"],
        ),
    ],
)
def test_wrong_flags(script, arguments, parts, launcher, tmp_path):
    fill = lambda texts: [text.replace("{tmp}", str(tmp_path)) for text in texts]  # noqa: E731
    assert_one_line(launcher.run(f"bin/{script}.py", *fill(arguments)), 2, f"{script}.py: error: ", *fill(parts))


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"# A comment.\n--no_such_flag=3\n", "Unknown command line flag 'no_such_flag'"),
        (b"--seed=3\n--svi_steps=two\n", "--svi_steps=two: expected an integer"),
        (b"--seed=3\nsvi_steps=3\n", "unexpected argument 'svi_steps=3': flags are written --name=value"),
        (b"", "there is no flag in it"),
        (b"# Comments alone.\n\n", "there is no flag in it"),
        (b"\xff\xfe--seed=3\n", "expected a text file"),
    ],
)
@pytest.mark.parametrize("given", ["--flagfile={path}", "--flagfile {path}"])
def test_what_is_wrong_in_a_flag_file_names_the_file(contents, message, given, launcher, tmp_path):
    path = tmp_path / "some.flags"
    path.write_bytes(contents)
    ended = launcher.run("bin/train.py", "--units=3", *given.format(path=path).split())
    assert_one_line(ended, 2, f"train.py: error: --flagfile={path}: {message}")


def test_no_gpu(launcher, tmp_path, monkeypatch):
    # On a machine that has one, none is visible.
    code = "import os, runpy, sys; os.environ['CUDA_VISIBLE_DEVICES'] = '-1'\n"
    script = tmp_path / "train.py"
    script.write_text(code + f"runpy.run_path({str(ROOT / 'bin/train.py')!r}, run_name='__main__')")
    ended = launcher.run(script, "--device=gpu", f"--run_dir={tmp_path}/run")
    assert_one_line(ended, 2, "--device=gpu: TensorFlow sees no GPU; expected one, or --device=auto or cpu")
    assert not (tmp_path / "run").exists()


def test_a_run_folder_with_other_settings(launcher, run_dir, data_dir):
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    config = runs.tiny(run_dir, data_dir, method="svi", units=5)
    ended = launcher.run("bin/train.py", *runs.arguments(config))
    assert_one_line(ended, 2, f"--run_dir={run_dir} holds a run with other settings (--units is 4 there and 5 here)")
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before


def test_no_encoder(launcher, run_dir):
    ended = launcher.run("bin/evaluate.py", f"--run_dir={run_dir}", "--svi_init=encoder")
    assert_one_line(ended, 2, "--svi_init=encoder: --method=svi has no encoder; expected zero or random")


def test_no_epoch_to_draw(launcher, run_dir):
    ended = launcher.run("bin/analyze.py", f"--run_dir={run_dir}")
    assert_one_line(ended, 2, f"--run_dir={run_dir}: no epoch is finished yet")


def test_what_is_wrong_with_a_run_to_compare_names_the_flag(launcher, run_dir, tmp_path):
    ended = launcher.run("bin/analyze.py", f"--run_dir={run_dir}", f"--compare={run_dir},{tmp_path}")
    assert_one_line(ended, 2, f"--compare={tmp_path}: no run there (no flags.txt)")


@pytest.mark.parametrize("what", [["--table=1", "--seeds=1"], ["--figure=1"]])
def test_runs_with_other_settings_are_refused_before_any_training(what, launcher, data_dir, tmp_path):
    # The last of the runs that both of them need.
    folder = tmp_path / "table1" / "oracle-sa_vae-final-exact-1"
    config = runs.tiny(folder, data_dir, generator="oracle", bound_weights="final")
    run = RunFolder(folder)
    run.write_settings(config)
    run.append_metrics({"epoch": 3, "step": 9})
    for changes, difference in (
        ({"units": 5}, "--units is 4 there and 5 here"),
        ({"num_epochs": 2}, "--num_epochs is 3 there and 2 here"),
    ):
        here = dataclasses.replace(config, run_dir="", **changes)
        arguments = [*runs.arguments(here), f"--runs={tmp_path}", f"--output_dir={tmp_path / 'output'}"]
        ended = launcher.run("bin/reproduce.py", *what, *arguments)
        assert_one_line(
            ended, 2, f"--runs: {folder} holds a run with other settings ({difference}): choose another --runs"
        )
        assert list((tmp_path / "table1").iterdir()) == [folder]


def test_no_checkpoint(launcher, run_dir, tmp_path):
    (tmp_path / "flags.txt").write_bytes((run_dir / "flags.txt").read_bytes())
    ended = launcher.run("bin/evaluate.py", f"--run_dir={tmp_path}")
    assert_one_line(ended, 2, f"--run_dir={tmp_path}: no checkpoint yet; train the run first")


@pytest.mark.parametrize(
    ("script", "flag", "listed"),
    [
        ("train", "--help", "--svi_rate_log_variance"),
        ("train", "--helpfull", "--svi_rate_log_variance"),
        ("evaluate", "--help", "--iw_samples"),
        ("analyze", "--help", "--compare"),
        ("reproduce", "--help", "--output_dir"),
        ("benchmark", "--help", "--repeats"),
    ],
)
def test_help_lists_the_flags(script, flag, listed, launcher):
    ended = launcher.run(f"bin/{script}.py", flag)
    assert listed in ended.stdout
    assert (ended.status, ended.stderr) == (0, "")


def test_a_process_of_its_own_says_no_more():
    # All other tests import what the scripts import ahead: here TensorFlow could talk on the way.
    command = [sys.executable, "bin/train.py", "--svi_steps=-1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert ended.returncode == 2
    assert ended.stderr == "train.py: error: --svi_steps=-1: expected at least 0\n"
