"""Scores a file line by line: python bin/score.py --saved_model=exports/mine/1 --input=lines.txt --output=out.jsonl.

Each line of the input, .gz too, becomes a line of JSON: its number, its text, and its figures or the `error` that kept
it from being scored. Sentences are numbered as bin/evaluate.py numbers them, so that their noise is the same. What is
scored is kept in a hidden file beside the output until that is whole: after a stop, the same command goes on.

This file needs TensorFlow and nothing else of its repository.
"""

import contextlib
import fcntl
import gzip
import hashlib
import itertools
import json
import math
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

from absl import app, flags, logging

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
_standard_error = os.dup(2)  # TensorFlow's first notes heed no setting.
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
import tensorflow as tf  # noqa: E402
from google.protobuf.message import DecodeError  # noqa: E402
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel  # noqa: E402

os.dup2(_standard_error, 2)

SAVED_MODEL = flags.DEFINE_string("saved_model", "", "Folder of a version of an exported model, as exports/mine/1.")
INPUT = flags.DEFINE_string("input", "", "Text in UTF-8, a sentence a line, words separated by spaces; .gz too.")
OUTPUT = flags.DEFINE_string("output", "", "File of the JSON lines, which must not be there yet.")
flags.DEFINE_integer("svi_steps", None, "Refinement steps; default: as in training.", lower_bound=0)
flags.DEFINE_integer("iw_samples", None, "Samples of the importance-weighted NLL; default: none.", lower_bound=0)
flags.DEFINE_integer("seed", None, "Seed of all noise; default: 0.", lower_bound=0, upper_bound=2**31 - 1)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Sentences scored at once; figures do not depend on it.", 1)
OPTIONS = ("svi_steps", "iw_samples", "seed")

# Batches that are read together and sorted, so that each is of sentences of like length.
BATCHES_AT_ONCE = 16
# A line that long is not scored, and its beginning alone is kept.
MAX_BYTES = 65_536
KEPT_BYTES = 1_000
REPORTED_ERRORS = 5
FAILED, WRONG_INPUT, INTERRUPTED = 1, 2, 130


class WrongInput(ValueError):
    """What the user can mend; its message is one line."""


class Line(NamedTuple):
    """A line of the input, its number from 1 on, the number of its words, and why it is not scored, or nothing."""

    number: int
    text: str
    words: int
    error: str


def main(argv: list[str]) -> None:
    logging.set_verbosity(logging.ERROR)
    try:
        score_file()
    except WrongInput as error:
        fail(str(error), WRONG_INPUT)
    except KeyboardInterrupt:
        fail("interrupted; the same command goes on", INTERRUPTED)
    except OSError as error:
        fail(f"{error.filename or OUTPUT.value}: {error.strerror or error}; the same command goes on", FAILED)


def score_file() -> None:
    """Scores the input, from where the same command stopped before."""
    output, folder = Path(OUTPUT.value), Path(SAVED_MODEL.value)
    if not OUTPUT.value or output.is_dir() or not os.access(output.parent, os.W_OK | os.X_OK):
        raise WrongInput(f"--output={OUTPUT.value}: expected a file in a folder that can be written")
    if output.exists():
        raise WrongInput(f"--output={output}: is there already; expected the name of a new file")
    about = read_description(folder)
    options = {name: flags.FLAGS[name].value for name in OPTIONS if flags.FLAGS[name].value is not None}
    inputs = about["signatures"]["score"]["inputs"]
    for name in options.keys() - inputs.keys():
        raise WrongInput(f"--{name}={options[name]}: a model of --method={about['method']} has no such input")
    open_input().close()
    name, model = identity(folder, options), load(folder)

    def score(texts: list[str], places: list[int]) -> dict[str, tf.Tensor]:
        index = {"index": tf.constant(places, tf.int64)} if "index" in inputs else {}
        return model.score(tf.constant(texts), **index, **options)

    with open_input() as file, open_partial(output, name) as partial:
        tally, at_once = Tally(file), BATCHES_AT_ONCE * BATCH_SIZE.value
        tally.resume(partial, at_once)
        rest = itertools.islice(read_lines(file, about["max_length"]), tally.lines, None)
        while lines := list(itertools.islice(rest, at_once)):
            for record in score_lines(lines, tally.scored, score):
                partial.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
                tally.add(record)
            partial.flush()
            os.fsync(partial.fileno())
            tally.show()
        Path(partial.name).replace(output)
    tally.report()
    print(f"Scores: {output}")


