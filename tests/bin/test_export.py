"""Export and scoring by the scripts, and an export where TensorFlow is and this package is not."""

import gzip
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from sa_vae_tf.data import text_files
from sa_vae_tf.evaluation.evaluate import evaluate
from sa_vae_tf.export.manifest import MANIFEST, write_manifest
from sa_vae_tf.training.run_folder import RunFolder
from tests import corpora, runs
from tests.bin.test_errors import assert_one_line
from tests.launcher import ROOT

# What Python runs first where the package is not to be found.
WITHOUT_PACKAGE = "import sys; sys.modules['sa_vae_tf'] = None\n"
BOTH = (1_000, 4_000), (7_000, 10_000)
CLI = str(Path(sys.executable).with_name("saved_model_cli"))


@pytest.fixture(scope="module")
def run_dir(launcher, files, data_dir, tmp_path_factory):
    config = corpora.tiny(tmp_path_factory.mktemp("runs") / "mine", data_dir, files, max_length=14)
    ended = launcher.run("bin/train.py", *runs.arguments(config))
    assert ended.status == 0, ended.stderr
    return config.run_dir


@pytest.fixture(scope="module")
def model(launcher, run_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports") / "mine"
    ended = launcher.run("bin/export.py", f"--run_dir={run_dir}", f"--export_dir={folder}")
    assert (ended.status, ended.stdout, ended.stderr) == (0, f"SavedModel: {folder}/1\n", "")
    assert [path.name for path in folder.iterdir()] == ["1"]
    return folder / "1"


def score(launcher, model, lines, output, *arguments: str):
    return launcher.run("bin/score.py", f"--saved_model={model}", f"--input={lines}", f"--output={output}", *arguments)


def read(output) -> list[dict]:
    return [json.loads(line) for line in Path(output).read_text(encoding="utf-8").splitlines()]


def test_scores_of_a_file_are_those_of_evaluation(launcher, model, run_dir, files, tmp_path):
    lines = Path(files["test_file"])
    ended = score(launcher, model, lines, tmp_path / "out.jsonl", "--iw_samples=3", "--seed=2", "--batch_size=1")
    assert (ended.status, ended.stderr) == (0, "")
    assert re.fullmatch(
        rf"20 lines, [\d,]+ a second; 20 scored, 0 kept with their error\nScores: {tmp_path}/out.jsonl\n", ended.stdout
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
    records = read(tmp_path / "out.jsonl")
    assert [record["line"] for record in records] == list(range(1, 21))
    assert [record["input"] for record in records] == lines.read_text().splitlines()
    results = evaluate(RunFolder(run_dir), seed=2, iw_samples=3, gap_steps=0)
    for name in ("nll_bound", "reconstruction", "nll_iw", "effective_samples"):
        assert np.mean([record[name] for record in records]) == pytest.approx(results[name], rel=1e-5), name
    assert sum(record["tokens"] for record in records) == results["tokens"]


def test_scores_are_there_where_nobody_reads_what_is_printed(launcher, model, tmp_path):
    (tmp_path / "lines.txt").write_text("the cat\n")
    script = tmp_path / "score.py"
    nobody = "import os, sys; reading, writing = os.pipe(); os.close(reading); sys.stdout = open(writing, 'w')\n"
    script.write_text(f"{nobody}import runpy; runpy.run_path({str(ROOT / 'bin/score.py')!r}, run_name='__main__')")
    flags = (f"--saved_model={model}", f"--input={tmp_path}/lines.txt", f"--output={tmp_path}/scores.jsonl")
    assert launcher.run(script, *flags) == (141, "", "")
    assert len(read(tmp_path / "scores.jsonl")) == 1
    for piped, status, line in (
        (">/dev/full", 1, "score.py: error: standard output: No space left on device\n"),
        ("| :", 0, ""),
    ):
        command = f"{sys.executable} {ROOT / 'bin/score.py'} --help {piped}"
        ended = subprocess.run(command, shell=True, capture_output=True, text=True)
        assert (ended.returncode, ended.stderr) == (status, line)


@pytest.mark.parametrize("piped", [False, True])
def test_progress_on_a_terminal(piped, launcher, model, tmp_path):
    (tmp_path / "lines.txt").write_text("the cat\n")
    script = tmp_path / "score.py"
    terminal = "import os, sys; sys.stderr.isatty = lambda: True\n"
    pipe = "reading, writing = os.pipe(); os.write(writing, b'the cat\\n'); os.close(writing); os.dup2(reading, 0)\n"
    run = f"import runpy; runpy.run_path({str(ROOT / 'bin/score.py')!r}, run_name='__main__')"
    script.write_text(terminal + pipe + run)
    source = "/dev/stdin" if piped else tmp_path / "lines.txt"
    flags = (f"--saved_model={model}", f"--input={source}", f"--output={tmp_path}/out.jsonl")
    ended = launcher.run(script, *flags)
    bar = "" if piped else rf"\[{'#' * 30}\] 100%  "
    assert re.fullmatch(rf"\n{bar}1 lines, \d+ a second  \n", ended.stderr), ended.stderr  # A \r is read as \n.
    assert [record["input"] for record in read(tmp_path / "out.jsonl")] == ["the cat"]


def test_malformed_lines_are_kept_in_their_place(launcher, model, run_dir, data_dir, tmp_path):
    right = ["the cat sees", "a dog and a bird", "vögel 日本", "the\u2003bird", "a " + "ö" * 999_997]
    wrong = {
        b"": "empty",
        b" \t": "empty",
        b"the \xff cat": "not UTF-8 (byte 0xff at 4)",
        b"a " * 15: "15 words, more than 14",
        b"x" * 1_000_000: "1,000,000 characters or more",
        b"x" * 9_000_000: "1,000,000 characters or more",  # More than is read at once.
        b"\xc3": "not UTF-8 (byte 0xc3 at 0)",
    }
    lines = [line.encode() for line in right[:2]] + list(wrong) + [line.encode() for line in right[2:]]
    for name, write in (("lines.txt", open), ("lines.txt.gz", gzip.open)):
        with write(tmp_path / name, "wb") as file:
            file.write(b"\xef\xbb\xbf" + b"\r\n".join(lines))  # A byte order mark, and no end of the last line.
    ended = score(launcher, model, tmp_path / "lines.txt", tmp_path / "out.jsonl", "--svi_steps=0")
    assert ended.status == 0
    assert "12 lines" in ended.stdout
    assert "5 scored, 7 kept with their error" in ended.stdout
    told = [f"{tmp_path}/lines.txt: line {i}: {what}" for i, what in enumerate([*wrong.values()][:5], 3)]
    told.append("7 such lines in all")
    assert ended.stderr.splitlines() == [f"score.py: WARNING: {what}" for what in told]
    records = read(tmp_path / "out.jsonl")
    assert [record["line"] for record in records] == list(range(1, 13))
    assert [record["error"] for record in records[2:9]] == list(wrong.values())
    assert [record["input"] for record in records if "error" not in record] == right
    assert records[4]["input"] == "the \\xff cat"
    assert {record["nll_iw"] for record in records if "error" not in record} == {None}  # Not a NaN, which is no JSON.
    assert records[6]["input"] == records[7]["input"] == "x" * 65_536
    # Malformed lines take no part: the others are scored as a file of their own is evaluated.
    (tmp_path / "right.txt").write_text("\n".join(right), encoding="utf-8")
    test_file = str(tmp_path / "right.txt")
    results = evaluate(RunFolder(run_dir), svi_steps=0, iw_samples=0, gap_steps=0, test_file=test_file)
    bounds = [record["nll_bound"] for record in records if "error" not in record]
    assert np.mean(bounds) == pytest.approx(results["nll_bound"], rel=1e-5)
    assert score(launcher, model, tmp_path / "lines.txt.gz", tmp_path / "gz.jsonl", "--svi_steps=0").status == 0
    assert read(tmp_path / "gz.jsonl") == records


def test_noise_is_of_the_place_among_all_that_are_scored(launcher, model, tmp_path):
    (tmp_path / "lines.txt").write_text("\n" + "the cat\n" * 1030)  # More than are read at once, the first one empty.
    shutil.copytree(model, tmp_path / "model")
    (tmp_path / "model/assets.extra/notes.txt").write_text("Of whoever serves it.")
    ended = score(launcher, tmp_path / "model", tmp_path / "lines.txt", tmp_path / "out.jsonl", "--svi_steps=0")
    assert ended.status == 0
    bounds = [record["nll_bound"] for record in read(tmp_path / "out.jsonl")[1:]]
    loaded = tf.saved_model.load(str(model))
    scores = loaded.score(["the cat"] * 1030, svi_steps=0, index=range(1030))
    assert bounds == pytest.approx(scores["nll_bound"].numpy().tolist(), rel=1e-5)
    assert len({*bounds}) > 100


def test_products_are_rounded_where_those_of_the_run_were(launcher, model, tmp_path):
    (tmp_path / "lines.txt").write_text("the cat\n")
    script = tmp_path / "score.py"
    script.write_text(
        "import runpy, tensorflow as tf\n"
        "def load(folder):\n"
        "    print(tf.config.experimental.tensor_float_32_execution_enabled(), flush=True)\n"
        "    raise OSError('not loaded')\n"
        "tf.saved_model.load = load\n"
        f"runpy.run_path({str(ROOT / 'bin/score.py')!r}, run_name='__main__')"
    )
    shutil.copytree(model, tmp_path / "model")
    file = tmp_path / "model/assets/signatures.json"
    for rounds in (True, False):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"tensor_float_32": rounds}))
        write_manifest(tmp_path / "model")
        flags = (f"--saved_model={tmp_path}/model", f"--input={tmp_path}/lines.txt", f"--output={tmp_path}/out.jsonl")
        assert launcher.run(script, *flags).stdout == f"{rounds}\n"


