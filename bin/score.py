"""Scores a file: python bin/score.py --saved_model=exports/mine/1 --input=lines.txt --output=out.jsonl.

Each line of a text, .gz too, becomes a line of JSON: its number, its text, and its figures or the `error` that kept it
from being scored; so does each image of an array of NumPy, numbered from 0. Noise, and the draw of pixels between 0 and
1, are those of bin/evaluate.py --test_file. What is scored is kept in a hidden file beside the output, batch by batch,
until that is whole: after a stop, the same command goes on.

This file needs TensorFlow and nothing else of its repository.
"""

import codecs
import contextlib
import errno
import fcntl
import glob
import gzip
import hashlib
import io
import itertools
import json
import math
import os
import platform
import re
import signal
import stat
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

import numpy as np
from absl import app, flags, logging

INTERRUPTED = 130
# A stream that is closed (>&-) would be the next file that is opened, whatever that is.
while (_nowhere := os.open(os.devnull, os.O_RDWR)) <= 2:
    pass
sys.stdout, sys.stderr = sys.stdout or open(1, "w"), sys.stderr or open(2, "w")  # noqa: SIM115
_standard_error = os.dup(2)
# What is said after a stop besides, where something is kept.
goes_on = b""


def end_at_once(number: int, frame: Any) -> NoReturn:
    """Ends the process at a Ctrl-C: a KeyboardInterrupt that is raised inside of TensorFlow may crash it."""
    os.write(_standard_error, b"score.py: interrupted" + goes_on + b"\n")
    os._exit(INTERRUPTED)


# A process that has been told to ignore the signal goes on ignoring it.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, end_at_once)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # Else another process on the GPU finds no memory.
if platform.machine() in ("x86_64", "AMD64"):
    # Quicker products, which TensorFlow by itself leaves alone on processors without AVX512-VNNI or the like.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# TensorFlow's first notes heed no setting.
os.dup2(_nowhere, 2)
import tensorflow as tf  # noqa: E402
from google.protobuf.message import DecodeError  # noqa: E402
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel  # noqa: E402

os.dup2(_standard_error, 2)

SAVED_MODEL = flags.DEFINE_string("saved_model", "", "Folder of a version of an exported model, as exports/mine/1.")
INPUT = flags.DEFINE_string(
    "input",
    "",
    "Text in UTF-8, a sentence a line, words separated by spaces; .gz too. For a model of images a .npy, images x "
    "height x width, and perhaps x 1, of intensities in [0, 1], or bytes of which 255 is 1.",
)
OUTPUT = flags.DEFINE_string("output", "", "File of the JSON lines, which must not be there yet.")
LARGEST = 2**31 - 1
flags.DEFINE_integer("svi_steps", None, "Refinement steps; default: as in training.", 0, LARGEST)
flags.DEFINE_integer("iw_samples", None, "Samples of the importance-weighted NLL; default: none.", 0, LARGEST)
flags.DEFINE_integer("seed", None, "Seed of all noise; default: 0.", 0, LARGEST)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Examples scored at once; figures do not depend on it.", 1, LARGEST)
OPTIONS = ("svi_steps", "iw_samples", "seed")

