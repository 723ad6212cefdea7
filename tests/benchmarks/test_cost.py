"""The arithmetic of a step's cost, against the products and convolutions in TensorFlow's graph."""

import dataclasses
import math

import pytest
import tensorflow as tf

from sa_vae_tf.benchmarks.cost import FORWARD, REVERSE, SHARED, Cost, parts_cost, step_cost
from sa_vae_tf.benchmarks.sizes import SIZES, make
from sa_vae_tf.inference.kept import Keep, Kept, keeping
from sa_vae_tf.inference.posterior import Posterior
from sa_vae_tf.inference.products import bound_and_gradient, exact
from sa_vae_tf.training.config import Config

# Short enough that the recurrence is a chain of products rather than a loop.
TINY = {
    "text": Config(**{**SIZES["small"], "batch_size": 3, "kernels": "fused"}),
    "two layers": Config(**{**SIZES["small"], "batch_size": 3, "kernels": "fused", "layers": 2}),
    "image": Config(
        data="image", data_file="random", image_height=8, image_width=12, encoder_channels="4,6", latent_dim=5,
        pixelcnn_kernels="5,3,3", pixelcnn_channels=6, pixelcnn_latent_maps=2, batch_size=3,
    ),
    "image by frequencies": Config(
        data="image", data_file="random", image_height=8, image_width=12, encoder_channels="4,6", latent_dim=5,
        pixelcnn_kernels="5,7,5,3", pixelcnn_channels=16, pixelcnn_latent_maps=2, batch_size=3, kernels="hybrid",
    ),
}  # fmt: skip


def needed(graph) -> list[tf.Operation]:
    """Returns the operations of a graph that its results need."""
    waiting = [*(tensor.op for tensor in graph.outputs), *graph.control_outputs]
    found: dict[str, tf.Operation] = {}
    while waiting:
        operation = waiting.pop()
        if operation.name not in found:
            found[operation.name] = operation
            waiting += [*(tensor.op for tensor in operation.inputs), *operation.control_inputs]
    return list(found.values())


def flops(function) -> int:
    """Returns the floating-point operations of all products and convolutions that a function needs."""
    total = 0
    for operation in needed(tf.function(function, autograph=False).get_concrete_function().graph):
        if operation.type == "MatMul":
            left = operation.inputs[0].shape
            total += 2 * operation.outputs[0].shape.num_elements() * left[0 if operation.get_attr("transpose_a") else 1]
        elif operation.type == "BatchMatMulV2":
            left = operation.inputs[0].shape
            total += 2 * operation.outputs[0].shape.num_elements() * left[-2 if operation.get_attr("adj_x") else -1]
        elif operation.type == "Conv2D":
            total += 2 * operation.outputs[0].shape.num_elements() * math.prod(operation.inputs[1].shape[:3])
        elif operation.type == "Conv2DBackpropFilter":
            kernel = operation.outputs[0].shape
            total += 2 * operation.inputs[2].shape.num_elements() * math.prod(kernel[:3])
    return total


def moved(function) -> int:
    """Returns the bytes of the results of all products and convolutions, written once and read once."""
    graph = tf.function(function, autograph=False).get_concrete_function().graph
    results = [f.outputs[0] for f in needed(graph) if f.type in ("MatMul", "BatchMatMulV2", "Conv2D")]
    return sum(2 * result.shape.num_elements() * result.dtype.size for result in results)


@pytest.mark.parametrize("name", TINY)
def test_a_pass_forward(name):
    model, batch = make(TINY[name])
    data, layers = TINY[name].data, TINY[name].layers
    z, x = tf.zeros([3, model.latent_dim]), batch["x"]
    context = model.decoder.prepare(x)
    counted = FORWARD[data](TINY[name])
    assert flops(lambda: model.decoder.prepare(x)) == counted.once.flops
    encoder, local = flops(lambda: model.encoder(x)), flops(lambda: model.decoder.negative_log_likelihood(z, context))
    assert moved(lambda: model.decoder.prepare(x)) == counted.once.bytes
    if data == "image":
        assert (encoder, local) == (counted.encoder.flops, counted.local.flops)
        assert moved(lambda: model.encoder(x)) == counted.encoder.bytes
        assert moved(lambda: model.decoder.negative_log_likelihood(z, context)) == counted.local.bytes
    else:
        # The arithmetic leaves out the maps to and from z.
        assert encoder == pytest.approx(counted.encoder.flops + 2 * 2 * 3 * 100 * model.latent_dim, rel=1e-12)
        # The fused softmax takes the gradient to its states along: it is the first product back.
        back = 2 * 15 * 100 * 1000
        assert local == counted.local.flops + back + 2 * 3 * model.latent_dim * (4 + layers) * 100


