"""A batch spread over devices, of this machine and of others: each takes some of its rows, all get what comes of it.

The variables that are trained are plain ones. Every worker has its own, begins with those of worker 0 and makes the
same steps, since all get the same gradients, to the bit; every further device of a worker has a copy of the models,
which is brought up to date before each step. What TensorFlow's strategies do here is to run and to add up.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from sa_vae_tf.training.step import draws, figures_and_gradients

if TYPE_CHECKING:
    from sa_vae_tf.training.model import LatentVariableModel

Rows = Mapping[str, tf.Tensor]


class Replicas:
    """The devices that a model computes on.

    Args:
      strategy: a mirrored one, of one worker or of several.
      model: that is trained.
      copy: makes another model of the same settings.
      jit_compile: whether XLA compiles what a device computes.
      normalises_batches: whether the encoder asks the other devices for their moments, and is then not compiled.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        model: LatentVariableModel,
        copy: Callable[[], LatentVariableModel],
        jit_compile: bool,
        normalises_batches: bool = False,
    ):
        self.strategy, self.jit_compile, self.normalises_batches = strategy, jit_compile, normalises_batches
        self.models = [model]
        for device in strategy.extended.worker_devices[1:]:
            with tf.device(device):
                self.models.append(copy())
        # Set to 1, it makes every worker stop after the same step: `stopping` is then above 0 everywhere.
        self.stop = tf.Variable(0.0, trainable=False)
        self.stopping = tf.Variable(0.0, trainable=False)
        self.trace_anew()

    def trace_anew(self) -> None:
        """Forgets what was compiled, for another number of refinement steps."""
        for copy in self.models[1:]:
            copy.steps, copy.settings = self.models[0].steps, self.models[0].settings
        self._draws = self._compiled(functools.partial(draws, self.models[0]))
        self._learn = [self._learning(model) for model in self.models]
        self._values = [self._compiled(model.values) for model in self.models]

    def _learning(self, model: LatentVariableModel) -> Callable:
        if self.normalises_batches:
            return functools.partial(figures_and_gradients, model, fuse=self._compiled)
        return self._compiled(functools.partial(figures_and_gradients, model))

    def _compiled(self, function: Callable) -> Callable:
        return tf.function(function, autograph=False, jit_compile=True) if self.jit_compile else function

    def figures_and_gradients(self, batch: Rows) -> Sequence[tf.Tensor]:
        """Returns what `step.figures_and_gradients` does, of the whole batch.

        Args:
          batch: as for training; of several workers each has the rows that it is to compute, see `data.pipeline.Share`.
        """
        rows, seeds = self._draws(batch)
        first = batch.get("first", 0)

        def replica():
            context, local = self._here()
            part, before = _part(rows, local, len(self.models))
            number = (first + before) // tf.shape(part["x"])[0]
            own = self._learn[local](part, seeds, number)
            return context.all_reduce(tf.distribute.ReduceOp.MEAN, [*own, self.stop.read_value()])

        *whole, stop = self._run(replica)
        self.stopping.assign(stop)
        return whole

    def values(self, batch: Rows) -> dict[str, tf.Tensor]:
        """Returns what `LatentVariableModel.values` does, of the whole batch."""
        names: list[str] = []
        size = tf.shape(batch["index"])[0]

        def replica():
            context, local = self._here()
            count = self.strategy.num_replicas_in_sync
            part, before = _part(batch, tf.convert_to_tensor(context.replica_id_in_sync_group), count)
            own = self._values[local](part)
            names[:] = own
            # As often as each example is computed.
            share = tf.cast(size // tf.shape(part["index"])[0], tf.float32) / count
            whole = []
            for value in own.values():
                around = [[before, size - before - tf.shape(value)[0]], *([[0, 0]] * (len(value.shape) - 1))]
                whole.append(share * tf.pad(value, around))
            return context.all_reduce(tf.distribute.ReduceOp.SUM, whole)

        whole = self._run(replica)
        return dict(zip(names, whole, strict=True))

    def begin_alike(self, variables: Sequence[tf.Variable]) -> None:
        """Gives these variables in every worker the values that they have in worker 0."""

        @tf.function(autograph=False)
        def of_first() -> Sequence[tf.Tensor]:
            def replica():
                context = tf.distribute.get_replica_context()
                first = tf.equal(context.replica_id_in_sync_group, 0)
                # In float64, which holds every number of the other types but integers above 2^53.
                own = [tf.where(first, tf.cast(variable, tf.float64), 0.0) for variable in variables]
                return context.all_reduce(tf.distribute.ReduceOp.SUM, own)

            return self._run(replica, update=False)

        for variable, value in zip(variables, of_first(), strict=True):
            variable.assign(tf.cast(value, variable.dtype))

    def agree(self, number: int) -> bool:
        """Returns whether all workers were given the same number, of at most 40 bits."""

        @tf.function(autograph=False)
        def total() -> Sequence[tf.Tensor]:
            def replica():
                own = tf.constant(number, tf.float64)  # In which the sum of as many is exact.
                return [tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, own)]

            return self._run(replica, update=False)

        return float(total()[0]) == number * self.strategy.num_replicas_in_sync

    def _run(self, replica: Callable, update: bool = True) -> Sequence[tf.Tensor]:
        first, *others = self.models
        for copy in others if update else ():
            for own, variable in zip([first.step, *first.weights], [copy.step, *copy.weights], strict=True):
                variable.assign(tf.convert_to_tensor(own))
        return [self.strategy.experimental_local_results(value)[0] for value in self.strategy.run(replica)]

    def _here(self) -> tuple[Any, int]:
        """Returns the context of this replica, and its number among those of this worker."""
        context = tf.distribute.get_replica_context()
        # Replicas are numbered worker by worker, and every worker has as many.
        return context, int(tf.get_static_value(context.replica_id_in_sync_group)) % len(self.models)


def _part(rows: Rows, number: int | tf.Tensor, count: int) -> tuple[Rows, tf.Tensor]:
    """Returns the rows that one of `count` devices takes, and how many are before them.

    There are as many parts as divide both the rows and the devices, so that each is taken equally often: a batch that
    the devices cannot share evenly, as the last one of an epoch, is computed by several of them.
    """
    batch = tf.shape(next(iter(rows.values())))[0]
    numbers = tf.range(1, count + 1)
    parts = tf.reduce_max(tf.where((batch % numbers == 0) & (count % numbers == 0), numbers, 1))
    size = batch // parts
    before = number % parts * size
    return {name: t[before : before + size] for name, t in rows.items()}, before