# Examples that are read together and sorted, at least, so that each batch is of sentences of like length; not by
# --batch_size, so that with another one what is kept goes on.
EXAMPLES_AT_ONCE = 1024
# A line that long is not scored. As in sa_vae_tf/data/text_files.py: whatever is evaluated is scored too.
MAX_CHARACTERS = 1_000_000
MAX_BYTES = 4 * MAX_CHARACTERS  # in UTF-8
TOO_LONG = f"{MAX_CHARACTERS:,} characters or more"
# Of a line that is not scored, for whatever reason, its beginning alone is kept.
KEPT_CHARACTERS = 65_536
REPORTED_ERRORS = 5
LONGEST = 2_000  # characters of a message
# The checksums of an export's files.
MANIFEST = "assets.extra/SHA256SUMS"
# How files begin that are no text.
ARRAY, GZIP, UTF_16 = b"\x93NUMPY", b"\x1f\x8b", (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# Errors after which the same command may go on.
MENDED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
FAILED, WRONG_INPUT = 1, 2
# As shells count what SIGPIPE ended.
UNREAD = 128 + signal.SIGPIPE


class WrongInput(ValueError):
    """What the user can mend; its message is one line."""

    def __init__(self, message: str):
        super().__init__(one_line(message))


class Example(NamedTuple):
    """A line or an image: what its record begins with, what is scored, its length, and why it is not scored or ''."""

    begin: dict[str, Any]
    content: Any
    length: int
    error: str

    @property
    def record(self) -> dict[str, Any]:
        return self.begin | ({"error": self.error} if self.error else {})


class Source(NamedTuple):
    """An input that is open.

    Attributes:
      unit: what its examples are called.
      examples: one after the other.
      part: function that tells how much of it is read, from 0 to 1; None where nobody knows, as of a pipe.
      batch: function of the contents of examples and their places among all that are scored, to what the model takes.
    """

    unit: str
    examples: Iterator[Example]
    part: Callable[[], float] | None
    batch: Callable[[list[Any], list[int]], Any]


def main(argv: list[str]) -> None:
    logging.set_verbosity(logging.ERROR)
    warnings.simplefilter("ignore")  # Of NumPy on a header that it reads as Python.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # Whatever it can show, what is done is done.
    for path in (SAVED_MODEL, INPUT, OUTPUT):
        flags.FLAGS[path.name].value = os.path.expanduser(path.value)  # Shells leave a ~ behind an equals sign.
    try:
        tally = score_file()
    except WrongInput as error:
        fail(str(error), WRONG_INPUT)
    except tf.errors.ResourceExhaustedError:
        fail(f"not enough memory for --batch_size={BATCH_SIZE.value}; expected a smaller one, which goes on", FAILED)
    except OSError as error:
        rest = "; the same command goes on" if error.errno in MENDED else ""
        fail(f"{error.filename or OUTPUT.value}: {error.strerror or error}{rest}", FAILED)
    tally.report()
    print(f"Scores: {OUTPUT.value}")


def score_file() -> "Tally":
    """Scores the input, from where the same command stopped before, and returns what is done."""
    needed = (SAVED_MODEL, "an exported model"), (INPUT, "what it scores"), (OUTPUT, "a new file for the scores")
    if missing := [f"--{flag.name}: expected {what}" for flag, what in needed if not flag.value]:
        raise WrongInput("; ".join(missing))
    output, folder = Path(OUTPUT.value), Path(SAVED_MODEL.value)
    if output.is_dir() or not os.access(output.parent, os.W_OK | os.X_OK):
        raise WrongInput(f"--output={OUTPUT.value}: expected a file in a folder that can be written")
    check_new(output)
    about = read_description(folder)
    options = {name: flags.FLAGS[name].value for name in OPTIONS if flags.FLAGS[name].value is not None}
    inputs = about["signatures"]["score"]["inputs"]
    for name in options.keys() - inputs.keys():
        raise WrongInput(f"--{name}={options[name]}: a model of --method={about['method']} has no such input")
    with SOURCES[about["data"]](about) as source:
        tf.config.experimental.enable_tensor_float_32_execution(about.get("tensor_float_32", True))
        name, model = identity(folder, options), load(folder)

        def score(contents: list[Any], places: list[int]) -> dict[str, tf.Tensor]:
            index = {"index": tf.constant(places, tf.int64)} if "index" in inputs else {}
            return model.score(tf.constant(source.batch(contents, places)), **index, **options)

        with open_partial(output, name) as partial:
            tally = Tally(source)
            while examples := list(itertools.islice(source.examples, max(EXAMPLES_AT_ONCE, BATCH_SIZE.value))):
                score_examples(examples, score, partial, tally)
            if os.path.lexists(output):
                raise OSError(errno.EEXIST, f"is there by now; what was scored is in {partial.name}", OUTPUT.value)
            Path(partial.name).replace(output)
    return tally


def check_new(output: Path) -> None:
    if os.path.lexists(output):
        raise WrongInput(f"--output={output}: is there already; expected the name of a new file")


def score_examples(examples: list[Example], score: Callable, partial: IO[bytes], tally: "Tally") -> None:
    """Writes a record for each example, those of like length scored together.

    They are written batch by batch, first those that are not scored, and in their own order when all are there. Batches
    that the file has already are not scored again.

    Args:
      examples: one after the other.
      score: function of contents and their places among all that are scored, to figures by name.
      partial: file that ends with the records of all examples before them, or goes on with some of theirs.
      tally: of the examples before them, to which they are added.
    """
    start, records = partial.tell(), read_back(partial, examples)
    if not records:
        records = [example.record for example in examples]
        wrong = [i for i, example in enumerate(examples) if example.error]
        right = [i for i, example in enumerate(examples) if not example.error]
        place = {i: tally.scored + k for k, i in enumerate(right)}
        right.sort(key=lambda i: examples[i].length)
        size, done = BATCH_SIZE.value, 0
        for batch in filter(None, [wrong, *(right[k : k + size] for k in range(0, len(right), size))]):
            if found := read_back(partial, [examples[i] for i in batch]):
                for i, record in zip(batch, found, strict=True):
                    records[i] = record
            else:
                if batch is not wrong:
                    figures = score([examples[i].content for i in batch], [place[i] for i in batch])
                    for name in sorted(figures):
                        for i, value in zip(batch, figures[name].numpy().tolist(), strict=True):
                            # JSON has no other word for what is no number.
                            records[i][name] = value if math.isfinite(value) else None
                write(partial, [records[i] for i in batch])
                tally.fresh += len(batch)
            done += len(batch)
            tally.show(done, len(examples))
        partial.seek(start)
        write(partial, records)
        os.fsync(partial.fileno())
    tally.add(records)


def read_back(partial: IO[bytes], examples: list[Example]) -> list[dict[str, Any]]:
    """Returns the records of these examples if they come next in the file; else nothing, and the place stays."""
    start, records = partial.tell(), []
    for example in examples:
        line = partial.readline()
        try:
            record = json.loads(line) if line.endswith(b"\n") else {}
            if not example.record.items() <= record.items():
                break
        except (ValueError, TypeError, AttributeError, RecursionError):
            break
        records.append(record)
    else:
        return records
    partial.seek(start)
    return []


def write(partial: IO[bytes], records: list[dict[str, Any]]) -> None:
    """Writes records in place of whatever comes after."""
    partial.write("".join(map(json_line, records)).encode())
    partial.truncate()
    partial.flush()


def json_line(record: dict[str, Any]) -> str:
    """Returns a record as a line of JSON, in which what a terminal would not show as it is is escaped."""
    text = json.dumps(record, ensure_ascii=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text) + "\n"


@contextlib.contextmanager
def open_lines(about: dict[str, Any]) -> Iterator[Source]:
    """Opens a text for a model of text."""
    open_it: Callable[..., Any] = gzip.open if INPUT.value.endswith(".gz") else open
    try:
        file = open_it(INPUT.value, "rb")
    except OSError as error:
        raise WrongInput(f"--input={INPUT.value}: cannot be read ({error.strerror})") from None
    with file:
        on_disk = getattr(file, "fileobj", None) or file  # Of a .gz, the file as it lies there.
        size = os.fstat(on_disk.fileno()).st_size
        lines = read_lines(file, about["max_length"])
        yield Source("line", lines, (lambda: on_disk.tell() / size) if size else None, lambda texts, places: texts)


def read_lines(file: IO[bytes], max_length: int) -> Iterator[Example]:
    """Yields the lines of a file, holding one at a time in memory."""
    number = 0
    try:
        beginning = file.peek(len(ARRAY))  # type: ignore[attr-defined]
        for kind, starts in (("an array of NumPy", ARRAY), ("a gzip file", GZIP), ("UTF-16", UTF_16)):
            if beginning.startswith(starts):
                raise WrongInput(f"--input={INPUT.value}: {kind}; expected lines of text in UTF-8, or a .gz of them")
        while content := file.readline(MAX_BYTES):
            number += 1
            cut = len(content) == MAX_BYTES and not content.endswith(b"\n")
            rest = content
            while len(rest) == MAX_BYTES and not rest.endswith(b"\n"):
                rest = file.readline(MAX_BYTES)
            if number == 1:
                content = content.removeprefix(codecs.BOM_UTF8)
                if b"\n" not in content and b"\r" in content.rstrip(b"\r"):
                    raise WrongInput(
                        f"--input={INPUT.value}: its lines end by a carriage return alone; expected line feeds"
                    )
            if cut:
                yield line(number, content.decode(errors="backslashreplace"), 0, TOO_LONG)
            else:
                yield checked(number, content.rstrip(b"\r\n"), max_length)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise WrongInput(f"--input={INPUT.value}: damaged gzip file, after line {number:,} ({error})") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, INPUT.value) from None


