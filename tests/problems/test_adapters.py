"""Networks of flax and equinox as problems: the same numbers as the plain function, as optax, as each other; masks of
dropout enumerated; what is refused."""

import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from jax.tree_util import Partial, tree_leaves, tree_map, tree_structure

from sgdsde import noise
from sgdsde.dynamics.matching import match
from sgdsde.dynamics.minibatch import sgd
from sgdsde.problem import Problem, example_gradients, gradient, loss
from sgdsde.problems.adapters import from_equinox, from_linen, from_nnx, model_of
from sgdsde.simulation import simulate

DATA = np.random.default_rng(11)
INPUTS = DATA.standard_normal((12, 3))
LABELS = np.arange(12, dtype=np.int32) % 2
BOTH = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def cross_entropy(logits, label):
    return jax.nn.logsumexp(logits) - logits[label]


def model_loss(model, example):
    """Of one example, for a model, linen's apply or anything else that takes inputs."""
    return cross_entropy(model(example[0]), example[1])


class NnxNet(nnx.Module):
    def __init__(self, rngs, dtype):
        self.hidden = nnx.Linear(3, 4, param_dtype=dtype, rngs=rngs)
        self.out = nnx.Linear(4, 2, param_dtype=dtype, rngs=rngs)

    def __call__(self, inputs):
        return self.out(jnp.tanh(self.hidden(inputs)))


def nnx_net(rngs):
    return NnxNet(rngs, jnp.float64)


def nnx_net32(rngs):
    return NnxNet(rngs, jnp.float32)


class LinenNet(linen.Module):
    dtype: type = jnp.float64

    @linen.compact
    def __call__(self, inputs):
        hidden = jnp.tanh(linen.Dense(4, param_dtype=self.dtype, name="hidden")(inputs))
        return linen.Dense(2, param_dtype=self.dtype, name="out")(hidden)


def equinox_net(key):
    return eqx.nn.MLP(3, 2, 4, 1, activation=jnp.tanh, dtype=jnp.float64, key=key)


def equinox_net32(key):
    return eqx.nn.MLP(3, 2, 4, 1, activation=jnp.tanh, dtype=jnp.float32, key=key)


def equinox_params(params):
    """The same weights under equinox's names, its matrices the other way round."""
    places = {"hidden": "layers[0]", "out": "layers[1]"}
    weights = {f"{places[name]}.weight": layer["kernel"].T for name, layer in params.items()}
    return weights | {f"{places[name]}.bias": layer["bias"] for name, layer in params.items()}


def plain_loss(params, example):
    hidden = jnp.tanh(example[0] @ params["hidden"]["kernel"] + params["hidden"]["bias"])
    return cross_entropy(hidden @ params["out"]["kernel"] + params["out"]["bias"], example[1])


def problems(dtype):
    examples = (INPUTS.astype(dtype), LABELS)
    single = dtype == np.float32
    return {
        "nnx": from_nnx(nnx_net32 if single else nnx_net, model_loss, examples),
        "linen": from_linen(LinenNet(dtype=jnp.dtype(dtype).type), model_loss, examples),
        "equinox": from_equinox(equinox_net32 if single else equinox_net, model_loss, examples),
    }


@jax.jit
def numbers_of(pairs):
    """Loss, gradient and the first example's loss of each (problem, params); the latter by the model too."""
    first = (pairs[0][0].examples[0][0], 1)
    modelled = [model_loss(model_of(problem, params), first) for problem, params in pairs[1:]]
    return modelled, [
        (loss(problem, params), gradient(problem, params), problem.example_loss(params, first))
        for problem, params in pairs
    ]