def score_lines(lines: list[Line], scored: int, score: Callable) -> list[dict[str, Any]]:
    """Returns a record for each line, having scored those of like length together.

    Args:
      lines: one after the other.
      scored: number of lines before them that were scored.
      score: function of texts and their places among all that are scored, to figures by name.
    """
    records: list[dict[str, Any]] = [{"line": line.number, "input": line.text} for line in lines]
    for line, record in zip(lines, records, strict=True):
        if line.error:
            record["error"] = line.error
    right = [i for i, line in enumerate(lines) if not line.error]
    place = {i: scored + k for k, i in enumerate(right)}
    right.sort(key=lambda i: lines[i].words)
    for start in range(0, len(right), BATCH_SIZE.value):
        batch = right[start : start + BATCH_SIZE.value]
        figures = score([lines[i].text for i in batch], [place[i] for i in batch])
        for name in sorted(figures):
            for i, value in zip(batch, figures[name].numpy().tolist(), strict=True):
                records[i][name] = value if math.isfinite(value) else None  # JSON has no other word for it.
    return records


def read_lines(file: IO[bytes], max_length: int) -> Iterator[Line]:
    """Yields the lines of a file, holding one at a time in memory."""
    number = 0
    try:
        while content := file.readline(MAX_BYTES):
            number += 1
            more = content
            while len(more) == MAX_BYTES and not more.endswith(b"\n"):
                more = file.readline(MAX_BYTES)
            if len(content) == MAX_BYTES:
                start = content[:KEPT_BYTES].decode(errors="backslashreplace")
                yield Line(number, start, 0, f"{MAX_BYTES:,} bytes or more")
            else:
                yield checked(number, content.rstrip(b"\r\n"), max_length)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise WrongInput(f"--input={INPUT.value}: damaged gzip file, after line {number:,} ({error})") from None