def test_what_is_kept_is_of_one_model_input_and_options(launcher, model, tmp_path):
    for name in ("model", "other"):
        shutil.copytree(model, tmp_path / name)
    (tmp_path / "other/assets.extra/SHA256SUMS").write_text("other checksums")
    lines = tmp_path / "lines.txt"
    script = tmp_path / "score.py"
    script.write_text(
        "import os, pathlib, runpy, sys\n"
        f"module, lines = runpy.run_path({str(ROOT / 'bin/score.py')!r}), pathlib.Path({str(lines)!r})\n"
        "module['flags'].FLAGS(['', f'--input={lines}'])\n"
        f"def name(model='model', seed=1): return module['identity'](pathlib.Path({str(tmp_path)!r}, model),"
        " {'seed': seed})\n"
        "def written(text, time): lines.write_text(text); os.utime(lines, (time, time))\n"
        "written('the cat', 5); names = [name(), name(), name('other'), name(seed=2)]\n"
        "written('the dog', 6); names.append(name())\n"
        "written('the bird', 5); names.append(name())\n"
        "lines.rename(lines.parent / 'a.txt'); lines.symlink_to('a.txt'); names.append(name())\n"
        "print(*names)"
    )
    ended = launcher.run(script)
    first, again, *others = ended.stdout.split()
    assert (first, ended.stderr) == (again, "")
    assert len({first, *others}) == 6