@BOTH
def test_the_same_numbers_as_the_plain_function_in_every_library(dtype):
    made = problems(dtype)
    params = made["nnx"].init(jax.random.key(5))
    assert tree_structure(params) == tree_structure(made["linen"].params_like)
    assert all(leaf.dtype == dtype for leaf in tree_leaves(params))
    plain = Problem(plain_loss, made["nnx"].examples, made["nnx"].init)
    pairs = [(plain, params), (made["nnx"], params), (made["linen"], params), (made["equinox"], equinox_params(params))]
    modelled, ((value, slope, of_one), *others) = numbers_of(pairs)
    rounding = dict(rtol=20 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).eps)
    np.testing.assert_allclose(modelled, np.full(3, of_one), **rounding)
    for (problem, given), numbers in zip(pairs[1:], others, strict=True):
        np.testing.assert_allclose(numbers[0], value, **rounding)
        np.testing.assert_allclose(numbers[2], of_one, **rounding)
        assert tree_structure(numbers[1]) == tree_structure(given) == tree_structure(problem.params_like)
        expected = equinox_params(slope) if problem is made["equinox"] else slope
        tree_map(lambda got, want: np.testing.assert_allclose(got, want, **rounding), numbers[1], expected)


@BOTH
def test_sgd_is_optax_sgd_on_the_same_minibatches(dtype):
    """Beside the loop that a user of nnx writes: nnx.Optimizer on a model, with the loss of a whole batch."""
    problem = problems(dtype)["nnx"]
    rate, momentum = 0.25, 0.5
    dynamics = sgd(problem, learning_rate=rate, batch_size=4, sampling="without_replacement", momentum=momentum)
    start = problem.init(jax.random.key(2))
    state, model = dynamics.init(start), model_of(problem, start)
    optimizer = nnx.Optimizer(model, optax.sgd(rate, momentum), wrt=nnx.Param)

    @nnx.jit
    def train(model, optimizer, inputs, labels):
        batch_loss = lambda model: jnp.mean(jax.vmap(cross_entropy)(model(inputs), labels))
        optimizer.update(model, nnx.grad(batch_loss)(model))

    advance = jax.jit(lambda dynamics, state, indices, step: dynamics.advance(state, indices, step))
    draws = jax.vmap(lambda step: dynamics.draw(jax.random.key(3), step, 0))(jnp.arange(10))
    for step, indices in enumerate(draws):
        state = advance(dynamics, state, indices, step)
        with jax.numpy_dtype_promotion("standard"):
            train(model, optimizer, *(leaf[indices] for leaf in problem.examples))
    trained = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    moved = tree_map(lambda new, old: np.abs(new - old).max(), trained, start)
    assert min(tree_leaves(moved)) > 1e-2
    limit = dict(rtol=0, atol=50 * np.finfo(dtype).eps)
    tree_map(lambda got, want: np.testing.assert_allclose(got, want, **limit), state.params, trained)


def test_a_second_problem_of_the_same_architecture_compiles_nothing():
    traces = []

    @jax.jit
    def slope(problem, params):
        traces.append(1)
        return gradient(problem, params)

    makers = (
        lambda factor: from_nnx(nnx_net, model_loss, (factor * INPUTS, LABELS)),
        lambda factor: from_linen(LinenNet(), model_loss, (factor * INPUTS, LABELS)),
        lambda factor: from_equinox(equinox_net, model_loss, (factor * INPUTS, LABELS)),
    )
    for count, make in enumerate(makers, start=1):
        first, second = make(1.0), make(2.0)
        params = first.params_like
        assert hash(tree_structure(first)) == hash(tree_structure(second))
        jax.eval_shape(slope, first, params)
        jax.eval_shape(slope, second, params)
        assert len(traces) == count


@pytest.mark.parametrize("name", ["nnx", "linen", "equinox"])
def test_chains_start_apart_and_steps_keep_the_parameters_form(name, key):
    problem = problems(np.float64)[name]
    same, other = problem.init(key), problem.init(jax.random.key(1))
    tree_map(np.testing.assert_array_equal, problem.init(key), same)
    moved = [bool((a != b).any()) for a, b in zip(tree_leaves(same), tree_leaves(other), strict=True)]
    assert sum(moved) >= 2  # equinox draws biases too, flax starts them at zero
    for dynamics in beside(problem):
        state = jax.eval_shape(lambda d=dynamics: d.advance(d.init(same), d.draw(key, 0, 0), 0))
        assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state.params) == jax.tree.map(
            lambda leaf: (leaf.shape, leaf.dtype), problem.params_like
        )


