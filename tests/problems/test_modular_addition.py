"""Modular addition: the split, three networks against NumPy, weights in closed form, the two kinds of weight decay."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from jax.flatten_util import ravel_pytree

import sgdsde
from sgdsde import modular_addition, observables, optimizer, sgd, simulate
from sgdsde.problems.modular_addition import all_pairs, analytic_params, quadratic_logits

pytestmark = pytest.mark.slow  # networks; every day they run as experiments at smoke size

KEY = jax.random.key(3)
loss, gradient, example_gradients = map(jax.jit, (sgdsde.loss, sgdsde.gradient, sgdsde.example_gradients))
QUADRATIC = {"modulus": 5, "num_hidden": 7, "train_fraction": 0.6, "start_deviation": 0.4}
EMBEDDING = {"modulus": 5, "num_embedding": 3, "num_hidden": 7, "activation": jax.nn.relu, "train_fraction": 0.6}
TRANSFORMER = {"modulus": 5, "num_embedding": 6, "num_heads": 2, "num_hidden": 7, "train_fraction": 0.6}
OPTIONS = {
    modular_addition.quadratic: QUADRATIC,
    modular_addition.embedding_mlp: EMBEDDING,
    modular_addition.transformer: TRANSFORMER,
}


@functools.cache
def made(builder):
    return builder(KEY, **OPTIONS[builder], weight_decay=0.3)


def logits_of(builder, problem):
    return {
        "quadratic": lambda: quadratic_logits,
        "embedding_mlp": lambda: modular_addition.embedding_mlp_logits(jax.nn.relu),
        "transformer": lambda: modular_addition.transformer_logits(problem),
    }[builder.__name__]()


def as_numpy(params):
    return {name: np.asarray(leaf) for name, leaf in params.items()}


def exact_params(modulus):
    """Weights whose logits are exact, phases on a 3 x 3 grid for each frequency: every unwanted term sums to zero."""
    frequencies, first, second = (
        axis.ravel() for axis in np.meshgrid(np.arange(1, (modulus - 1) // 2 + 1), *[np.arange(3) / 3] * 2)
    )
    wave = lambda phase: np.cos(2 * np.pi * (np.outer(frequencies, np.arange(modulus)) / modulus + phase[:, None]))
    amplitude = (2 / len(frequencies)) ** (1 / 3)
    first, second, output = (amplitude * wave(phase) for phase in (first, second, first + second))
    return {"first": jnp.asarray(first.T), "second": jnp.asarray(second.T), "output": jnp.asarray(output)}


def test_split():
    everything = all_pairs(10)
    np.testing.assert_array_equal(everything["pairs"][37], [3, 7])
    np.testing.assert_array_equal(everything["sums"], everything["pairs"].sum(axis=1) % 10)
    for fraction, num_train in ((0.29, 29), (0.999, 99)):  # 0.29 * 100 < 29 in floating point
        train, test = modular_addition.split(KEY, modulus=10, train_fraction=fraction)
        assert len(train["sums"]) == num_train
        together = np.concatenate([train["pairs"], test["pairs"]])
        np.testing.assert_array_equal(np.unique(together, axis=0), everything["pairs"])
        for part in (train, test):
            np.testing.assert_array_equal(part["sums"], part["pairs"].sum(axis=1) % 10)
            assert part["pairs"].dtype == part["sums"].dtype == jnp.int32
    other, _ = modular_addition.split(jax.random.key(4), modulus=10, train_fraction=0.29)
    first, _ = modular_addition.split(KEY, modulus=10, train_fraction=0.29)
    assert (other["pairs"] != first["pairs"]).any()


def test_every_pair_is_trained_on_equally_often():
    """Over 4,000 keys; 5.9 standard errors of a binomial count (false alarm 4e-9 a pair)."""
    keys = jax.random.split(KEY, 4_000)
    pairs = jax.vmap(lambda key: modular_addition.split(key, modulus=3, train_fraction=0.5)[0]["pairs"])(keys)
    counts = np.bincount(np.asarray(pairs[..., 0] * 3 + pairs[..., 1]).ravel(), minlength=9)
    assert (np.abs(counts - 4_000 * 4 / 9) < 5.9 * np.sqrt(4_000 * 4 / 9 * 5 / 9)).all()


@pytest.mark.parametrize("modulus", [5, 6])
def test_quadratic_against_one_hot_products(modulus):
    problem, test = modular_addition.quadratic(KEY, **{**QUADRATIC, "modulus": modulus}, weight_decay=0.3)
    params = problem.init(KEY)
    p = as_numpy(params)
    unit = np.eye(modulus)
    for examples in (problem.examples, test):
        pairs, sums = np.asarray(examples["pairs"]), np.asarray(examples["sums"])
        hidden = unit[pairs[:, 0]] @ p["first"] + unit[pairs[:, 1]] @ p["second"]
        outputs = hidden**2 @ p["output"]
        np.testing.assert_allclose(quadratic_logits(params, pairs), outputs, rtol=1e-12)
    pairs, sums = np.asarray(problem.examples["pairs"]), np.asarray(problem.examples["sums"])
    hidden = unit[pairs[:, 0]] @ p["first"] + unit[pairs[:, 1]] @ p["second"]
    errors = hidden**2 @ p["output"] - unit[sums]
    squares = sum((leaf**2).sum() for leaf in p.values())
    np.testing.assert_allclose(loss(problem, params), (errors**2).mean() + 0.15 * squares, rtol=1e-12)
    back = 2 * errors / errors.size
    to_hidden = 2 * hidden * (back @ p["output"].T)
    found = gradient(problem, params)
    for name, expected in (
        ("first", unit[pairs[:, 0]].T @ to_hidden),
        ("second", unit[pairs[:, 1]].T @ to_hidden),
        ("output", (hidden**2).T @ back),
    ):
        np.testing.assert_allclose(found[name], expected + 0.3 * p[name], rtol=1e-10, atol=1e-14)


def test_mean_field_network_of_the_source_is_the_same_network():
    """Gromov's f / (2 p N) with weights c^-1 times ours, c^3 = 1/(2 p N), under gradient descent of rate r is ours
    under rate r c^2: after three steps."""
    problem, _ = modular_addition.quadratic(KEY, **QUADRATIC, weight_decay=None)
    product = 2 * QUADRATIC["modulus"] * QUADRATIC["num_hidden"]
    scale = product ** (-1 / 3)
    pairs, sums = problem.examples["pairs"], problem.examples["sums"]

    def mean_field_loss(weights):
        errors = quadratic_logits(weights, pairs) / product - jax.nn.one_hot(sums, QUADRATIC["modulus"])
        return jnp.mean(errors**2)

    ours = problem.init(KEY)
    theirs = jax.tree.map(lambda leaf: leaf / scale, ours)
    for _ in range(3):
        ours = jax.tree.map(lambda x, g: x - 5.0 * scale**2 * g, ours, gradient(problem, ours))
        theirs = jax.tree.map(lambda x, g: x - 5.0 * g, theirs, jax.grad(mean_field_loss)(theirs))
    np.testing.assert_allclose(ravel_pytree(ours)[0], scale * ravel_pytree(theirs)[0], rtol=1e-10, atol=1e-13)


def test_cross_entropy_keeps_its_digits():
    both = jax.jit(jax.vmap(jax.value_and_grad(modular_addition.cross_entropy)))
    rows, labels = np.random.default_rng(1).normal(size=(6, 4)) * 3, np.array([0, 3, 1, 2, 2, 0], np.int32)
    found, slopes = both(rows, labels)
    np.testing.assert_allclose(found, -scipy.special.log_softmax(rows, axis=1)[np.arange(6), labels], rtol=1e-12)
    np.testing.assert_allclose(slopes, scipy.special.softmax(rows, axis=1) - np.eye(4)[labels], rtol=1e-10, atol=1e-15)
    found, slopes = both(np.array([[0, 40, 0]] * 2, np.float32), np.array([1, 0], np.int32))
    np.testing.assert_allclose(found, [2 * np.exp(-40.0), 40], rtol=1e-5)
    np.testing.assert_allclose(slopes[0], np.exp(-40.0) * np.array([1, -2, 1]), rtol=1e-5)
    np.testing.assert_allclose(slopes[1], [-1, 1, np.exp(-40.0)], rtol=1e-5)
    found, slopes = both(np.array([[0, 1e30, 0, -1e30]] * 2), np.array([0, 1], np.int32))
    np.testing.assert_array_equal(found, [1e30, 0])
    np.testing.assert_array_equal(slopes, [[-1, 1, 0, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize("modulus", [7, 13])
def test_phases_that_cancel_give_exact_logits(modulus):
    everything = all_pairs(modulus)
    expected = (modulus * np.eye(modulus)[everything["sums"]] - 1) / (modulus - 1)
    found = quadratic_logits(exact_params(modulus), everything["pairs"])
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_analytic_params():
    """Cosines of the frequencies 1, ..., (p - 1)/2 in turn, the output's phase the sum; the right logit is 1 on
    average over the pairs, whatever the phases; every pair is right at p = 97, N = 500."""
    modulus, num_hidden = 11, 13
    params = analytic_params(KEY, modulus=modulus, num_hidden=num_hidden)
    waves = np.fft.rfft(modular_addition.neuron_weights(params), axis=-1)
    frequencies = 1 + np.arange(num_hidden) % 5
    own = waves[:, np.arange(num_hidden), frequencies]
    amplitude = (2 / num_hidden) ** (1 / 3)
    np.testing.assert_allclose(np.abs(own), amplitude * modulus / 2, rtol=1e-12)
    np.testing.assert_allclose((np.abs(waves) ** 2).sum(axis=-1), np.abs(own) ** 2, rtol=1e-12)
    np.testing.assert_allclose(own[0] * own[1] / np.abs(own[0] * own[1]), own[2] / np.abs(own[2]), rtol=1e-10)
    everything = all_pairs(modulus)
    right = quadratic_logits(params, everything["pairs"])[np.arange(modulus**2), everything["sums"]]
    np.testing.assert_allclose(right.mean(), 1, rtol=1e-12)
    large = analytic_params(KEY, modulus=97, num_hidden=500)
    everything = all_pairs(97)
    assert observables.accuracy(quadratic_logits, everything["pairs"], everything["sums"], large) == 1
    assert analytic_params(KEY, modulus=6, num_hidden=4)["first"].shape == (6, 4)


def test_error_of_analytic_params():
    """4/N + 1/(p (p - 1)), exactly at one neuron a frequency; at two, 0.690 for p = 7, from 4,000 draws of the phases:
    without the second term, or with 15/4 or 17/4 for 4, that is more than ten standard errors off."""

    def error(key, modulus, num_hidden):
        params, everything = analytic_params(key, modulus=modulus, num_hidden=num_hidden), all_pairs(modulus)
        return jnp.mean((quadratic_logits(params, everything["pairs"]) - jnp.eye(modulus)[everything["sums"]]) ** 2)

    for modulus in (9, 13):
        expected = 4 / ((modulus - 1) // 2) + 1 / (modulus * (modulus - 1))
        np.testing.assert_allclose(error(KEY, modulus, (modulus - 1) // 2), expected, rtol=1e-12)
    errors = np.asarray(jax.vmap(lambda key: error(key, 7, 6))(jax.random.split(KEY, 4_000)))
    standard_error = errors.std(ddof=1) / np.sqrt(errors.size)
    assert 10 * standard_error < 1 / 42
    assert abs(errors.mean() - 4 / 6 - 1 / 42) < 5.9 * standard_error


def test_embedding_mlp_against_numpy():
    problem, test = made(modular_addition.embedding_mlp)
    params = problem.init(KEY)
    p = as_numpy(params)

    def logits(examples):
        first, second = (p["embedding"][np.asarray(examples["pairs"])[:, place]] for place in (0, 1))
        return np.maximum(first @ p["first"] + second @ p["second"] + p["biases"], 0) @ p["output"]

    found = modular_addition.embedding_mlp_logits(jax.nn.relu)(params, test["pairs"])
    np.testing.assert_allclose(found, logits(test), rtol=1e-12, atol=1e-14)
    sums = np.asarray(problem.examples["sums"])
    chosen = scipy.special.log_softmax(logits(problem.examples), axis=1)[np.arange(len(sums)), sums]
    squares = sum((leaf**2).sum() for leaf in p.values())
    np.testing.assert_allclose(loss(problem, params), -chosen.mean() + 0.15 * squares, rtol=1e-12)
    for name, num_inputs in (("first", 3), ("second", 3), ("biases", 3), ("output", 7)):
        assert 0.6 < np.abs(p[name]).max() * np.sqrt(num_inputs) < 1, name
    np.testing.assert_array_equal(modular_addition.embedding_weights(params), p["embedding"].T)


def test_transformer_against_full_attention():
    """Against keys, queries and values of all three positions, with a causal mask, in NumPy."""
    problem, test = made(modular_addition.transformer)
    params = problem.init(KEY)
    draw = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: leaf + 0.3 * draw.normal(size=leaf.shape), params)  # biases too
    p = as_numpy(params)

    def logits(pairs):
        tokens = np.column_stack([pairs, np.full(len(pairs), 5)])
        x = p["embedding"][tokens] + p["positions"]
        queries, keys, values = (np.einsum("njd,dhk->nhjk", x, p[name]) for name in ("queries", "keys", "values"))
        scores = np.einsum("nhik,nhjk->nhij", queries, keys) / np.sqrt(3)
        scores = np.where(np.tril(np.ones((3, 3))) == 1, scores, -np.inf)
        mixed = np.einsum("nhij,nhjk->nihk", scipy.special.softmax(scores, axis=-1), values)
        y = x + np.einsum("nihk,hkd->nid", mixed, p["heads_output"])
        hidden = np.maximum(y @ p["hidden"] + p["hidden_biases"], 0)
        z = y + hidden @ p["hidden_output"] + p["output_biases"]
        return (z @ p["unembedding"])[:, -1]

    found = jax.jit(modular_addition.transformer_logits(problem))(params, test["pairs"])
    np.testing.assert_allclose(found, logits(np.asarray(test["pairs"])), rtol=1e-10)
    sums = np.asarray(problem.examples["sums"])
    all_logs = scipy.special.log_softmax(logits(np.asarray(problem.examples["pairs"])), axis=1)
    squares = sum((leaf**2).sum() for leaf in p.values())
    expected = -all_logs[np.arange(len(sums)), sums].mean() + 0.15 * squares
    np.testing.assert_allclose(loss(problem, params), expected, rtol=1e-10)
    np.testing.assert_array_equal(modular_addition.embedding_weights(params), p["embedding"][:5].T)


def test_transformer_start():
    """Variances 1/d, 1/p for the unembedding, over 200 starts: 5.9 standard errors of a sum of squares; 1/N for any of
    them is rejected."""
    problem, _ = made(modular_addition.transformer)
    starts = [problem.init(jax.random.key(seed)) for seed in range(200)]
    for name in starts[0]:
        leaf = np.stack([start[name] for start in starts])
        if name.endswith("biases"):
            np.testing.assert_array_equal(leaf, 0)
        else:
            expected = 1 / 5 if name == "unembedding" else 1 / 6
            assert abs((leaf**2).mean() / expected - 1) < 5.9 * np.sqrt(2 / leaf.size), name


@functools.partial(jax.jit, static_argnames="builder")
def evaluated(problem, params, pairs, *, builder):
    means = jax.tree.map(lambda leaf: leaf.mean(axis=0), example_gradients(problem, params))
    logits = logits_of(builder, problem)
    both = logits(params, pairs), jax.vmap(logits, in_axes=(None, 0))(params, pairs)
    return loss(problem, params), gradient(problem, params), means, both


@pytest.mark.parametrize("builder", OPTIONS, ids=[builder.__name__ for builder in OPTIONS])
def test_every_builder(builder):
    """The same architecture again, with another split and decay, compiles nothing anew; the mean of the example
    gradients is the full one without the penalty; logits of one pair are those of many; float32 is near float64."""
    problem, test = made(builder)
    other, _ = builder(jax.random.key(8), **OPTIONS[builder], weight_decay=0.25)
    assert jax.tree.structure(problem) == jax.tree.structure(other)
    assert problem.num_examples == 15
    assert len(test["sums"]) == 10
    params = problem.init(KEY)
    value, slope, means, (together, one_by_one) = evaluated(problem, params, test["pairs"], builder=builder)
    expected = jax.tree.map(lambda g, x: g - 0.3 * x, slope, params)
    np.testing.assert_allclose(ravel_pytree(means)[0], ravel_pytree(expected)[0], rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(together, one_by_one, rtol=1e-12)
    with jax.enable_x64(False):
        single, _ = builder(KEY, **OPTIONS[builder], weight_decay=0.3)
        rounded = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
        assert {leaf.dtype for leaf in jax.tree.leaves(single.params_like)} == {jnp.dtype("float32")}
        found = jax.jit(sgdsde.loss)(single, rounded)
        assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, value, rtol=1e-5)


def test_weight_decay_of_both_kinds():
    """The penalty and decoupled decay are the same for plain gradient descent, step by step, and different for Adam:
    its first step is rate * sign(gradient) with the penalty in the sign, and decoupled decay subtracts rate * decay *
    params from it."""
    rate, decay = 0.1, 0.4
    plain, _ = modular_addition.quadratic(KEY, **QUADRATIC, weight_decay=None)
    penalised, _ = modular_addition.quadratic(KEY, **QUADRATIC, weight_decay=decay)
    start, everything = plain.init(KEY), jnp.arange(plain.num_examples)

    def after(dynamics, batches):
        state = dynamics.init(start)
        for step, batch in enumerate(batches):
            state = jax.jit(dynamics.advance)(state, batch, step)
        return ravel_pytree(state.params)[0]

    sizes = {"batch_size": 5, "sampling": "epoch"}
    decoupled = optax.chain(optax.add_decayed_weights(decay), optax.scale(-rate))
    expected = after(sgd(penalised, learning_rate=rate, **sizes), everything.reshape(3, 5))
    found = after(optimizer(plain, decoupled, **sizes), everything.reshape(3, 5))
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)

    sizes, small = {"batch_size": plain.num_examples, "sampling": "without_replacement"}, {"eps": 1e-14}
    adam = after(optimizer(penalised, optax.adam(rate, **small), **sizes), [everything])
    adamw = after(optimizer(plain, optax.adamw(rate, weight_decay=decay, **small), **sizes), [everything])
    x, g = ravel_pytree(start)[0], ravel_pytree(gradient(plain, start))[0]
    np.testing.assert_allclose(adam, x - rate * np.sign(g + decay * x), rtol=1e-6)
    np.testing.assert_allclose(adamw, x - rate * (np.sign(g) + decay * x), rtol=1e-6)
    assert np.abs(adam - adamw).max() > 0.1 * rate


def test_observers_along_a_run_of_the_transformer():
    """Three chains from starts of their own, which memorise the 15 pairs."""
    problem, test = made(modular_addition.transformer)
    logits = modular_addition.transformer_logits(problem)
    memorising = dataclasses.replace(problem, penalty=None)
    watched = {
        "train": observables.observer(observables.accuracy, logits, *map(problem.examples.get, ("pairs", "sums"))),
        "loss": observables.observer(observables.mean_example_loss, problem, test),
    }
    observe = observables.observer(observables.all_of, watched)
    dynamics = optimizer(memorising, optax.adam(0.02), batch_size=5, sampling="with_replacement")
    done = simulate(dynamics, problem.init, KEY, num_steps=500, num_chains=3, observe=observe, every=500)
    assert done.observed["loss"].shape == (1, 3)
    np.testing.assert_array_equal(done.observed["train"], 1)
    assert len(np.unique(done.observed["loss"])) == 3


def test_bad_input_names_the_argument():
    quadratic, transformer = modular_addition.quadratic, modular_addition.transformer
    for builder, options, change, message in (
        (quadratic, QUADRATIC, {"modulus": 2}, "modulus: expected a whole number >= 3, got 2"),
        (quadratic, QUADRATIC, {"num_hidden": 0}, "num_hidden: expected a whole number >= 1, got 0"),
        (quadratic, QUADRATIC, {"train_fraction": 0.03}, "train_fraction: 0.03 of 25 pairs are 0 to train on"),
        (quadratic, QUADRATIC, {"train_fraction": 1.0}, "train_fraction: 1 of 25 pairs are 25 to train on"),
        (quadratic, QUADRATIC, {"start_deviation": -1.0}, "start_deviation: .*>= 0"),
        (quadratic, QUADRATIC, {"weight_decay": -1.0}, "weight_decay: .*>= 0"),
        (transformer, TRANSFORMER, {"num_heads": 4}, "num_heads: expected a divisor of num_embedding = 6, got 4"),
    ):
        with pytest.raises(ValueError, match=message):
            builder(KEY, **{**options, "weight_decay": None, **change})
    with pytest.raises(TypeError, match="train_fraction: expected a known number"):
        jax.jit(lambda f: modular_addition.split(KEY, modulus=5, train_fraction=f)[0])(0.5)
    problem, _ = quadratic(KEY, **QUADRATIC, weight_decay=None)
    with pytest.raises(TypeError, match="made by from_nnx"):
        modular_addition.transformer_logits(problem)
