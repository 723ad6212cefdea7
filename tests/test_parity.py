"""Agreement with the authors' implementation on every fixture, of text and of images."""

import functools
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from tests import parity, parity_text

FIXTURES = pathlib.Path(__file__).parent / "fixtures"
ROOT = pathlib.Path(__file__).parents[1]
REFERENCES = sorted(path.name for path in FIXTURES.glob("*_ref_f64_*.npz"))
EXACT = sorted(path.name for path in FIXTURES.glob("*_exact_f64_noclip.npz"))


@functools.cache
def inputs_of(result: str) -> dict[str, np.ndarray]:
    return parity.load(FIXTURES / re.sub(r"_(ref|exact)_f64_.*", "_inputs.npz", result))


def clip_norm_of(result: str) -> float | None:
    clip = re.search(r"_clip(\d+)\.npz$", result)
    return float(clip.group(1)) if clip else None


def assert_matches(actual: dict[str, np.ndarray], result: str, tolerance: float) -> None:
    expected = parity.load(FIXTURES / result)
    assert set(actual) == {
        *("mean_k", "logvar_k", "loss_final", "dL_dmean_0", "dL_dlogvar_0"),
        *(name for name in expected if name.startswith("grad/")),
    }
    for name, value in actual.items():
        # Before batch normalisation a bias has no effect; what is stored as its gradient is rounding.
        scale = max(np.abs(expected[name]).max(), 1e-3)
        assert value.shape == expected[name].shape
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=tolerance * scale, err_msg=name)


def test_fixtures_are_there():
    assert REFERENCES == [
        "img_tiny_ref_f64_noclip.npz",
        "text_tiny2_ref_f64_clip5.npz",
        "text_tiny_ref_f64_clip1.npz",
        "text_tiny_ref_f64_clip5.npz",
        "text_tiny_ref_f64_noclip.npz",
    ]
    assert EXACT == [
        "img_tiny_exact_f64_noclip.npz",
        "text_tiny2_exact_f64_noclip.npz",
        "text_tiny_exact_f64_noclip.npz",
    ]


@pytest.mark.parametrize("result", REFERENCES)
def test_authors_product_is_the_published_one(result):
    # The difference quotient divides rounding of 1e-16 by 1e-5: agreement is to about 1e-9.
    assert_matches(parity.step(inputs_of(result), "authors", clip_norm_of(result)), result, 1e-7)


@pytest.mark.parametrize("result", EXACT)
def test_exact_product_is_the_unrolled_derivative(result):
    # Two orders of summation in float64; of images, in sums of thousands of terms.
    tolerance = 1e-11 if result.startswith("img") else 1e-12
    assert_matches(parity.step(inputs_of(result), "exact", None), result, tolerance)


@pytest.mark.parametrize("result", EXACT)
def test_finite_difference_is_near_the_unrolled_derivative(result):
    # Its own error, of order step squared and rounding / step.
    assert_matches(parity.step(inputs_of(result), "finite_difference", None), result, 1e-6)


def test_the_clips_of_the_fixtures_matter():
    inputs = inputs_of("text_tiny_ref_f64_clip1.npz")
    with pytest.raises(AssertionError, match="dL_dmean_0"):
        assert_matches(parity.step(inputs, "authors", None), "text_tiny_ref_f64_clip1.npz", 0.1)


def test_other_sizes():
    # The fixtures have one size; here all sizes differ, so that no two can be confused.
    rng = np.random.default_rng(0)
    sizes = {"B": 2, "T": 5, "Z": 3, "K": 4, "V": 11, "W": 6, "E": 7, "D": 9, "H": 10}

    def size(axis):
        return 4 * sizes[axis[1:]] if axis[0] == "4" else sum(sizes[part] for part in axis.split("+"))

    inputs: dict[str, np.ndarray] = {
        name: rng.uniform(-0.5, 0.5, [size(axis) for axis in axes.split()]) for name, axes in parity_text.SHAPES.items()
    }
    inputs["sents"] = rng.integers(0, sizes["V"], [sizes["B"], sizes["T"]])
    scalars = {"K": 4, "momentum": 0.3, "lr": 0.8, "beta": 0.7, "eps": 1e-5}
    inputs |= {name: np.array(value) for name, value in scalars.items()}
    authors, exact = parity.step(inputs, "authors", None), parity.step(inputs, "exact", None)
    for name, value in exact.items():
        if name.startswith("grad/"):
            assert value.shape == inputs[name.replace("grad/", "param/")].shape
        # Error of the published forward difference: its step times the curvature's change.
        np.testing.assert_allclose(authors[name], value, rtol=0, atol=1e-4 * np.abs(value).max(), err_msg=name)