@pytest.mark.slow  # two compilations each; every day tests/test_docs.py runs chains of an nnx model
@pytest.mark.parametrize("name", ["nnx", "linen", "equinox"])
def test_chains_run(name, key):
    problem = problems(np.float64)[name]
    for dynamics in beside(problem):
        run = simulate(dynamics, problem.init, key, num_steps=4, num_chains=3, observe=largest, every=2)
        assert (run.diverged_at == -1).all()
        assert len(np.unique(run.observed)) == 6
        assert tree_structure(run.params) == tree_structure(problem.params_like)


def beside(problem):
    discrete = sgd(problem, learning_rate=0.5, batch_size=3, sampling="with_replacement")
    return discrete, match(discrete, noise.anisotropic, substeps=1)


def largest(params):
    return jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in tree_leaves(params)]))


# What a model carries beside its parameters.


class Masked(nnx.Module):
    """A plain array, a variable that is not a parameter, a shared weight, a list of layers."""

    def __init__(self, rngs, factor):
        self.mask = jnp.array([1.0, 0.0, 1.0])
        self.factor = nnx.Variable(jnp.asarray(factor))
        self.layers = nnx.List([nnx.Linear(3, 3, param_dtype=jnp.float64, rngs=rngs) for _ in range(2)])
        self.layers[1].kernel = self.layers[0].kernel

    def __call__(self, inputs):
        return self.factor[...] * self.layers[1](self.layers[0](inputs * self.mask))[:2]


def test_constants_are_leaves_and_shared_weights_stay_shared():
    made = [from_nnx(Partial(Masked, factor=factor), model_loss, (INPUTS, LABELS)) for factor in (1.0, 2.0)]
    assert tree_structure(made[0]) == tree_structure(made[1])
    _, constants = made[1].example_loss.args
    assert sorted(constants) == ["factor", "mask"]
    params = made[0].init(jax.random.key(0))
    assert sorted(params["layers"]) == [0, 1]
    assert sorted(params["layers"][1]) == ["bias"]

    def direct(params, example, factor):
        kernel, first, second = params["layers"][0]["kernel"], params["layers"][0]["bias"], params["layers"][1]["bias"]
        hidden = (example[0] * np.array([1.0, 0.0, 1.0])) @ kernel + first
        return cross_entropy(factor * (hidden @ kernel + second)[:2], example[1])

    mean = lambda params, factor: jnp.mean(jax.vmap(lambda e: direct(params, e, factor))((INPUTS, LABELS)))
    direct_slope, problem_slope = jax.jit(jax.grad(mean)), jax.jit(gradient)
    for problem, factor in zip(made, (1.0, 2.0), strict=True):
        slope, given = direct_slope(params, factor), problem_slope(problem, params)
        tree_map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14), given, slope)


class WithTable(eqx.Module):
    net: eqx.nn.MLP
    table: jax.Array
    scale: jax.Array

    def __init__(self, key):
        self.net = equinox_net(key)
        self.table = jnp.array([1, 0])
        self.scale = jnp.array([3.0, 5.0])

    def __call__(self, inputs):
        return self.scale * self.net(inputs)[self.table]