def test_the_longest_line_is_that_of_evaluation():
    [limit] = re.findall(r"^MAX_CHARACTERS = ([0-9_]+)$", (ROOT / "bin/score.py").read_text(), re.MULTILINE)
    assert int(limit) == text_files.MAX_CHARACTERS


def test_checksums_of_every_file(model):
    files = {path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()}
    assert {line[66:] for line in (model / MANIFEST).read_text().splitlines()} == files - {MANIFEST}


def test_a_killed_scoring_goes_on(launcher, model, tmp_path):
    rng = random.Random(1)
    sentences = [" ".join(rng.choices(corpora.WORDS, k=rng.randint(1, 14))) for _ in range(200)]
    sentences[::50] = [""] * 4
    (tmp_path / "lines.txt").write_text("\n".join(sentences), encoding="utf-8")
    common = (f"--saved_model={model}", f"--input={tmp_path}/lines.txt", f"--output={tmp_path}/out.jsonl")
    for end, status in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)):
        written = {path: path.stat().st_size for path in tmp_path.glob(".*.partial")}
        process = launcher.start("bin/score.py", *common, "--batch_size=1")
        limit = time.monotonic() + 60
        while not any(path.stat().st_size > written.get(path, 0) + 3000 for path in tmp_path.glob(".*.partial")):
            assert time.monotonic() < limit
            time.sleep(0.002)
        if end == signal.SIGKILL:
            os.kill(process, signal.SIGSTOP)  # Otherwise it could end before the other one begins.
            other = launcher.run("bin/score.py", *common, "--batch_size=1")
            assert_one_line(other, 2, f"--output={tmp_path}/out.jsonl: another process is writing it")
        os.kill(process, end)
        ended = launcher.wait(process)
        assert ended.status == status
        assert ended.stderr == ("" if status < 0 else "score.py: interrupted; the same command goes on\n")
        assert not (tmp_path / "out.jsonl").exists()
        (partial,) = tmp_path.glob(".*.partial")
        with partial.open("ab") as file:
            file.write(b'{"line": 99, "inp')  # As if the last line had been cut.
    before = sum(line.endswith(b"\n") for line in partial.read_bytes().splitlines(keepends=True))
    assert 0 < before < 200
    ended = launcher.run("bin/score.py", *common, "--batch_size=1")
    assert ended.status == 0
    assert "200 lines" in ended.stdout
    assert "196 scored, 4 kept" in ended.stdout
    assert not list(tmp_path.glob(".*"))
    undisturbed = score(launcher, model, tmp_path / "lines.txt", tmp_path / "whole.jsonl", "--batch_size=1")
    assert undisturbed.status == 0
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("loaded", "line"),
    [("stop()", "interrupted\n"), ("types.SimpleNamespace(score=stop)", "interrupted; the same command goes on\n")],
    ids=["before anything is scored", "while it scores"],
)
def test_what_is_said_of_a_stop(loaded, line, launcher, model, tmp_path):
    (tmp_path / "lines.txt").write_text("the cat\n")
    script = tmp_path / "score.py"
    script.write_text(
        "import os, runpy, signal, types, tensorflow as tf\n"
        "def stop(*_, **__): os.kill(os.getpid(), signal.SIGINT)\n"
        f"tf.saved_model.load = lambda folder: {loaded}\n"
        f"runpy.run_path({str(ROOT / 'bin/score.py')!r}, run_name='__main__')"
    )
    flags = (f"--saved_model={model}", f"--input={tmp_path}/lines.txt", f"--output={tmp_path}/out.jsonl")
    assert launcher.run(script, *flags) == (130, "", f"score.py: {line}")


