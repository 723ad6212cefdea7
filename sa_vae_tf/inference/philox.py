"""Random bits of many examples at once, those that TensorFlow draws for each of them alone.

TensorFlow's generators take one key at a time. Of many examples that is a loop, of which a GPU launches a few small
operations for each. The generator is Philox4x32-10 (Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3).
"""

from __future__ import annotations

import tensorflow as tf

ROUNDS = 10
FACTORS = 0xD2511F53, 0xCD9E8D57
KEY_STEPS = 0x9E3779B9, 0xBB67AE85
# How TensorFlow makes a key and the upper half of a counter of a seed.
SEEDING_KEY = 0x3EC8F720, 0x02461E29

Words = list[tf.Tensor]  # uint32, of shapes that broadcast


def bits_of_examples(common: tf.Tensor, index: tf.Tensor, size: int | tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Draws `tf.random.stateless_uniform([size], [common, index[i]], ...)` with whole numbers of all bits for each i.

    Args:
      common: int64, the first number of the seeds.
      index: int64 [batch], their second.
      size: how many numbers each.
      dtype: uint32 or uint64.

    Returns:
      [batch, size] of that type.
    """
    wide = dtype == tf.uint64
    seeding = [tf.constant(word, tf.uint32) for word in SEEDING_KEY]
    key_and_counter = _philox(seeding, [*_halves(common), *_halves(index)])
    key, counter = ([word[:, None] for word in part] for part in (key_and_counter[:2], key_and_counter[2:]))
    blocks = -(-size // (2 if wide else 4))
    block = tf.bitcast(tf.range(blocks), tf.uint32)[None]
    words = tf.stack(_philox(key, [block, tf.zeros_like(block), *counter]), -1)
    if wide:
        words = tf.bitcast(tf.reshape(words, [-1, 2 * blocks, 2]), tf.uint64)
    return tf.reshape(words, [-1, (2 if wide else 4) * blocks])[:, :size]


def _philox(key: Words, counter: Words) -> Words:
    """Returns the four words that a key of two makes of a counter of four."""
    a, b, c, d = counter
    for number in range(ROUNDS):
        first, second = (word + _word(number * step) for word, step in zip(key, KEY_STEPS, strict=True))
        a, b, c, d = (
            _xor(_high(FACTORS[1], c), b, first),
            c * _word(FACTORS[1]),
            _xor(_high(FACTORS[0], a), d, second),
            a * _word(FACTORS[0]),
        )
    return [a, b, c, d]


def _high(factor: int, word: tf.Tensor) -> tf.Tensor:
    """Returns the upper half of a product."""
    product = tf.cast(word, tf.uint64) * tf.constant(factor, tf.uint64)
    return tf.cast(tf.bitwise.right_shift(product, tf.constant(32, tf.uint64)), tf.uint32)


def _xor(first: tf.Tensor, *others: tf.Tensor) -> tf.Tensor:
    for other in others:
        first = tf.bitwise.bitwise_xor(first, other)
    return first


def _word(number: int) -> tf.Tensor:
    return tf.constant(number % 2**32, tf.uint32)


def _halves(number: tf.Tensor) -> Words:
    """Returns the lower and the upper half of whole numbers of 64 bits."""
    halves = tf.bitcast(number, tf.uint32)
    return [halves[..., 0], halves[..., 1]]