def line(number: int, text: str, words: int, error: str) -> Example:
    """Returns a line, numbered from 1 on."""
    text = text[:KEPT_CHARACTERS] if error else text
    return Example({"line": number, "input": text}, text, words, error)


def checked(number: int, content: bytes, max_length: int) -> Example:
    """Returns a line with what is wrong with it."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        what = f"not UTF-8 (byte 0x{content[error.start]:02x} at {error.start})"
        return line(number, content.decode(errors="backslashreplace"), 0, what)
    if len(text) >= MAX_CHARACTERS:
        return line(number, text, 0, TOO_LONG)
    words = len(text.split())
    if words > max_length:
        return line(number, text, words, f"{words:,} words, more than {max_length:,}")
    return line(number, text, words, "" if words else "empty")


@contextlib.contextmanager
def open_images(about: dict[str, Any]) -> Iterator[Source]:
    """Opens an array of images for a model of images."""
    size, array = (about["height"], about["width"]), open_array()
    if array.dtype.kind not in "buif" or array.shape[1:] not in (size, (*size, 1)):
        raise WrongInput(
            f"--input={INPUT.value}: {array.dtype} of shape {' x '.join(map(str, array.shape))}; expected numbers, "
            f"images x {size[0]} x {size[1]}"
        )
    scale = 255 if array.dtype == np.uint8 and any(part.max() > 1 for part in read_parts(array)) else 1
    read = 0

    def examples() -> Iterator[Example]:
        nonlocal read
        for part in read_parts(array):
            for image in part.reshape(-1, *size, 1):
                wrong = image[~((image >= 0) & (image <= scale))]
                if wrong.size:
                    yield Example({"image": read}, None, 0, f"a pixel of {wrong[0]}; expected 0 to 1, or bytes (uint8)")
                else:
                    yield Example({"image": read}, image.astype(np.float32) / np.float32(scale), 0, "")
                read += 1

    def batch(images: list[np.ndarray], places: list[int]) -> np.ndarray:
        draws = [np.random.default_rng([*about["draw_seed"], place]) for place in places]
        drawn = [draw.random(image.shape, np.float32) < image for draw, image in zip(draws, images, strict=True)]
        return np.stack(drawn).astype(np.float32)

    yield Source("image", examples(), lambda: read / len(array), batch)


def open_array() -> np.ndarray:
    """Opens the array without reading it into memory."""
    try:
        array = np.load(INPUT.value, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise WrongInput(f"--input={INPUT.value}: cannot be read ({error.strerror or error})") from None
    except Exception:  # NumPy reads the header as Python: whatever that raises.
        raise WrongInput(f"--input={INPUT.value}: expected a .npy, whole, with an array of numbers") from None
    if not isinstance(array, np.ndarray):
        raise WrongInput(f"--input={INPUT.value}: a .npz; expected a .npy, which has one array")
    return array


def read_parts(array: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the images, a batch at a time; the file is opened anew for each, so that none stays in memory."""
    for start in range(0, len(array), BATCH_SIZE.value):
        yield np.array(open_array()[start : start + BATCH_SIZE.value])


