"""The evaluation of a run: in what batches, and which figures it has."""

from sa_vae_tf.evaluation.evaluate import evaluate
from sa_vae_tf.training.train import train
from tests import runs


def test_a_run_trained_from_noise_of_ones_own_tells_nothing_of_x(data_dir, tmp_path):
    changes = {"method": "svi", "svi_init": "random", "eval_batch_size": 20, "num_epochs": 0}
    run, told = train(runs.tiny(tmp_path, data_dir, **changes), verbose=0), []
    results = evaluate(run, iw_samples=0, gap_steps=0, progress=lambda *of: told.append(of))
    assert told == [(20, 50), (40, 50), (50, 50)]
    assert results["svi_init"] == "random"
    assert results["kl"] > 0
    assert results["mutual_information"] is results["mutual_information_in_batch"] is results["active_units"] is None
