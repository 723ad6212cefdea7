"""Prints how far gradients summed over two replicas are from those of one device, for each product."""

import json

import tensorflow as tf

from sa_vae_tf.inference import Draw, Posterior, RefinementSettings, refine
from tests.inference import toy

BATCH, STEPS = 6, 4


def main() -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert strategy.num_replicas_in_sync == 2
    with strategy.scope():
        mirrored = toy.make(STEPS, BATCH)
    assert isinstance(mirrored.variables[0], tf.distribute.DistributedValues)

    def gradients(problem: toy.Problem, rows: slice, refinement: RefinementSettings) -> list[tf.Tensor]:
        draws = Draw(problem.step_draws.noise[:, rows], problem.step_draws.seed)
        final = Draw(problem.final_draw.noise[rows], problem.final_draw.seed)
        initial = Posterior(*(part[rows] for part in problem.initial))
        with tf.GradientTape() as tape:
            context = problem.decoder.prepare(problem.tokens[rows])
            refined = refine(problem.bound, initial, context, draws, refinement)
            loss = tf.reduce_sum(problem.bound(refined.posterior, context, final)) / BATCH
        return [tf.convert_to_tensor(g) for g in tape.gradient(loss, problem.variables)]

    errors = {}
    for product in ("exact", "finite_difference"):
        refinement = RefinementSettings(0.15, 0.1, clip_norm=1.0, product=product)

        @tf.function
        def both(refinement=refinement):
            # One traced call: replicas differ in their half of the batch only.
            def replica():
                half = BATCH // 2
                first = tf.distribute.get_replica_context().replica_id_in_sync_group * half
                return gradients(mirrored, slice(first, first + half), refinement)

            return [strategy.reduce("SUM", g, axis=None) for g in strategy.run(replica)]

        errors[product] = toy.relative_error(both(), gradients(toy.make(STEPS, BATCH), slice(0, BATCH), refinement))
    print(json.dumps(errors))


if __name__ == "__main__":
    main()
