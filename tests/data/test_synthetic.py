"""The synthetic corpus."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.data import synthetic
from sa_vae_tf.data.records import Records
from sa_vae_tf.errors import UserError

EXAMPLES = 400


def read(builder) -> dict[str, dict[str, np.ndarray]]:
    corpus = {}
    for split in synthetic.SPLITS:
        records = Records(builder, split)
        examples = records.__getitems__(range(len(records)))
        corpus[split] = {name: np.stack([example[name] for example in examples]) for name in ("tokens", "latent")}
    return corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return read(synthetic.builder(3, EXAMPLES, str(tmp_path_factory.mktemp("first"))))


def test_shapes_and_ranges(corpus):
    assert set(corpus) == {"train", "validation", "test"}
    for split in corpus.values():
        assert split["tokens"].shape == (EXAMPLES, 5)
        assert split["latent"].shape == (EXAMPLES, 2)
        assert split["tokens"].dtype == np.int32
        assert split["tokens"].min() >= 0
        assert split["tokens"].max() < 1000


def test_a_seed_gives_one_corpus_whatever_was_drawn_before(corpus, tmp_path):
    tf.random.set_seed(99)
    again = read(synthetic.builder(3, EXAMPLES, str(tmp_path)))
    for split in synthetic.SPLITS:
        for name, value in corpus[split].items():
            np.testing.assert_array_equal(again[split][name], value)


def test_another_seed_gives_another_oracle_and_corpus(corpus, tmp_path):
    other = read(synthetic.builder(4, EXAMPLES, str(tmp_path)))
    assert np.mean(other["train"]["tokens"] == corpus["train"]["tokens"]) < 0.1
    assert not np.any(other["train"]["latent"] == corpus["train"]["latent"])
    first, second = synthetic.oracle(3), synthetic.oracle(4)
    for a, b in zip(first.weights, second.weights, strict=True):
        assert np.mean(a.numpy() == b.numpy()) < 0.01


def test_splits_are_draws_of_their_own(corpus):
    rows = [tuple(z) for split in corpus.values() for z in split["latent"]]
    assert len(set(rows)) == 3 * EXAMPLES


def test_prepared_data_is_used_again(tmp_path, monkeypatch):
    synthetic.builder(5, 3, str(tmp_path))
    monkeypatch.setattr(synthetic, "oracle", lambda seed: pytest.fail("generated again"))
    assert read(synthetic.builder(5, 3, str(tmp_path)))["test"]["tokens"].shape == (3, 5)


def test_latent_variables_are_standard_normal(corpus):
    latent = np.concatenate([split["latent"] for split in corpus.values()])
    # Standard errors of 1,200 draws are 0.03 for means and 0.04 for covariances: four of them.
    np.testing.assert_allclose(latent.mean(0), [0, 0], atol=0.12)
    np.testing.assert_allclose(np.cov(latent.T), np.eye(2), atol=0.16)


def test_symbols_are_drawn_by_the_oracle_given_their_latent_variable(corpus):
    oracle = synthetic.oracle(3)
    tokens, latent = (tf.constant(corpus["test"][name]) for name in ("tokens", "latent"))
    context = oracle.prepare(tokens)
    true = oracle.negative_log_likelihood(latent, context).numpy()
    shuffled = oracle.negative_log_likelihood(tf.roll(latent, 1, 0), context).numpy()
    assert true.mean() < shuffled.mean() - 5
    # A draw's expected surprise is the entropy, which other draws from the same distributions show as well.
    again = oracle.sample(latent, synthetic.SEQUENCE_LENGTH, tf.constant([7, 7]))
    entropy = oracle.negative_log_likelihood(latent, oracle.prepare(again)).numpy()
    error = np.sqrt(true.var() / len(true) + entropy.var() / len(entropy))
    assert abs(true.mean() - entropy.mean()) < 4 * error


def test_frequencies_of_the_first_symbol_are_the_oracle_s(corpus):
    # The distribution of the first symbol given z, summed over the latent variables of the corpus.
    oracle = synthetic.oracle(3)
    latent, tokens = (np.concatenate([split[name] for split in corpus.values()]) for name in ("latent", "tokens"))
    scores = oracle.logits(tf.zeros([1, 1], tf.int32))[0, 0] + latent @ oracle.latent_kernel.numpy()
    expected = tf.reduce_sum(tf.nn.softmax(scores), 0).numpy()
    counts = np.bincount(tokens[:, 0], minlength=1000)
    # Pearson's statistic over symbols expected at least five times: its mean is at most their number, its standard
    # deviation the root of twice that.
    common = expected >= 5
    statistic = np.sum((counts - expected)[common] ** 2 / expected[common])
    assert common.sum() > 30
    assert statistic < common.sum() + 4 * np.sqrt(2 * common.sum())
    # Frequencies of other symbols would not do.
    assert np.sum((np.roll(counts, 1) - expected)[common] ** 2 / expected[common]) > 4 * statistic


def test_oracle_has_the_paper_s_weights_and_is_fixed():
    oracle = synthetic.oracle(1)
    assert oracle.trainable_variables == []
    for weight in oracle.weights:
        limit = 5 if weight is oracle.latent_kernel else 1
        assert 0.95 * limit < np.abs(weight.numpy()).max() <= limit


def test_data_dir_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"^--data_dir={tmp_path}/file/data: cannot write there"):
        synthetic.builder(1, 3, str(tmp_path / "file" / "data"))


EXAMPLES_DRAWN = """
import sys
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(int(sys.argv[1]))
from sa_vae_tf.data import synthetic
config = synthetic.SyntheticConfig(name="seed_3", seed=3, examples=300, description="-")
for _, example in synthetic.SyntheticSequences(config=config, data_dir=sys.argv[2])._generate_examples(0):
    print(*example["tokens"], *example["latent"])
"""


@pytest.mark.slow
def test_number_of_threads_does_not_change_the_corpus(tmp_path):
    def drawn_with(threads):
        command = [sys.executable, "-c", EXAMPLES_DRAWN, str(threads), str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    one = drawn_with(1)
    assert one.count("\n") == 300
    assert drawn_with(4) == one
