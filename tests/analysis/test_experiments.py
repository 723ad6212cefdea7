"""Results that an earlier command left."""

import pytest

from sa_vae_tf.analysis.experiments import read_results
from sa_vae_tf.errors import UserError


def test_results(tmp_path):
    path = tmp_path / "results.json"
    path.write_text('{"nll_bound": 1.5, "nll_iw": null}\n')
    assert read_results(path) == {"nll_bound": 1.5, "nll_iw": None}


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b"[" * 99_999])
def test_damaged_results(content, tmp_path):
    path = tmp_path / "results.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"^{path}: damaged; expected the results of an evaluation"):
        read_results(path)