def test_what_is_trained_can_be_chosen():
    every = from_equinox(WithTable, model_loss, (INPUTS, LABELS))
    _, constants = every.example_loss.args
    assert "scale" in every.params_like
    np.testing.assert_array_equal(constants[0], [1, 0])
    is_matrix = lambda leaf: eqx.is_inexact_array(leaf) and leaf.ndim == 2
    with pytest.raises(ValueError, match="is not trained, but it depends on the random key"):
        from_equinox(WithTable, model_loss, (INPUTS, LABELS), trained=is_matrix)
    is_weight = lambda leaf: eqx.is_inexact_array(leaf) and leaf.shape != (2,)

    def unbiased(key):
        return eqx.tree_at(lambda model: model.net.layers[-1].bias, WithTable(key), jnp.zeros(2))

    fewer = from_equinox(unbiased, model_loss, (INPUTS, LABELS), trained=is_weight)
    assert sorted(fewer.params_like) == ["net.layers[0].bias", "net.layers[0].weight", "net.layers[1].weight"]
    expected = jax.jit(lambda: mean_loss(unbiased(jax.random.key(3)), (INPUTS, LABELS)))()
    np.testing.assert_allclose(jax.jit(loss)(fewer, fewer.init(jax.random.key(3))), expected, rtol=1e-12)
    only_out = from_nnx(nnx_net_with_fixed_hidden, model_loss, (INPUTS, LABELS), trained=nnx.PathContains("out"))
    assert list(only_out.params_like) == ["out"]


def nnx_net_with_fixed_hidden(rngs):
    model = nnx_net(rngs)
    model.hidden = nnx.Linear(3, 4, param_dtype=jnp.float64, rngs=nnx.Rngs(7))
    return model


class Recurrent(nnx.Module):
    """Holds a random stream that it never draws from: that is not dropout."""

    def __init__(self, rngs):
        self.cell = nnx.RNN(nnx.GRUCell(3, 4, param_dtype=jnp.float64, rngs=rngs), rngs=rngs)

    def __call__(self, inputs):
        return self.cell(jnp.stack([inputs, inputs]))[-1]


def test_a_recurrent_network_is_no_dropout():
    with jax.numpy_dtype_promotion("standard"):
        assert "cell" in from_nnx(Recurrent, model_loss, (INPUTS, LABELS)).params_like


# Dropout: the mask is part of the example.


class NnxDropped(nnx.Module):
    def __init__(self, rngs):
        self.dropout = nnx.Dropout(0.25, rngs=rngs)
        self.again = nnx.Dropout(0.25, rngs=rngs)
        self.weights = nnx.Param(jnp.array([1.0, -2.0, 0.5]))

    def __call__(self, inputs):
        return self.dropout(inputs) @ self.weights[...]


class LinenDropped(linen.Module):
    @linen.compact
    def __call__(self, inputs, train):
        weights = self.param("weights", lambda key: jnp.array([1.0, -2.0, 0.5]))
        return linen.Dropout(0.25, deterministic=not train)(inputs) @ weights


class EquinoxDropped(eqx.Module):
    weights: jax.Array
    dropout: eqx.nn.Dropout

    def __init__(self, key):
        self.weights = jnp.array([1.0, -2.0, 0.5])
        self.dropout = eqx.nn.Dropout(0.25)

    def __call__(self, inputs, key=None):
        return self.dropout(inputs, key=key) @ self.weights


def squared(output, example):
    return (output - example[1]) ** 2 / 2


DROPPED = {
    "nnx": (from_nnx, NnxDropped, lambda model, example: squared(model(example[0]), example)),
    "linen": (from_linen, LinenDropped(), lambda apply, example: squared(apply(example[0], train=True), example)),
    "equinox": (from_equinox, EquinoxDropped, lambda model, example, key: squared(model(example[0], key), example)),
}