def checked(number: int, content: bytes, max_length: int) -> Line:
    """Returns a line with what is wrong with it."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        what = f"not UTF-8 (byte 0x{content[error.start]:02x} at {error.start})"
        return Line(number, content.decode(errors="backslashreplace"), 0, what)
    words = len(text.split())
    if words > max_length:
        return Line(number, text, words, f"{words:,} words, more than {max_length:,}")
    return Line(number, text, words, "" if words else "empty")


def open_input() -> IO[bytes]:
    open_it: Callable[..., Any] = gzip.open if INPUT.value.endswith(".gz") else open
    try:
        return open_it(INPUT.value, "rb")
    except OSError as error:
        raise WrongInput(f"--input={INPUT.value}: cannot be read ({error.strerror})") from None


@contextlib.contextmanager
def open_partial(output: Path, name: str) -> Iterator[IO[bytes]]:
    """Opens the file of what is scored so far, for this process alone."""
    with open(output.with_name(f".{output.name}.{name}.partial"), "a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WrongInput(f"--output={output}: another process is writing it") from None
        yield file


def identity(folder: Path, options: dict[str, Any]) -> str:
    """Returns a name for the model, the input and the options, so that no other scores are gone on with."""
    status = os.stat(INPUT.value)
    digest = hashlib.sha256()
    for file in ("saved_model.pb", "variables/variables.index"):  # The index has checksums of the weights.
        digest.update((folder / file).read_bytes())
    of_input = os.path.realpath(INPUT.value), status.st_size, status.st_mtime_ns
    digest.update(repr((of_input, BATCH_SIZE.value, sorted(options.items()))).encode())
    return digest.hexdigest()[:16]


def read_description(folder: Path) -> dict[str, Any]:
    """Returns signatures.json of a model of text."""
    file = folder / "assets" / "signatures.json"
    where = f"--saved_model={SAVED_MODEL.value}"
    if not SAVED_MODEL.value or not (folder / "saved_model.pb").is_file() or not file.is_file():
        raise WrongInput(f"{where}: no exported model there; expected the folder of a version, as exports/mine/1")
    try:
        about = json.loads(file.read_bytes())
        kind, _, _ = about["data"], about["signatures"]["score"]["inputs"].keys(), about["method"]
        if kind == "text" and not isinstance(about["max_length"], int):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise WrongInput(f"{file}: not what bin/export.py writes") from None
    if kind != "text":
        raise WrongInput(f"{where}: a model of --data={kind}; expected one of --data=text")
    return about


def load(folder: Path) -> Any:
    """Loads a model that reads no asset from outside its folder."""
    assets = (folder / "assets").resolve()
    try:
        for graph in SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs:
            for asset in graph.asset_file_def:
                if (assets / asset.filename).resolve().parent != assets:
                    raise WrongInput(f"--saved_model={folder}: asset {asset.filename[:100]!r} is not in its folder")
        return tf.saved_model.load(str(folder))
    except (tf.errors.OpError, DecodeError, OSError) as error:
        raise WrongInput(f"--saved_model={folder}: cannot be loaded ({str(error).strip()[:200]})") from None


class Tally:
    """What is done: lines, those that were scored, what was wrong with others, and how fast it goes."""

    def __init__(self, file: IO[bytes]):
        self.file = getattr(file, "fileobj", None) or file  # Of a .gz, the place in the file as it lies there.
        self.lines = self.scored = self.resumed = 0
        self.errors: list[str] = []
        self.start = time.monotonic()

    def add(self, record: dict[str, Any]) -> None:
        self.lines += 1
        self.scored += "error" not in record
        if "error" in record and len(self.errors) < REPORTED_ERRORS:
            self.errors.append(f"line {record['line']:,}: {record['error']}")

    def resume(self, partial: IO[bytes], at_once: int) -> None:
        """Counts what is written and drops what is not whole, so that the batches go on as if nothing had happened."""
        partial.seek(0)
        whole = sum(line.endswith(b"\n") for line in partial)
        partial.seek(0)
        for line in itertools.islice(partial, whole - whole % at_once):
            self.add(json.loads(line))
        partial.truncate(partial.tell())
        self.resumed = self.lines

    def show(self) -> None:
        if sys.stderr.isatty():
            part = self.file.tell() / os.fstat(self.file.fileno()).st_size
            bar = "#" * round(30 * part)
            print(f"\r[{bar:.<30}] {part:4.0%}  {self._speed()}", end="  ", file=sys.stderr, flush=True)

    def report(self) -> None:
        if sys.stderr.isatty():
            print(file=sys.stderr)
        for error in self.errors:
            print(f"score.py: WARNING: {INPUT.value}: {error}", file=sys.stderr)
        if self.lines - self.scored > len(self.errors):
            print(f"score.py: WARNING: {self.lines - self.scored:,} such lines in all", file=sys.stderr)
        print(f"{self._speed()}; {self.scored:,} scored, {self.lines - self.scored:,} kept with their error")

    def _speed(self) -> str:
        return f"{self.lines:,} lines, {(self.lines - self.resumed) / (time.monotonic() - self.start):,.0f} a second"


def parse(argv: list[str]) -> list[str]:
    try:
        rest = flags.FLAGS(argv)
    except SystemExit:
        sys.exit(0)  # absl shows the help and ends with 1.
    except (flags.Error, ValueError) as error:
        fail(str(error).removeprefix("flag "), WRONG_INPUT)
    if rest[1:]:
        fail(f"unexpected argument {rest[1]!r}: flags are written --name=value", WRONG_INPUT)
    return rest


def fail(message: str, status: int) -> NoReturn:
    print(f"score.py: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