def test_a_stop_within_the_first_batches_keeps_those_that_are_scored(launcher, model, tmp_path):
    sentences = [" ".join(["the"] * (1 + 5 * i % 14)) for i in range(12)]
    sentences[3] = ""
    text = tmp_path / "lines.txt"
    text.write_text("\n".join(sentences))
    whole, output = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    flags = ("--batch_size=2", "--svi_steps=1")
    # Not at the end of a batch: of the six lines that there is room for, one is without figures, and five make two.
    assert score(launcher, model, text, whole, *flags).status == 0
    room = sum(sorted(map(len, whole.read_bytes().splitlines(keepends=True)))[:6]) + 150
    ended = launcher.run(
        "bin/score.py",
        f"--saved_model={model}",
        f"--input={text}",
        f"--output={output}",
        *flags,
        limits={"FSIZE": room},
    )
    assert_one_line(ended, 1, f"{output}: File too large; the same command goes on")
    (partial,) = tmp_path.glob(".*.partial")
    kept = partial.read_bytes().splitlines(keepends=True)
    assert [json.loads(line)["line"] for line in kept[:3]][0] == 4  # Those that are not scored come first.
    marked = [line.replace(b'"tokens": ', b'"tokens": 1') for line in kept[:5]]  # Whoever reads them back has them so.
    partial.write_bytes(b"".join(marked) + kept[5][:20])
    # Those that are kept serve a batch of another size too.
    assert score(launcher, model, text, output, "--batch_size=4", "--svi_steps=1").status == 0
    records, expected = read(output), read(whole)
    assert [record["line"] for record in records] == list(range(1, 13))
    differing = [r["line"] for r, e in zip(records, expected, strict=True) if r.get("tokens") != e.get("tokens")]
    assert differing == sorted(json.loads(line)["line"] for line in kept[1:5])
    bounds = [[record.get("nll_bound", 0) for record in some] for some in (records, expected)]
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-5)