@pytest.mark.parametrize("name", DROPPED)
def test_dropout_is_a_finite_sum_over_masks(name):
    """One input at a time, w x m / 0.75 takes two values, so every term's mask is read from its loss. Over many masks
    the mean is the known (y - w.x)^2/2 + (p/(1-p)) sum w_i^2 x_i^2 / 2, p = 1/4; p for p/(1-p), or no 1/(1-p) in the
    output, would be off by 12 standard errors and more."""
    adapter, maker, dropped_loss = DROPPED[name]
    with jax.numpy_dtype_promotion("standard"):
        targets = np.array([0.5, -1.0, 2.0])
        num_masks = 4000
        problem = adapter(
            maker, dropped_loss, (2 * np.eye(3), targets), dropout_key=jax.random.key(8), num_masks=num_masks
        )
        assert problem.num_examples == 3 * num_masks
        assert problem.examples["mask_key"].dtype == jnp.uint32
        params = problem.init(jax.random.key(0))
        weights = np.ravel(tree_leaves(params)[0])
        terms = np.asarray(jax.jit(jax.vmap(problem.example_loss, in_axes=(None, 0)))(params, problem.examples))
        terms = terms.reshape(3, num_masks)
        kept = (2 * weights / 0.75 - targets) ** 2 / 2
        lost = targets**2 / 2
        is_kept, is_lost = (np.isclose(terms, values[:, None], rtol=1e-6) for values in (kept, lost))
        assert (is_kept ^ is_lost).all()
        fractions = is_kept.mean(axis=1)
        assert (np.abs(fractions - 0.75) < 5.9 * np.sqrt(0.75 * 0.25 / num_masks)).all()
        assert np.abs(np.corrcoef(is_kept)[np.triu_indices(3, 1)]).max() < 5.9 / np.sqrt(num_masks)
        expected = ((targets - 2 * weights) ** 2 / 2 + (0.25 / 0.75) * (2 * weights) ** 2 / 2).mean()
        error = np.sqrt((terms.var(axis=1) / num_masks).sum()) / 3
        assert abs(terms.mean() - expected) < 5.9 * error
        assert abs(0.25 * (2 * weights) ** 2 / 2 - (0.25 / 0.75) * (2 * weights) ** 2 / 2).mean() > 12 * error
        np.testing.assert_allclose(loss(problem, params), terms.mean(), rtol=1e-6)
        model = model_of(problem, params)
        output = model(2 * np.eye(3)[1], train=False) if name == "linen" else model(2 * np.eye(3)[1])
        np.testing.assert_allclose(output, 2 * weights[1], rtol=1e-6)  # switched off where it is evaluated


def test_layers_have_masks_of_their_own_and_the_sum_over_masks_has_exact_noise():
    class Two(nnx.Module):
        def __init__(self, rngs):
            self.first, self.second = (nnx.Dropout(0.5, rngs=rngs) for _ in range(2))
            self.weights = nnx.Param(jnp.ones(64))

        def __call__(self):
            return self.first(self.weights[...]), self.second(self.weights[...])

    def agreement(model, example):
        first, second = model()
        return example * jnp.mean(first * second)

    with jax.numpy_dtype_promotion("standard"):
        options = dict(dropout_key=jax.random.key(1), num_masks=5)
        problem = from_nnx(Two, agreement, np.ones(4), **options)
        params = problem.init(jax.random.key(0))
        slopes = jax.jit(example_gradients)(problem, params)["weights"]
        # Equal masks in both layers would give a half of the coordinates the slope 8/64, independent ones a quarter.
        fraction = np.mean(np.asarray(slopes) > 0)
        assert abs(fraction - 0.25) < 5.9 * np.sqrt(0.25 * 0.75 / slopes.size)
        assert len(np.unique(np.asarray(slopes) > 0, axis=0)) == 20
        law = noise.anisotropic(problem, batch_size=2, sampling="with_replacement")
        columns = jax.jit(jax.vmap(law.apply, in_axes=(None, 0)))(params, jnp.eye(20, dtype=jnp.float32))["weights"]
        covariance = np.cov(np.asarray(slopes).T, bias=True) / 2
        np.testing.assert_allclose(columns.T @ columns, covariance, rtol=1e-4, atol=1e-9)


# What is refused, and what the refusal says.