@pytest.mark.parametrize("result", EXACT[:2])
def test_no_steps(result):
    inputs = dict(inputs_of(result), K=np.array(0))
    inputs["z"] = inputs["z"][:0]
    authors, exact = parity.step(inputs, "authors", None), parity.step(inputs, "exact", None)
    assert authors["mean_k"].shape == (1, *inputs["z_final"].shape)
    for name in exact:
        np.testing.assert_allclose(authors[name], exact[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"z_final": None}, "missing z_final"),
        ({"param/dec.3.bias": None}, "missing param/dec.3.bias"),
        ({"param/dec_rnn.weight_ih_l1": np.zeros([64, 16])}, "unknown param/dec_rnn.weight_ih_l1"),
        ({"param/dec.3.bias": np.zeros([17])}, r"param/dec\.3\.bias: shape \(17,\), expected \(16,\)"),
        ({"param/dec_rnn.weight_ih_l0": np.zeros([64, 8])}, r"expected \(64, 12\)"),
        ({"z": np.zeros([3, 4])}, "z: shape .* expected 3 axes"),
        ({"K": np.array(4)}, "z: shape .* expected"),
        ({"sents": np.full([3, 7], 50)}, "sents: 50 to 50, expected token ids from 0 to 49"),
        ({"sents": np.zeros([3, 7])}, "sents: float64"),
        ({"beta": np.array(np.nan)}, "beta: expected finite numbers"),
        ({"eps": np.array(1e-3)}, "eps: 0.001, expected 1e-05"),
    ],
)
def test_unexpected_inputs(change, message):
    assert_refused("text_tiny_inputs.npz", change, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"z_final": None}, "missing z_final"),
        ({"enc_layers": None}, "missing enc_layers"),
        ({"param/dec_linear.bias": None}, "missing param/dec_linear.bias"),
        ({"param/enc_cnn.6.bias": np.zeros([4])}, "unknown param/enc_cnn.6.bias"),
        ({"param/dec_linear.bias": np.zeros([2])}, r"param/dec_linear\.bias: shape \(2,\), expected \(1,\)"),
        ({"img": np.zeros([2, 28, 28])}, r"img: shape \(2, 28, 28\), expected 4 axes"),
        ({"img": np.full([2, 1, 28, 28], 0.5)}, "img: expected zeros and ones"),
        ({"z": np.zeros([3, 4])}, "z: shape .* expected"),
        ({"enc_layers": np.array([4.5, 4, 4])}, "enc_layers: expected whole numbers"),
        ({"dec_kernel_size": np.array([4, 3])}, "kernel_sizes=.*expected odd"),
        ({"dec_layers": np.array([4, 5])}, "dec_layers: .*expected one number"),
        ({"beta": np.array(np.nan)}, "beta: expected finite numbers"),
        ({"eps": np.array(1e-3)}, "eps: 0.001, expected 1e-05"),
    ],
)
def test_unexpected_images(change, message):
    assert_refused("img_tiny_inputs.npz", change, message)


def assert_refused(fixture: str, change: dict, message: str) -> None:
    changed = parity.load(FIXTURES / fixture) | change
    inputs = {name: value for name, value in changed.items() if value is not None}
    with pytest.raises(ValueError, match=message) as error:
        parity.step(inputs, "authors", None)
    assert "\n" not in str(error.value)


def test_command_line(tmp_path):
    result, output = "text_tiny2_ref_f64_clip5.npz", tmp_path / "out.npz"
    flags = [f"--inputs={FIXTURES / 'text_tiny2_inputs.npz'}", "--hvp=authors", "--clip_norm=5", f"--output={output}"]
    subprocess.run(
        [sys.executable, "-m", "tests.parity", *flags], cwd=ROOT, check=True, capture_output=True, timeout=300
    )
    assert_matches(parity.load(output), result, 1e-7)


def test_ends_with_one_line(tmp_path):
    path, output = tmp_path / "inputs.npz", tmp_path / "out.npz"
    np.savez(path, **{name: value for name, value in inputs_of(EXACT[0]).items() if name != "beta"})
    with pytest.raises(SystemExit) as ended:
        parity.convert(str(path), str(output), "authors", None)
    message = f"--inputs={path}: missing beta; expected the arrays of an image fixture"
    assert ended.value.code == message  # Printed, with status 1.
    assert not output.exists()
    with pytest.raises(SystemExit, match=r"--inputs=nowhere\.npz: .*No such file"):
        parity.convert("nowhere.npz", str(output), "authors", None)
    with pytest.raises(SystemExit, match="--output=.*No such file"):
        parity.convert(str(FIXTURES / "text_tiny_inputs.npz"), str(tmp_path / "no" / "out"), "exact", None)


def test_not_a_fixture_file(tmp_path):
    (tmp_path / "text.npz").write_text("no archive")
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name in ("text.npz", "array.npy"):
        with pytest.raises(ValueError, match=r"not an \.npz file"):
            parity.load(tmp_path / name)