def test_what_is_piped_goes_on_where_its_lines_are_the_same(launcher, model, tmp_path):
    name = f".out.jsonl.{'?' * 16}.partial"
    flags = (f"--saved_model={model}", "--input=/dev/stdin", f"--output={tmp_path}/out.jsonl", "--batch_size=1")
    script = tmp_path / "score.py"
    run = f"import runpy; runpy.run_path({str(ROOT / 'bin/score.py')!r}, run_name='__main__')"
    for text, limits, status in (("a\nthe cat\n", {"FSIZE": 250}, 1), ("a\na dog\n", {}, 0)):
        pipe = f"import os; r, w = os.pipe(); os.write(w, {text.encode()!r}); os.close(w); os.dup2(r, 0)\n"
        script.write_text(pipe + run)
        assert launcher.run(script, *flags, limits=limits).status == status
        assert len(list(tmp_path.glob(name))) == status
    assert [record["input"] for record in read(tmp_path / "out.jsonl")] == ["a", "a dog"]


def test_an_input_that_is_damaged_further_on_leaves_nothing(launcher, model, tmp_path):
    # Of lines that do not compress, so that the first chunk is whole.
    rng = random.Random(3)
    text = "\n".join("".join(rng.choices("abcdefghij", k=200)) for _ in range(1200))
    (tmp_path / "lines.gz").write_bytes(gzip.compress(text.encode())[:-9000])
    ended = score(launcher, model, tmp_path / "lines.gz", tmp_path / "out.jsonl")
    assert_one_line(ended, 2, f"--input={tmp_path}/lines.gz: damaged gzip file, after line ")
    assert int(re.findall(r"after line ([\d,]+)", ended.stderr)[0].replace(",", "")) > 1024
    assert [path.name for path in tmp_path.iterdir()] == ["lines.gz"]


def test_scores_that_are_not_gone_on_with_are_named(launcher, model, files, tmp_path):
    other = tmp_path / f".out.jsonl.{'0' * 16}.partial"
    other.write_text("scores\n")
    ended = score(launcher, model, files["test_file"], tmp_path / "out.jsonl", "--svi_steps=0")
    assert ended.status == 0
    assert ended.stderr.startswith(
        f"score.py: WARNING: {other}: scores of another input or with other options, not gone"
    )
    assert other.read_text() == "scores\n"


def test_a_batch_that_memory_has_no_room_for(launcher, model, tmp_path):
    (tmp_path / "lines.txt").write_text("the cat\n")
    script = tmp_path / "score.py"
    script.write_text(
        "import runpy, types, tensorflow as tf\n"
        "def score(*_, **__): raise tf.errors.ResourceExhaustedError(None, None, 'OOM when allocating tensor')\n"
        "tf.saved_model.load = lambda folder: types.SimpleNamespace(score=score)\n"
        f"runpy.run_path({str(ROOT / 'bin/score.py')!r}, run_name='__main__')"
    )
    ended = launcher.run(
        script, f"--saved_model={model}", f"--input={tmp_path}/lines.txt", f"--output={tmp_path}/out.jsonl"
    )
    assert_one_line(ended, 1, "score.py: error: not enough memory for --batch_size=64; expected a smaller one, which g")
    assert {path.name for path in tmp_path.iterdir()} == {"lines.txt", "score.py"}


def test_a_file_that_is_there_at_the_end_stays(launcher, model, tmp_path):
    (tmp_path / "lines.txt").write_text("the cat\n" * 3)
    output = tmp_path / "out.jsonl"
    script = tmp_path / "score.py"
    # As another process would, when all is scored.
    script.write_text(
        "import os, pathlib, runpy\nfsync = os.fsync\n"
        f"os.fsync = lambda number: (fsync(number), pathlib.Path({str(output)!r}).write_text('precious'))\n"
        f"runpy.run_path({str(ROOT / 'bin/score.py')!r}, run_name='__main__')"
    )
    ended = launcher.run(script, f"--saved_model={model}", f"--input={tmp_path}/lines.txt", f"--output={output}")
    (partial,) = tmp_path.glob(".*.partial")
    assert_one_line(ended, 1, f"{output}: is there by now; what was scored is in {partial}")
    assert output.read_text() == "precious"
    assert len(read(partial)) == 3


