"""A model from its run folder."""

from sa_vae_tf.training.load import load_best
from sa_vae_tf.training.train import train
from tests import runs


def test_a_run_that_has_taken_no_step_says_so(tmp_path, data_dir, caplog):
    run = train(runs.tiny(tmp_path, data_dir, num_epochs=0), verbose=0)
    caplog.clear()
    load_best(run)
    said = f"--run_dir={tmp_path}: no step has been taken yet; its weights are those that it began with"
    assert [record.getMessage() for record in caplog.records] == [said]


def test_where_there_is_nothing_to_train_it_says_nothing(tmp_path, data_dir, caplog):
    run = train(runs.tiny(tmp_path, data_dir, num_epochs=0, method="svi", generator="oracle"), verbose=0)
    caplog.clear()
    load_best(run)
    assert not caplog.records