SOURCES = {"text": open_lines, "image": open_images}


@contextlib.contextmanager
def open_partial(output: Path, name: str) -> Iterator[IO[bytes]]:
    """Opens the file of what is scored so far, for this process alone."""
    global goes_on
    path = output.with_name(f".{output.name}.{name}.partial")
    others = sorted({*path.parent.glob(f".{glob.escape(output.name)}.{'?' * len(name)}.partial")} - {path})
    for other in others:
        warn(f"{other}: scores of another input or with other options, not gone on with; it may be deleted")
    with open(path, "r+b", opener=lambda name, how: os.open(name, how | os.O_CREAT, 0o666)) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WrongInput(f"--output={output}: another process is writing it") from None
        try:
            check_new(output)  # Another process may have ended just now.
            goes_on = b"; the same command goes on"
            try:
                yield file
            except WrongInput:  # What mends it changes the input, and what was scored of this one serves for nothing.
                file.truncate(0)
                raise
        finally:
            goes_on = b""
            if not os.fstat(file.fileno()).st_size:
                path.unlink(missing_ok=True)


def identity(folder: Path, options: dict[str, Any]) -> str:
    """Returns a name for the model, the input and the options, so that no other scores are gone on with."""
    status = os.stat(INPUT.value)
    digest = hashlib.sha256()
    digest.update((folder / MANIFEST).read_bytes())  # It has the checksums of all other files.
    of_input: tuple = (INPUT.value,)  # A pipe is another each time; what was scored of it tells its lines.
    if stat.S_ISREG(status.st_mode):
        of_input = os.path.realpath(INPUT.value), status.st_size, status.st_mtime_ns
    digest.update(repr((of_input, sorted(options.items()))).encode())
    return digest.hexdigest()[:16]