def test_where_the_package_is_not(model, files, tmp_path):
    lines = Path(files["test_file"]).read_text().splitlines()
    client = WITHOUT_PACKAGE + (
        "import json, tensorflow as tf\n"
        f"model = tf.saved_model.load({str(model)!r})\n"
        f"scores = model.score(tf.constant({lines!r}))\n"
        "default = model.signatures['serving_default']\n"
        f"same = default(sentences=tf.constant({lines!r}), svi_steps=tf.constant(2), iw_samples=tf.constant(0),\n"
        "               seed=tf.constant(0), index=tf.constant([], tf.int64))\n"
        "print(json.dumps([scores['nll_bound'].numpy().tolist(), same['nll_bound'].numpy().tolist()]))\n"
    )
    ended = subprocess.run([sys.executable, "-c", client], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "WARNING:absl" not in ended.stderr
    attribute, signature = json.loads(ended.stdout)
    assert attribute == signature
    script = f"import runpy; runpy.run_path({str(ROOT / 'bin/score.py')!r}, run_name='__main__')"
    command = [sys.executable, "-c", WITHOUT_PACKAGE + script]
    command += [f"--saved_model={model}", f"--input={files['test_file']}", "--output=out.jsonl"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len(read(tmp_path / "out.jsonl")) == len(lines)


def test_saved_model_cli(launcher, model):
    shown = launcher.run(CLI, "show", f"--dir={model}", "--all")
    assert shown.status == 0
    for name in ("score", "encode", "reconstruct", "generate", "serving_default"):
        assert f"signature_def['{name}']" in shown.stdout
    common = (f"--dir={model}", "--tag_set=serve", "--signature_def=serving_default")
    ended = launcher.run(CLI, "run", *common, '--input_exprs=sentences=["the cat", "a dog"]')
    assert ended.status == 0, ended.stderr
    assert "Result for output key nll_bound:" in ended.stdout
    assert "Result for output key tokens:\n[3 3]" in ended.stdout
    scanned = launcher.run(CLI, "scan", f"--dir={model}", "--tag_set=serve")
    assert "does not contain the default denylisted ops" in scanned.stdout


def test_an_asset_outside_the_folder_is_not_read(launcher, model, files, tmp_path):
    content = SavedModel.FromString((model / "saved_model.pb").read_bytes())
    (graph,) = content.meta_graphs
    assert {asset.filename for asset in graph.asset_file_def} == {"vocabulary.txt"}
    shutil.copytree(model, tmp_path / "model")
    (tmp_path / "secret.txt").write_bytes((model / "assets/vocabulary.txt").read_bytes())
    message = f"--saved_model={tmp_path}/model: asset "
    for name in ("../../secret.txt", str(tmp_path / "secret.txt"), "linked.txt"):
        (tmp_path / "model/assets/linked.txt").unlink(missing_ok=True)
        (tmp_path / "model/assets/linked.txt").symlink_to(tmp_path / "secret.txt")
        for asset in graph.asset_file_def:
            asset.filename = name
        (tmp_path / "model/saved_model.pb").write_bytes(content.SerializeToString())
        write_manifest(tmp_path / "model")
        ended = score(launcher, tmp_path / "model", files["test_file"], tmp_path / "out.jsonl")
        assert_one_line(ended, 2, message + f"{name!r} is not in its folder")


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("export", ["--export_dir={tmp}/new"], "--run_dir: expected the folder of a training run"),
        ("export", ["--run_dir={tmp}", "--export_dir={tmp}/new"], "--run_dir={tmp}: no run there"),
        ("export", ["--run_dir={empty}", "--export_dir={tmp}/new"], "--run_dir={empty}: no checkpoint yet; train"),
        ("export", ["--run_dir={run}"], "--export_dir: expected a folder for the SavedModel"),
        ("export", ["--run_dir={run}", "--export_dir={exports}"], "--export_dir={exports}: version 1 is there already"),
        ("export", ["--run_dir={run}", "--export_dir=/dev/null"], "--export_dir=/dev/null: cannot write there (File e"),
        ("export", ["--run_dir={run}", "--export_dir={tmp}/a[1]"], "--export_dir={tmp}/a[1]: TensorFlow could not rea"),
        ("export", ["--run_dir={run}", "--export_dir={tmp}/new", "--version=0"], "--version=0: expected a positive"),
        ("score", [], "--saved_model: expected an exported model; --input: expected what it scores; --output: exp"),
        ("score", ["--saved_model={tmp}", "--input={lines}"], "--output: expected a new file for the scores"),
        (
            "score",
            ["--saved_model=~/no", "--input={lines}", "--output={tmp}/o"],
            "--saved_model={home}/no: no exported model there; expected the folder of a version",
        ),
        (
            "score",
            ["--saved_model={exports}", "--input={lines}", "--output={tmp}/o"],
            "--saved_model={exports}: no exported model there; expected the folder of a version",
        ),
        (
            "score",
            ["--saved_model={model}", "--input={tmp}/no", "--output={tmp}/o"],
            "--input={tmp}/no: cannot be read (No such file",
        ),
        (
            "score",
            ["--saved_model={model}", "--input={lines}", "--output={lines}"],
            "--output={lines}: is there already; expected the name of a new file",
        ),
        (
            "score",
            ["--saved_model={model}", "--input={lines}", "--output={tmp}/link"],
            "--output={tmp}/link: is there already; expected the name of a new file",
        ),
        (
            "score",
            ["--saved_model={model}", "--input={lines}", "--output={tmp}"],
            "--output={tmp}: expected a file in a folder",
        ),
        ("score", ["--saved_model={model}", "--svi_steps=-1"], "--svi_steps=-1: expected an integer in the range [0, "),
        ("score", ["--saved_model={model}", "--iw_samples=abc"], "--iw_samples=abc: expected an integer in the range"),
        ("score", ["--saved_model={model}", "--svi_steps=4294967299"], "--svi_steps=4294967299: expected an integer"),
        ("score", ["--saved_model={model}", "more"], "unexpected argument 'more': flags are written --name=value"),
        (
            "score",
            ["--saved_model={model}", "--input={tmp}/x.gz", "--output={tmp}/o"],
            "--input={tmp}/x.gz: damaged gzip file, after line 0 (Not a gzipped file",
        ),
        ("score", ["--saved_model={model}", "--input={tmp}/x.npy", "--output={tmp}/o"], "--input={tmp}/x.npy: an"),
        (
            "score",
            ["--saved_model={model}", "--input={tmp}/16.txt", "--output={tmp}/o"],
            "--input={tmp}/16.txt: UTF-16; expected lines of text in UTF-8, or a .gz of them",
        ),
        ("score", ["--saved_model={model}", "--input={tmp}/be.txt", "--output={tmp}/o"], "--input={tmp}/be.txt: UTF"),
        (
            "score",
            ["--saved_model={model}", "--input={tmp}/cr.txt", "--output={tmp}/o"],
            "--input={tmp}/cr.txt: its lines end by a carriage return alone; expected line feeds",
        ),
    ],
)  # fmt: skip
def test_wrong_commands(script, arguments, message, launcher, run_dir, model, files, tmp_path):
    (tmp_path / "x.gz").write_bytes(b"plain text")
    (tmp_path / "cr.txt").write_bytes(b"the cat\rthe dog\r")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "16.txt").write_text("the cat", encoding="utf-16")
    (tmp_path / "be.txt").write_text("\ufeffthe cat", encoding="utf-16-be")
    np.save(tmp_path / "x.npy", np.zeros(3))
    (tmp_path / "empty").mkdir()
    for name in ("flags.txt", "vocabulary.txt"):
        shutil.copy(Path(run_dir) / name, tmp_path / "empty")
    names = {
        "tmp": tmp_path, "run": run_dir, "model": model, "exports": model.parent, "lines": files["test_file"],
        "empty": tmp_path / "empty", "home": Path.home(),
    }  # fmt: skip
    ended = launcher.run(f"bin/{script}.py", *(argument.format(**names) for argument in arguments))
    assert_one_line(ended, 2, f"{script}.py: error: {message.format(**names)}")
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob("*o")) + list(tmp_path.glob(".o.*"))