def test_the_last_bound_and_its_derivative():
    config = TINY["image by frequencies"]
    model, batch = make(config)
    at = Posterior(*(tf.zeros([3, model.latent_dim]) for _ in range(2)))
    weights = [w.value for w in model.decoder.trainable_variables]

    def learn():
        with tf.GradientTape() as tape:
            tape.watch(at)
            context = model.decoder.prepare(batch["x"])
            likelihood = model.decoder.negative_log_likelihood(tf.add_n(at), context)
        return tape.gradient(likelihood, [*at, *weights])

    # An image has no derivative, which the arithmetic counts as an embedded text's.
    counted = step_cost(config, 0, model.settings)["bound"].flops
    assert flops(learn) == counted - FORWARD["image"](config).once.flops


@pytest.mark.parametrize("keep", [Keep.NOTHING, Keep.ALL])
def test_passes_back_to_the_weights_share_transforms(keep):
    config = dataclasses.replace(TINY["image by frequencies"], batch_size=7)
    model, batch = make(config)
    context, weights = model.decoder.prepare(batch["x"]), [w.value for w in model.decoder.trainable_variables]
    at = Posterior(*(tf.zeros([7, model.latent_dim]) for _ in range(2)))

    def bound(posterior):
        return model.decoder.negative_log_likelihood(tf.add_n(posterior), context)

    @tf.function(autograph=False)
    def reverse():
        with keeping(keep) as step:
            bound_and_gradient(bound, at)
        found = tf.nest.map_structure(lambda x: tf.zeros(x.shape), step.found)
        return exact(bound, at, at, tf.zeros([7]), weights, Kept(keep, found))

    def transforms(function) -> int:
        """Returns the operations of products of maps, of seven examples each, that the results need."""
        maps = [
            f
            for f in needed(function.get_concrete_function().graph)
            if f.type == "BatchMatMulV2" and 7 in (f.outputs[0].shape[0], f.inputs[1].shape[0])
        ]
        sums = (f.inputs[0].shape[-2 if f.get_attr("adj_x") else -1] for f in maps)
        return sum(2 * f.outputs[0].shape.num_elements() * size for f, size in zip(maps, sums, strict=True))

    one = FORWARD["image"](config).transforms.flops
    assert transforms(reverse) == (REVERSE[keep] - SHARED[keep]) * one


@pytest.mark.parametrize("generator", ["learned", "oracle"])
def test_a_step_of_the_synthetic_generator(generator):
    # Without refinement, whose products are small beside the others. What is left out is a hundredth.
    config = Config(**{**SIZES["synthetic"], "method": "vae", "generator": generator, "batch_size": 5})
    model, batch = make(config)
    counted = sum(step_cost(config, 0, model.settings).values(), Cost()).flops
    assert flops(lambda: model.train_step(batch)["loss"]) == pytest.approx(counted, rel=0.02)


def test_steps_and_products_add_up():
    config = Config(**SIZES["medium"])

    def total(kept=None, **changes):
        changed = dataclasses.replace(config, **changes)
        own = dataclasses.replace(changed.refinement_settings(), **(kept or {}))
        return sum(step_cost(changed, changed.svi_steps, own).values(), Cost()).flops

    local = FORWARD["text"](config).local.flops
    # A step forward costs two passes, and its reverse six.
    assert total(svi_steps=7) - total(svi_steps=6) == 8 * local
    assert total(svi_steps=7, reverse_steps=2) == total(svi_steps=7) - 5 * 6 * local
    assert total(svi_steps=7, method="vae_svi_kl") == total(svi_steps=7, reverse_steps=0)
    # The encoder of VAE + SVI learns from a bound of its own, forward and back to z.
    assert total(svi_steps=7, method="vae_svi") == total(svi_steps=7, method="vae_svi_kl") + 2 * local
    # What was kept is not computed again: the small results spare a pass, all of them two.
    assert total() - total({"keep": (5, 0, 0)}) == 5 * local
    assert total() - total({"keep": (5, 4, 3)}) == (2 + 2 * 3) * local
    assert total({"keep": (0, 0, 3)}, reverse_steps=2) == total(reverse_steps=2) - 2 * 2 * local
    assert total(svi_steps=0) == total(svi_steps=0, method="vae")


@pytest.mark.parametrize(
    ("settings", "back"), [(SIZES["medium"], 2), (SIZES["synthetic"], 2), ({"generator": "oracle"}, 0)]
)
def test_parts_on_their_own_prepare_for_themselves(settings, back):
    config = Config(**settings)
    whole, parts = (cost(config, 3, config.refinement_settings()) for cost in (step_cost, parts_cost))
    once = FORWARD[config.data](config).once
    # The refinement goes through it once, its reverse back: to the weights, if any, and to the embedded symbols.
    assert parts["refinement"] == whole["refinement"] + once
    assert parts["reverse"] == whole["reverse"] + once.times(back)
    assert all(parts[name] == whole[name] for name in ("encoder", "bound"))


def test_bytes_of_the_normalisers_of_the_synthetic_generator():
    # Beside a product for each of five examples its own scores, a thousand for each of five words, are read once.
    config = Config(**{**SIZES["synthetic"], "batch_size": 5})
    assert FORWARD["synthetic"](config).local.bytes == 4 * (2 * 5 * 1000 + 5 * 5 * 1000)