def check_files(folder: Path) -> None:
    """Checks that the files of an export are as they were written: TensorFlow may crash on others."""
    where, wrote = f"--saved_model={SAVED_MODEL.value}", "expected what bin/export.py wrote"
    manifest, graph = folder / MANIFEST, folder / "saved_model.pb"
    if not (manifest.is_file() or graph.is_file()):
        raise WrongInput(f"{where}: no exported model there; expected the folder of a version, as exports/mine/1")
    if not manifest.is_file():
        raise WrongInput(
            f"{where}: no {MANIFEST} there, the checksums that bin/export.py writes; expected a new export"
        )
    lines = re.findall(r"^([0-9a-f]{64})  (.+)\n", manifest.read_text("utf-8", "replace"), re.MULTILINE)
    listed = {name: checksum for checksum, name in lines}
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {MANIFEST}
    for name in sorted(present | listed.keys() | {graph.name}):
        if name not in present:
            raise WrongInput(f"{where}: {name}, listed in {MANIFEST}, is missing; {wrote}")
        # TensorFlow does not read what others may have added there.
        if name not in listed and not name.startswith("assets.extra/"):
            raise WrongInput(f"{where}: {name} is not listed in {MANIFEST}; {wrote}")
        if name in listed and checksum_of(folder / name) != listed[name]:
            raise WrongInput(f"{where}: {name} is damaged, by its checksum in {MANIFEST}; {wrote}")


def checksum_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while content := file.read(2**20):
            digest.update(content)
    return digest.hexdigest()


def read_description(folder: Path) -> dict[str, Any]:
    """Returns signatures.json of a model of text or images."""
    check_files(folder)
    file = folder / "assets" / "signatures.json"
    where = f"--saved_model={SAVED_MODEL.value}"
    try:
        about = json.loads(file.read_bytes())
        kind, _, _ = about["data"], about["signatures"]["score"]["inputs"].keys(), about["method"]
        numbers = {"text": ["max_length"], "image": ["height", "width"]}.get(kind, [])
        if not all(isinstance(about[name], int) for name in numbers):
            raise ValueError
        if kind == "image" and not all(isinstance(number, int) and number >= 0 for number in about["draw_seed"]):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise WrongInput(f"{file}: not what bin/export.py writes") from None
    if kind not in SOURCES:
        raise WrongInput(f"{where}: a model of --data={kind}; expected one of --data={' or '.join(SOURCES)}")
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
    except (tf.errors.OpError, DecodeError, OSError, UnicodeEncodeError) as error:
        raise WrongInput(f"--saved_model={folder}: cannot be loaded ({str(error).strip()[:200]})") from None