def test_two_exports_of_one_version_at_once(launcher, run_dir, tmp_path):
    command = ["bin/export.py", f"--run_dir={run_dir}", f"--export_dir={tmp_path}"]
    processes = [launcher.start(*command) for _ in range(2)]
    right, wrong = sorted((launcher.wait(process) for process in processes), key=lambda ended: ended.status)
    assert (right.status, right.stdout, right.stderr) == (0, f"SavedModel: {tmp_path}/1\n", "")
    assert_one_line(wrong, 2, f"--export_dir={tmp_path}: version 1 is there already; expected another --version")
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


@pytest.mark.parametrize("bytes_of_file", [500, 20_000])
def test_a_full_disk_keeps_nothing_of_an_export(bytes_of_file, launcher, run_dir, tmp_path):
    command = ["bin/export.py", f"--run_dir={run_dir}", f"--export_dir={tmp_path}"]
    assert_one_line(launcher.run(*command, limits={"FSIZE": bytes_of_file}), 1, "export.py: error: the disk is full")
    assert not list(tmp_path.iterdir())
    assert launcher.run(*command).status == 0


def test_a_run_of_another_kind(launcher, data_dir, tmp_path):
    (tmp_path / "flags.txt").write_text("\n".join(runs.arguments(runs.tiny(tmp_path, data_dir))))
    ended = launcher.run("bin/export.py", f"--run_dir={tmp_path}", f"--export_dir={tmp_path}/export")
    assert_one_line(ended, 2, f"--run_dir={tmp_path}: a run of --data=synthetic; expected one of --data=text or image")


