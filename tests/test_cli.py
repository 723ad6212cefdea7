"""How scripts end: exit status and one line on standard error, or a traceback where the fault is ours."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time
import weakref

import pytest
import tensorflow as tf

from sa_vae_tf import cli
from tests.launcher import ROOT

SCRIPT = """
import errno
import signal
import tensorflow as tf
from absl import flags
from sa_vae_tf import cli
from sa_vae_tf.errors import TrainingDiverged, UserError

CODE = flags.DEFINE_string("code", "", "What the script does.")

def fail_as_tensorflow_datasets_does():
    try:
        raise tf.errors.ResourceExhaustedError(None, None, "some.tfrecord; No space left on device")
    except tf.errors.OpError as error:
        raise RuntimeError("Failed to finalize writing") from error

def read_damaged_data():
    def examples():
        yield 1
        raise UserError("shard: record 3 is damaged")

    list(tf.data.Dataset.from_generator(examples, output_signature=tf.TensorSpec([], tf.int32)).prefetch(2))

cli.run(lambda: exec(compile(CODE.value, "code", "exec")))
"""
FULL = "the disk is full; what was written before is whole: free some space, give the same command"


@pytest.fixture
def run(launcher, tmp_path):
    script = tmp_path / "some_script.py"
    script.write_text(SCRIPT)
    return lambda *arguments, **options: launcher.run(script, *arguments, **options)


def test_done(run):
    assert run("--code=print('result')") == (0, "result\n", "")


@pytest.mark.parametrize("closed", ["", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed(closed, tmp_path):
    script = tmp_path / "some_script.py"
    code = "[print(sys.stdout.isatty()), open('made', 'w').write(str(sys.stdin and sys.stdin.fileno()))]"
    script.write_text(
        f"import sys\nsys.path.append({str(ROOT)!r})\nfrom sa_vae_tf import cli\ncli.run(lambda: {code})\n"
    )
    ended = subprocess.run(
        f"{sys.executable} some_script.py {closed}", shell=True, capture_output=True, text=True, cwd=tmp_path
    )
    shown = "" if ">&-" in closed.split() else "False\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, shown, "")
    assert (tmp_path / "made").read_text() in ("0", "None")  # And nothing that was printed.


def test_paths_that_a_terminal_cannot_show(run):
    ended = run("--code=print('r\u00e9sultat')", environment={"PYTHONIOENCODING": "ascii"})
    assert (ended.status, ended.stderr) == (0, "")
    ended = subprocess.run(
        [sys.executable, "-c", "from sa_vae_tf import cli; cli.run(lambda: print('r\u00e9sultat'))"],
        capture_output=True, text=True, cwd=ROOT, env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "r\\xe9sultat\n", "")


@pytest.mark.parametrize(
    ("code", "status", "line"),
    [
        ("print('result')", 1, "standard output: No space left on device"),
        ("print('result', flush=True)", 1, FULL),
        ("[print('result'), exec('raise UserError(\"some\")')]", 2, "some"),
    ],
)
def test_standard_output_on_a_full_disk(code, status, line, tmp_path):
    script = tmp_path / "some_script.py"
    script.write_text(f"from sa_vae_tf import cli\nfrom sa_vae_tf.errors import UserError\ncli.run(lambda: {code})\n")
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, script]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=buffered)
    assert (ended.returncode, ended.stderr) == (status, f"some_script.py: error: {line}\n")


def test_no_temporary_folder():
    ended = subprocess.run(
        [sys.executable, "bin/evaluate.py"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("evaluate.py: error: No usable temporary directory found in [")
    assert ended.stderr.endswith("]; free some space, or set TMPDIR to a folder that can be written\n")


def test_too_few_open_files(run):
    ended = run("--code=print('result')", limits={"NOFILE": 20})
    expected = "some_script.py: error: at most 20 open files are allowed (ulimit -n); expected 64\n"
    assert ended == (1, "", expected)
    assert run("--code=print('result')", limits={"NOFILE": 64}).status == 0


@pytest.mark.parametrize(
    ("code", "status", "line"),
    [
        ("raise UserError('--seed=x: expected y')", 2, "--seed=x: expected y"),
        ("raise UserError('first\\n  second')", 2, "first second"),
        ("raise TrainingDiverged('21 steps were skipped')", 3, "21 steps were skipped"),
        ("raise OSError(errno.ENOSPC, 'No space')", 1, FULL),
        ("raise OSError(errno.EDQUOT, 'Quota', 'a/file')", 1, FULL),
        ("raise OSError(errno.EFBIG, 'Too large')", 1, FULL),
        ("raise tf.errors.ResourceExhaustedError(None, None, 'ckpt-3; No space left on device')", 1, FULL),
        ("raise tf.errors.OutOfRangeError(None, None, 'events; File too large\\n\\tFailed to flush')", 1, FULL),
        (f"raise tf.errors.UnknownError(None, None, 'x; {os.strerror(122)}')", 1, FULL),
        ("fail_as_tensorflow_datasets_does()", 1, FULL),
        ("read_damaged_data()", 2, "shard: record 3 is damaged"),
        ("open('/no/such/file')", 1, "/no/such/file: No such file or directory"),
    ],
)
def test_what_the_user_can_mend_is_one_line(run, code, status, line):
    assert run(f"--code={code}") == (status, "", f"some_script.py: error: {line}\n")


# A stream with a buffer, whatever PYTHONUNBUFFERED says.
UNREAD = """
import os, sys
reading, writing = os.pipe()
os.close(reading)
sys.stdout = open(writing, "w")
print("result")
"""


@pytest.mark.parametrize(
    ("code", "status", "line"),
    [
        ("", 141, ""),
        ("print(end='', flush=True); os._exit(0)", 141, ""),
        ("raise UserError('--seed=x: expected y')", 2, "some_script.py: error: --seed=x: expected y\n"),
    ],
)
def test_output_that_nobody_reads_ends_a_program_without_a_word(run, code, status, line):
    assert run(f"--code={UNREAD}{code}") == (status, "", line)


def test_an_interrupted_program_says_so(run):
    assert run("--code=print('so far'); signal.raise_signal(signal.SIGINT)") == (
        130,
        "so far\n",
        "some_script.py: interrupted\n",
    )


def test_what_led_to_an_error_may_be_a_full_disk():
    def led(first, then):
        try:
            try:
                raise first
            except Exception:
                raise then  # noqa: B904
        except Exception as error:
            return error

    full, other = OSError(errno.ENOSPC, "No space"), OSError(errno.EIO, "Input/output error")
    assert cli._is_disk_full(led(full, RuntimeError("while it closed")))
    assert cli._is_disk_full(led(led(full, KeyError()), RuntimeError()))
    assert not cli._is_disk_full(led(other, RuntimeError(os.strerror(errno.ENOSPC))))
    assert not cli._is_disk_full(None)


def test_errors_of_the_user_that_tensorflow_has_wrapped():
    text = "Traceback:\n  File\nsa_vae_tf.errors.UserError: shard: record 3 is damaged\n\n  [[node]]"
    assert cli._of_user_in(tf.errors.UnknownError(None, None, text)) == "shard: record 3 is damaged"
    assert cli._of_user_in(RuntimeError(text)) == ""
    for other in (text.replace("\nsa", "\n  sa"), text.replace("UserError", "OtherError")):
        assert cli._of_user_in(tf.errors.UnknownError(None, None, other)) == ""


@pytest.mark.parametrize(
    ("given", "file"),
    [
        ("seed", "b"),
        ("seed=3", "b"),
        ("seeds", "a"),
        ("see", ""),
        ("seed=", ""),
        ("a.c", ""),
        ("units", "a"),
        ("x", ""),
    ],
)
def test_the_flag_file_that_a_flag_is_in(given, file):
    files = {"a": ["--seeds=3", "-units", "--abc=x"], "b": ["--seed=3", "--units=2"]}
    assert cli._origin(given, files) == (f"--flagfile={file}: " if file else "")


@pytest.mark.parametrize(
    "code",
    [
        "raise ValueError('a fault of ours')",
        "raise tf.errors.ResourceExhaustedError(None, None, 'OOM when allocating tensor')",
        "raise OSError(errno.EIO, 'Input/output error')",
    ],
)
def test_all_else_shows_where_it_came_from(run, code):
    ended = run(f"--code={code}")
    assert ended.status == 1
    assert "Traceback" in ended.stderr
    assert FULL not in ended.stderr


def test_log_lines_name_the_script_and_their_level(run):
    code = "import logging; logging.getLogger('sa_vae_tf.x').warning('%s is damaged', 'ckpt-3')"
    assert run(f"--code={code}") == (0, "", "some_script.py: WARNING: ckpt-3 is damaged\n")


def test_what_an_error_holds_is_let_go_before_the_end():
    held = []

    def fail():
        pipeline = tf.data.Dataset.range(3)
        held.append(weakref.ref(pipeline))
        raise KeyError

    with pytest.raises(KeyError) as raised, cli._released():
        fail()
    assert raised.tb is not None
    assert held[0]() is None


@pytest.mark.parametrize("ignored", [False, True])
def test_interrupted_while_it_imports(ignored, tmp_path):
    # In TensorFlow's place, a module that says when it is imported and takes the time that TensorFlow takes.
    (tmp_path / "tensorflow.py").write_text("import time\nopen('begun', 'w')\ntime.sleep(2)\n")
    # Not as inherited: a shell starts what runs in the background with SIGINT ignored.
    handler = "SIG_IGN" if ignored else "default_int_handler"
    signals = f"import signal; signal.signal(signal.SIGINT, signal.{handler})\n"
    (tmp_path / "some_script.py").write_text(signals + "from sa_vae_tf import cli\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    process = subprocess.Popen(
        [sys.executable, "some_script.py"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1] == ("" if ignored else "some_script.py: interrupted\n")
    assert process.returncode == (0 if ignored else 130)