class Tally:
    """What is done: examples, those that were scored, what was wrong with others, and how fast it goes.

    Attributes:
      read, scored: examples with a record, and those of them that have figures.
      fresh: of those read, how many got their record from this process.
      before: the part of the input that they are.
    """

    def __init__(self, source: Source):
        self.unit, self.part = source.unit, source.part
        self.read = self.scored = self.fresh = 0
        self.before = 0.0
        self.errors: list[str] = []
        self.start = time.monotonic()

    def add(self, records: list[dict[str, Any]]) -> None:
        for record in records:
            self.read += 1
            self.scored += "error" not in record
            if "error" in record and len(self.errors) < REPORTED_ERRORS:
                self.errors.append(f"{self.unit} {record[self.unit]:,}: {record['error']}")
        self.before = self.part() if self.part else 0.0

    def show(self, done: int, of: int) -> None:
        """Shows how far it is where so many of the next examples are done, of those that are read."""
        if sys.stderr.isatty():
            bar = ""
            if self.part:
                part = self.before + (self.part() - self.before) * done / of
                bar = f"[{'#' * round(30 * part):.<30}] {part:4.0%}  "
            print(f"\r{bar}{self._speed(done)}", end="  ", file=sys.stderr, flush=True)

    def report(self) -> None:
        if sys.stderr.isatty():
            print(file=sys.stderr)
        for error in self.errors:
            warn(f"{INPUT.value}: {error}")
        if self.read - self.scored > len(self.errors):
            warn(f"{self.read - self.scored:,} such {self.unit}s in all")
        print(f"{self._speed()}; {self.scored:,} scored, {self.read - self.scored:,} kept with their error")

    def _speed(self, more: int = 0) -> str:
        speed = self.fresh / (time.monotonic() - self.start)
        return f"{self.read + more:,} {self.unit}s, {speed:,.0f} a second"


def parse(argv: list[str]) -> list[str]:
    try:
        rest = flags.FLAGS(argv)
    except SystemExit:
        sys.exit(0)  # absl shows the help and ends with 1.
    except (flags.Error, ValueError) as error:
        wrong = str(error).removeprefix("flag ")
        if isinstance(error, flags.IllegalFlagValueError) and isinstance(error.__context__, ValueError):
            given = wrong.removesuffix(f": {error.__context__}")
            wrong = f"{given}: expected {flags.FLAGS[given.removeprefix('--').split('=')[0]].parser.syntactic_help}"
        fail(wrong, WRONG_INPUT)
    if rest[1:]:
        fail(f"unexpected argument {rest[1]!r}: flags are written --name=value", WRONG_INPUT)
    return rest


def one_line(text: str) -> str:
    """Returns text as one line of bounded length that any terminal shows as it is; it may quote an input."""
    line = " ".join(text.split())
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 4 :]}"


def warn(message: str) -> None:
    print(f"score.py: WARNING: {one_line(message)}", file=sys.stderr)


def fail(message: str, status: int) -> NoReturn:
    end(f"error: {message}", status)


def end(message: str, status: int) -> NoReturn:
    print(f"score.py: {one_line(message)}", file=sys.stderr)
    sys.exit(status)


@contextlib.contextmanager
def quiet_if_unread() -> Iterator[None]:
    """Ends the program without a word where what it prints is read no further, as by `head`, or finds no room."""
    try:
        try:
            yield
        finally:
            print(end="", flush=True)
    except OSError as error:
        if not isinstance(error, BrokenPipeError) and error.errno not in MENDED:
            raise
        os.dup2(_nowhere, sys.stdout.fileno())  # Where what is flushed at the end goes.
        if code := getattr(error.__context__, "code", None):
            sys.exit(code)
        if isinstance(error, BrokenPipeError):
            sys.exit(UNREAD)
        fail(f"standard output: {error.strerror}", FAILED)


if __name__ == "__main__":
    with quiet_if_unread():
        app.run(main, flags_parser=parse)