def test_help_lists_the_flags(launcher):
    for script, flag in (("export", "--export_dir"), ("score", "--iw_samples")):
        ended = launcher.run(f"bin/{script}.py", "--help")
        assert flag in ended.stdout
        assert (ended.status, ended.stderr) == (0, "")


@pytest.mark.slow
def test_ten_thousand_sentences_in_constant_memory(launcher, files, data_dir, tmp_path):
    # A model of some size, so that what a batch takes would show if it were kept.
    config = corpora.tiny(
        tmp_path / "run", data_dir, files, units=64, embedding_dim=32, latent_dim=8, svi_steps=5, num_epochs=0
    )
    assert launcher.run("bin/train.py", *runs.arguments(config)).status == 0
    model = tmp_path / "export" / "1"
    assert launcher.run("bin/export.py", f"--run_dir={config.run_dir}", f"--export_dir={model.parent}").status == 0
    rng = random.Random(2)
    with (tmp_path / "lines.txt").open("w") as file:
        for _ in range(10_000):
            file.write(" ".join(rng.choices(corpora.WORDS, k=rng.randint(1, 60))) + "\n")
    for steps in (0, 5):
        assert_constant_memory(model, tmp_path / "lines.txt", steps)


def assert_constant_memory(model, file: Path, steps: int) -> None:
    """Scores a file of 10,000 examples, prints throughput and memory, and asserts that the latter does not grow."""
    output = file.with_suffix(f".{steps}.jsonl")
    command = [sys.executable, str(ROOT / "bin/score.py"), f"--saved_model={model}", f"--svi_steps={steps}"]
    command += [f"--input={file}", f"--output={output}"]
    memory: dict[int, int] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=file.parent) as process:
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            written = sum(path.read_bytes().count(b"\n") for path in file.parent.glob(f".{output.name}.*"))
            if resident := re.search(r"VmRSS:\s+(\d+) kB", status):
                memory[written] = max(memory.get(written, 0), int(resident[1]))
            time.sleep(0.2)
        print(f"\n{steps} refinement steps: {process.stdout.read()}", end="")
    assert process.returncode == 0
    assert len(read(output)) == 10_000
    early, late = (max(value for lines, value in memory.items() if low <= lines < high) for low, high in BOTH)
    print(f"resident MiB by lines written: { {lines: value // 1024 for lines, value in sorted(memory.items())} }")
    # The first chunks meet the longest sentences already; after them what comes and goes is the allocator's.
    assert late < 1.1 * early