class NnxNormed(nnx.Module):
    def __init__(self, rngs, frozen):
        self.norm = nnx.BatchNorm(3, use_running_average=frozen, rngs=rngs)
        self.out = nnx.Linear(3, 2, rngs=rngs)

    def __call__(self, inputs):
        return self.out(self.norm(inputs))


class LinenNormed(linen.Module):
    frozen: bool

    @linen.compact
    def __call__(self, inputs):
        return linen.Dense(2)(linen.BatchNorm(use_running_average=self.frozen)(inputs))


def stateful_equinox(key):
    return eqx.nn.make_with_state(lambda key: eqx.nn.BatchNorm(3, "batch", mode="batch"))(key)


def test_state_is_refused_and_frozen_statistics_are_not():
    examples = (INPUTS.astype(np.float32), LABELS)
    with jax.numpy_dtype_promotion("standard"):
        for make, where in (
            (lambda: from_nnx(lambda rngs: NnxNormed(rngs, False), model_loss, examples), r"norm\.mean, norm\.var"),
            (lambda: from_linen(LinenNormed(False), model_loss, examples), "batch_stats"),
            (lambda: from_equinox(stateful_equinox, model_loss, examples), r"\[0\] is a BatchNorm"),
            (lambda: from_equinox(lambda key: stateful_equinox(key)[1], model_loss, examples), "is a State"),
        ):
            with pytest.raises(ValueError, match=f"{where}.*mean of independent example gradients.*GroupNorm"):
                make()
        frozen = from_nnx(lambda rngs: NnxNormed(rngs, True), model_loss, examples)
        assert sorted(frozen.example_loss.args[1]["norm"]) == ["mean", "var"]
        statistics = {"batch_stats": {"BatchNorm_0": {"mean": np.full(3, 2.0), "var": np.full(3, 4.0)}}}
        linen_frozen = from_linen(LinenNormed(True), model_loss, examples, constants=statistics)
        params = linen_frozen.init(jax.random.key(0))
        dense = params["Dense_0"]["kernel"]
        expected = (examples[0][0] - 2) / np.sqrt(4 + 1e-5) @ dense
        np.testing.assert_allclose(model_of(linen_frozen, params)(examples[0][0]), expected, rtol=1e-5)


def mean_loss(model, examples):
    return jnp.mean(jax.vmap(cross_entropy)(jax.vmap(model)(examples[0]), examples[1]))


def normalised_loss(model, examples):
    inputs = examples[0] - 0.01 * examples[0].mean(axis=0, keepdims=True)
    return mean_loss(model, (inputs, examples[1]))


def contrastive_loss(model, examples):
    outputs = jax.vmap(model)(examples[0])
    return mean_loss(model, examples) + 1e-3 * jnp.mean((outputs @ outputs.T) ** 2)


def summed_loss(model, examples):
    return examples[1].size * mean_loss(model, examples)


@pytest.mark.slow
def test_a_batch_loss_through_which_examples_interact_is_refused():
    examples = (INPUTS, LABELS)
    from_nnx(nnx_net, model_loss, examples, batch_loss=mean_loss)
    for adapter, maker, wrong in (
        (from_nnx, nnx_net, normalised_loss),
        (from_linen, LinenNet(), contrastive_loss),
        (from_equinox, equinox_net, summed_loss),
    ):
        with pytest.raises(ValueError, match=r"batch_loss: on 6 examples .* is .* but .* \(they differ by .*interact"):
            adapter(maker, model_loss, examples, batch_loss=wrong)
    with pytest.raises(ValueError, match="batch_loss: expected a scalar"):
        from_nnx(nnx_net, model_loss, examples, batch_loss=lambda model, examples: jax.vmap(model)(examples[0]))


