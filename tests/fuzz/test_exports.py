"""Exports, and what is given to them to score: bin/score.py, which has its own readers."""

import gzip
import importlib.util
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from hypothesis import given
from hypothesis import strategies as st

from sa_vae_tf.export.manifest import MANIFEST, write_manifest
from tests.fuzz import test_images, test_texts
from tests.fuzz.attempts import assert_refused_by, attempt, contents, examples, fewer_examples
from tests.fuzz.mutations import mutated
from tests.launcher import ROOT

KIND = "exports"
ABOUT = {"data": "text", "method": "sa_vae", "max_length": 20, "signatures": {"score": {"inputs": {"sentences": {}}}}}
IMAGES = {"height": 8, "width": 6, "draw_seed": [1, 2, 0]}
# As an export's, as far as it is read before TensorFlow is given it.
FILES = {
    "saved_model.pb": bytes(range(256)) * 2,
    "variables/variables.index": b"\0\1index\2" * 30,
    "variables/variables.data-00000-of-00001": np.arange(99, dtype=np.float32).tobytes(),
    "assets/vocabulary.txt": b"<pad> 0\n<unk> 1\n",
    "assets/signatures.json": json.dumps(ABOUT, indent=2).encode(),
    "assets/flags.txt": b"--seed=1\n",
    "assets.extra/tf_serving_warmup_requests": b"\x0a\x05",
}


@pytest.fixture(scope="module")
def score():
    """The script as a module, whose flags are there until the room's tests are over."""
    before = set(flags.FLAGS)
    spec = importlib.util.spec_from_file_location("score_script", ROOT / "bin/score.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    flags.FLAGS.mark_as_parsed()
    yield module
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)
    flags.FLAGS.unparse_flags()


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return written(tmp_path_factory.mktemp("exports") / "1", FILES)


def written(folder: Path, files: dict[str, bytes], *, with_manifest: bool = True) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    if with_manifest:
        write_manifest(folder)
    return folder


def test_the_export_before_it_is_damaged_is_read(score, sound):
    flags.FLAGS.saved_model = str(sound)
    assert score.read_description(sound) == ABOUT


@st.composite
def damaged(draw, sound: dict[str, bytes]) -> dict[str, bytes]:
    files = dict(sound)
    for _ in range(draw(st.integers(1, 3))):
        one, other = draw(st.sampled_from(sorted(sound))), draw(st.sampled_from(sorted(sound)))
        what = draw(st.sampled_from(["damage", "damage", "empty", "remove", "swap", "add"]))
        if what == "damage":
            files[one] = draw(mutated(sound[one]))
        elif what == "empty":
            files[one] = b""
        elif what == "remove":
            files.pop(one, None)
        elif what == "add":
            files[draw(st.sampled_from(["assets/new.txt", "variables/v.index", "new"]))] = sound[one]
        else:
            files[one], files[other] = sound[other], sound[one]
    return files


@examples
@given(st.data())
def test_damaged_exports(score, sound, tmp_path_factory, data):
    whole = {path.relative_to(sound).as_posix(): content for path, content in contents(sound).items()}
    files = data.draw(damaged(whole))
    folder = written(sound.parent / "damaged", files, with_manifest=False)
    flags.FLAGS.saved_model = str(folder)
    was_read, about = attempt(KIND, lambda: score.read_description(folder), folder, refusal=score.WrongInput)
    if was_read:  # TensorFlow is given no byte that is not as it was.
        assert about == ABOUT
        of_tensorflow = {name for name in whole if not name.startswith("assets.extra/")}
        assert {name: content for name, content in files.items() if not name.startswith("assets.extra/")} == {
            name: whole[name] for name in of_tensorflow
        }


descriptions = st.recursive(
    st.none() | st.integers() | st.sampled_from(["text", "image", "\x1b[2J", [1, 2], [-1], 3.5, {}]),
    lambda inner: st.dictionaries(st.sampled_from([*ABOUT, *IMAGES, "score", "inputs"]), inner, max_size=7),
    max_leaves=9,
)


@fewer_examples
@given(descriptions.map(lambda made: json.dumps({**ABOUT, **made} if isinstance(made, dict) else made).encode()))
def test_descriptions_of_other_forms(score, sound, content):
    # With checksums of their own: made by someone else.
    folder = written(sound.parent / "made", FILES | {"assets/signatures.json": content})
    flags.FLAGS.saved_model = str(folder)
    attempt(KIND, lambda: score.read_description(folder), folder, refusal=score.WrongInput)


def records(score, opened) -> list[dict]:
    """Returns what would be written of each example, without its figures."""
    with opened as source:
        made = [example.record | {"error": example.error} for example in source.examples]
    lines = [score.json_line(record) for record in made]
    assert all(line[:-1].isprintable() for line in lines)
    assert list(map(json.loads, lines)) == made
    return made


@examples
@given(
    (test_texts.structured | mutated(test_texts.TEXT)).map(lambda content: ("some.txt", content))
    | (test_texts.of_gz | mutated(test_texts.GZIP)).map(lambda content: ("some.txt.gz", content))
)
def test_texts_to_score(score, sound, named):
    name, content = named
    path = sound.parent / name
    path.write_bytes(content)
    flags.FLAGS.input = str(path)
    was_read, made = attempt(KIND, lambda: records(score, score.open_lines(ABOUT)), path, refusal=score.WrongInput)
    if was_read:
        plain = gzip.decompress(content) if name.endswith(".gz") else content
        assert len(made) == len(io.BytesIO(plain).readlines())


@pytest.mark.filterwarnings("ignore")  # As in the script.
@examples
@given(test_images.arrays | test_images.archives | mutated(test_images.NPY) | st.just(test_images.NPY))
def test_arrays_to_score(score, sound, content):
    path = sound.parent / "some.npy"
    path.write_bytes(content)
    flags.FLAGS.input = str(path)
    attempt(KIND, lambda: records(score, score.open_images(IMAGES)), path, refusal=score.WrongInput)


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
@pytest.mark.parametrize("how", ["flipped", "missing"])
def test_the_script_ends_with_one_line(how, name, launcher, sound, tmp_path):
    folder = tmp_path / "1"
    shutil.copytree(sound, folder)
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if how == "flipped":
        (folder / name).write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:] if len(content) > 8 else b"")
    before = contents(tmp_path)
    ended = launcher.run(
        "bin/score.py", f"--saved_model={folder}", f"--input={ROOT}/README.md", f"--output={tmp_path}/out.jsonl"
    )
    assert_refused_by(ended, name)
    assert contents(tmp_path) == before
