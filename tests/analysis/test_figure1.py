"""Figure 1: the runs that it shows; what it draws of a run is with the script that draws it."""

from pathlib import Path

from sa_vae_tf.analysis import figure1
from sa_vae_tf.training.flags import from_flagfile

FLAGS = str(Path(__file__).parents[2] / "synthetic.flags")


def test_the_runs_are_those_of_the_paper(tmp_path, monkeypatch):
    shown = {}
    monkeypatch.setattr(figure1, "check_runs", lambda configs, base: None)
    monkeypatch.setattr(figure1, "trained", lambda config: config)
    monkeypatch.setattr(figure1, "landscape_of", lambda folders, path: shown.update(folders))
    figure1.reproduce(from_flagfile(FLAGS), tmp_path / "runs", tmp_path / "docs")
    assert {name: (config.method, config.svi_rate_mean) for name, config in shown.items()} == {
        "VAE": ("vae", 0.01),
        "SVI": ("svi", 0.02),
        "SA-VAE": ("sa_vae", 0.01),
    }
    assert (shown["SA-VAE"].bound_weights, shown["SA-VAE"].hvp) == ("final", "exact")
    assert {(config.generator, config.seed) for config in shown.values()} == {("oracle", 1)}