def test_dropout_needs_its_key_and_nothing_else_does():
    examples = (np.eye(3), np.zeros(3))
    key = jax.random.key(0)
    fixed = lambda model, example: squared(model(example[0], key), example)
    with jax.numpy_dtype_promotion("standard"):
        for name, (adapter, maker, dropped_loss) in DROPPED.items():
            keyless = fixed if name == "equinox" else dropped_loss
            with pytest.raises(ValueError, match=f"from_{name}: the model draws random numbers .*dropout_key="):
                adapter(maker, keyless, examples)
        plain = lambda model, example: squared(model(example[0]), example)
        with pytest.raises(ValueError, match="from_equinox: the model draws"):
            from_equinox(EquinoxDropped, plain, examples)
        from_equinox(lambda key: eqx.nn.inference_mode(EquinoxDropped(key)), plain, examples)
        given = lambda apply, example: squared(apply(example[0], train=True, rngs={"dropout": key}), example)
        with pytest.raises(ValueError, match=r"rngs=.*dropout_key"):
            from_linen(LinenDropped(), given, examples)
        with pytest.raises(ValueError, match="mutable="):
            from_linen(LinenNormed(False), lambda apply, e: apply(e[0], mutable=["batch_stats"])[0].sum(), (INPUTS,))
        with pytest.raises(ValueError, match="draws no random numbers"):
            from_nnx(nnx_net, model_loss, (INPUTS, LABELS), dropout_key=key)
        with pytest.raises(ValueError, match="num_masks = 3 without dropout_key"):
            from_nnx(NnxDropped, DROPPED["nnx"][2], examples, num_masks=3)
        with pytest.raises(ValueError, match="num_masks: expected an integer >= 1"):
            from_nnx(NnxDropped, DROPPED["nnx"][2], examples, dropout_key=key, num_masks=0)
        with pytest.raises(TypeError, match=r"dropout_key: expected jax\.random\.key"):
            from_nnx(NnxDropped, DROPPED["nnx"][2], examples, dropout_key=3)


def test_bad_input_names_the_argument_and_the_mend():
    examples = (INPUTS, LABELS)
    random_mask = lambda rngs: Masked(rngs, jax.random.normal(rngs.params()))
    one, other = nnx_net(nnx.Rngs(0)), equinox_net(jax.random.key(0))
    for make, error, message in (
        (lambda: from_nnx(one, model_loss, examples), TypeError, "make_model: .*the function that makes"),
        (lambda: from_nnx(lambda rngs: 3, model_loss, examples), TypeError, r"return an nnx\.Module, got int"),
        (lambda: from_nnx(nnx_net, model_loss, (INPUTS, LABELS[:3])), ValueError, "same leading axis"),
        (lambda: from_nnx(nnx_net, lambda m, e: m(e[0]), examples), ValueError, "expected a scalar loss"),
        (lambda: from_nnx(nnx_net, model_loss, examples, trained=nnx.BatchStat), ValueError, "nothing to train"),
        (lambda: from_nnx(random_mask, model_loss, examples), ValueError, r"\['factor'\].*depends on the random key"),
        (lambda: from_linen(LinenNet, model_loss, examples), TypeError, "a flax.linen Module .*got 'LinenNet'"),
        (lambda: from_linen(LinenNet(), lambda a, e: e[0].sum(), examples), ValueError, "nothing to train"),
        (lambda: from_equinox(other, model_loss, examples), TypeError, "make_model: .*got MLP"),
        (lambda: from_equinox(lambda key: jnp.arange(2), model_loss, examples), ValueError, "nothing to train"),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            make()
    with pytest.raises(TypeError, match="made by from_nnx"):
        model_of(Problem(lambda p, e: p * e, np.ones(2), lambda key: jnp.zeros(())), jnp.zeros(()))


@pytest.mark.slow
def test_importing_the_adapters_imports_no_network_library():
    code = """
import sys, sgdsde
from sgdsde.problems import adapters
assert sgdsde.from_nnx is adapters.from_nnx and sgdsde.model_of is adapters.model_of
print(sorted({"flax", "equinox"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
