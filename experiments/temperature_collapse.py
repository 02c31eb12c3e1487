"""SGD's stationary loss and width depend on rate / batch size alone only while rate x curvature is small.

Noise of temperature T = eta v/(2 B) suggests that learning rate eta and batch size B matter only as eta/B. That is the
limit of small eta times curvature. Here eta/B and B are varied apart, and loss above the minimum and squared distance
from the nearest minimum are held against the law of small rates and the exact law of SGD's own step:
- a quadratic whose noise covariance C does not commute with its Hessian: S = (I - eta H) S (I - eta H) + eta^2 C, which
  at one eta/B grows like 1/(1 - eta h/2) in each direction;
- the same without replacement, few examples: C = (Sigma/B)(n - B)/(n - 1) breaks the collapse even at small rates;
- a network on handwritten digits, one hidden layer and weight decay, about one of its minima: SGD's exact law in its
  quadratic approximation there, Hessian and Sigma measured;
- a double well with skewed and heavy-tailed example gradients: its exact law by the kernel of one step on a grid. The
  noise is not Gaussian, so that Gibbs gives the wells' occupations wrong, and still they collapse: at one eta/B each
  example kicks by the same (eta/B) z, as often in a unit of time, whatever the batch size.
When the batch grows, eta in proportion to B keeps the temperature until eta h is no longer small; eta in proportion to
sqrt B lowers it like 1/sqrt B.

What it does not say: n is 32 seeds, each with two starts of 64 chains (two chains in the network). The network is one,
near one of its minima, from whose neighbourhood all chains start; nothing is said of other minima or of training. Its
"exact" law is that of a quadratic approximation: where it is cold the loss is within 3 % of it, the squared distance
from the minimum 6 to 8 % above it. At the largest eta/B its loss lies above that approximation, its squared distance
from the minimum too (flat directions are not parabolas), and the square-root rule, whose hot end is there, comes out
lower than the approximation says: these are checked as differences. No prediction of the anharmonic law is made. Where
a batch size or a rate is called "worst", it is the worst of the five. Systems, rates and batch sizes are this project's
choice.

Source: T = eta v/(2 B): Mandt, Hoffman, Blei 2017 (arXiv 1704.04289); the exact law: Liu, Ziyin, Ueda 2021
(2012.03636); the rules: Goyal et al. 2017 (1706.02677), Krizhevsky 2014 (1404.5997); <d . g_B> = (eta/2) <|g_B|^2>
for the way d from any fixed point: Yaida 2019 (1810.00004).

Command: `sgdsde reproduce temperature_collapse`.
"""

import functools
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial

from sgdsde import (
    Check,
    Problem,
    gradient,
    gradient_covariance,
    gradient_covariance_trace,
    landscapes,
    loss,
    sgd,
    simulate,
    style,
)
from sgdsde.measurements import mean
from sgdsde.predictions import (
    explicit_transition,
    gibbs_density,
    minibatch_noise_density,
    sde_covariance,
    sgd_covariance,
    stationary_density,
    temperature,
)

SEE = """At learning rate / batch size 0.1, loss above the minimum at batch size 16 over that at 1, where collapse says
1: {quadratic: break of the collapse, batch 16 over 1, largest eta/B} on a quadratic, {digits: break of the collapse,
batch 16 over 1, largest eta/B} in a network and {double well: break of the collapse, batch 16 over 1, largest eta/B} in
a double well; exact laws give {quadratic: break of the collapse, batch 16 over 1, largest eta/B | predicted}, {digits:
break of the collapse, batch 16 over 1, largest eta/B | predicted} (quadratic approximation) and {double well: break of
the collapse, batch 16 over 1, largest eta/B | predicted}."""


@dataclass(frozen=True)
class Config:
    system: Literal["quadratic", "without replacement", "digits", "double well"] = "quadratic"
    """what is trained; "without replacement" is the quadratic with few examples, drawn once in a minibatch"""
    rate_per_example: float = 0.05
    """learning rate / batch size; the temperature is proportional to it"""
    batch_size: int = 4
    """examples in a minibatch"""
    num_tilts: int = 64
    """examples of the quadratic and of the double well"""
    num_few_tilts: int = 24
    """examples of the quadratic without replacement"""
    barrier: float = 0.02
    """height of the barrier of the double well"""
    well_variance: float = 0.6
    """variance of one example's gradient in the double well"""
    tail_index: float = 1.5
    """of the law of these gradients, whose 64 values are skewed too"""
    num_images: int = 300
    """images of handwritten digits"""
    hidden_width: int = 8
    """neurons in the network's hidden layer"""
    weight_decay: float = 0.02
    """the network's penalty is half of this times the sum of squares of its parameters"""
    num_descent_steps: int = 4_000
    """of the full-batch descent to the network's minimum"""
    quadratic_examples: int = 25_600
    """examples that each chain draws on the quadratic: a batch twice as large takes half as many steps"""
    well_examples: int = 320_000
    """the same in the double well"""
    digits_examples: int = 96_000
    """the same for the network"""
    num_records: int = 200
    """records of each chain, of which the second half is measured"""
    num_chains: int = 64
    """independent chains of each start and seed on the quadratic and in the double well"""
    num_network_chains: int = 2
    """independent chains of each start and seed of the network"""
    most_points: int = 901
    """of the grid on which the double well's exact law is solved"""
    seed: int = 0


SMOKE = Config(
    quadratic_examples=640, well_examples=640, digits_examples=640, num_records=20, num_chains=4, num_images=40,
    most_points=401,
)  # fmt: skip
SWEEP = {
    "over": {
        "system": ("quadratic", "without replacement", "digits", "double well"),
        "rate_per_example": (0.025, 0.035355339, 0.05, 0.070710678, 0.1),
        "batch_size": (1, 2, 4, 8, 16),
    },
    "seeds": 32,
}
OWN = ("start", "half")
DIMENSIONS = {
    "excess_loss": OWN,
    "width": OWN,
    "second_side": OWN,
    "work": OWN,
    "power": OWN,
    "num_diverged": ("start",),
}
HESSIAN = np.array([[0.94, 0.192], [0.192, 0.36]])
NOISE = np.array([[1.0, -0.5], [-0.5, 1.5]])
NUM_INPUTS, NUM_CLASSES = 16, 10


def learning_rate(config):
    return config.rate_per_example * config.batch_size


def sampling(system):
    return "without_replacement" if system == "without replacement" else "with_replacement"


def batch_factor(config, system, batch_size):
    """Covariance of a minibatch gradient over Sigma: 1/B, without replacement (n - B)/(B (n - 1))."""
    n = config.num_few_tilts
    return (n - batch_size) / (n - 1) / batch_size if system == "without replacement" else 1 / batch_size


def tilted_quadratic(num_examples):
    hessian, noise = jnp.asarray(HESSIAN, float), jnp.asarray(NOISE, float)
    return landscapes.quadratic(hessian, gradient_covariance=noise, num_examples=num_examples)


def double_well(config):
    """Skewed and heavy-tailed example gradients, in one dimension."""
    variance = jnp.array([[config.well_variance]])
    problem = landscapes.double_well(
        barrier=config.barrier, transverse_curvature=(), gradient_covariance=variance, num_examples=config.num_tilts
    )
    tilts = landscapes.heavy_tailed_tilts(variance, config.num_tilts, tail_index=config.tail_index)
    return landscapes.with_tilts(problem, tilts)


@functools.cache
def digit_images(count):
    """The first of scikit-learn's handwritten digits, averaged over 2 x 2 pixels and centred, (count, 16); labels."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    coarse = pixels[:count].reshape(count, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(count, NUM_INPUTS) / 16
    return coarse - coarse.mean(axis=0), labels[:count]


def cross_entropy(params, example):
    hidden = jnp.tanh(params["first"] @ example["image"] + params["first_bias"])
    logits = params["second"] @ hidden + params["second_bias"]
    return jax.nn.logsumexp(logits) - logits[example["label"]]


def half_squared_norm(strength, params):
    return jnp.asarray(strength, float) / 2 * squared_length(params)


def fixed_weights(weights, key):
    return weights


def network(num_images, hidden_width, weight_decay):
    """16 inputs, one hidden layer of tanh, 10 classes, cross-entropy and weight decay."""
    images, labels = digit_images(num_images)
    rng = np.random.default_rng(1)
    weights = {
        "first": rng.normal(size=(hidden_width, NUM_INPUTS)) / np.sqrt(NUM_INPUTS),
        "first_bias": np.zeros(hidden_width),
        "second": rng.normal(size=(NUM_CLASSES, hidden_width)) / np.sqrt(hidden_width),
        "second_bias": np.zeros(NUM_CLASSES),
    }
    return Problem(
        example_loss=cross_entropy,
        examples={"image": jnp.asarray(images, float), "label": jnp.asarray(labels, jnp.int32)},
        init=Partial(fixed_weights, jax.tree.map(lambda leaf: jnp.asarray(leaf, float), weights)),
        penalty=Partial(half_squared_norm, weight_decay),
    )


@functools.cache
def network_minimum(num_images, hidden_width, weight_decay, num_steps):
    """The minimum that full-batch gradient descent with momentum finds from the problem's own weights, as NumPy arrays.
    Host side, once: it depends on nothing that is swept."""

    def step(_, state):
        params, memory = state
        memory = jax.tree.map(lambda m, g: 0.95 * m + g, memory, gradient(problem, params))
        return jax.tree.map(lambda x, m: x - 0.2 * m, params, memory), memory

    with jax.ensure_compile_time_eval():
        problem = network(num_images, hidden_width, weight_decay)
        start = problem.init(jax.random.key(0))
        descent = jax.jit(lambda state: jax.lax.fori_loop(0, num_steps, step, state)[0])
        return jax.device_get(descent((start, jax.tree.map(jnp.zeros_like, start))))


def network_at_minimum(config):
    """The network's problem and its minimum."""
    shape = config.num_images, config.hidden_width, config.weight_decay
    minimum = network_minimum(*shape, config.num_descent_steps)
    return network(*shape), jax.tree.map(lambda leaf: jnp.asarray(leaf, float), minimum)


def study(config):
    """The problem, its minima and the two starts, each on a leading axis, and how many examples a chain draws and how
    many chains there are."""
    if config.system == "digits":
        problem, minimum = network_at_minimum(config)
        scaled = lambda *factors: jax.tree.map(lambda leaf: jnp.stack([f * leaf for f in factors]), minimum)
        return problem, scaled(1.0), scaled(0.9, 1.1), config.digits_examples, config.num_network_chains
    if config.system == "double well":
        wells = jnp.array([[-1.0], [1.0]])
        return double_well(config), wells, wells, config.well_examples, config.num_chains
    quadratic = tilted_quadratic(config.num_few_tilts if config.system == "without replacement" else config.num_tilts)
    starts = jnp.array([[-1.0, -1.0], [1.0, 1.0]]) / 2
    return quadratic, jnp.zeros((1, 2)), starts, config.quadratic_examples, config.num_chains


def product(first, second):
    return sum(jnp.sum(a * b) for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True))


def squared_length(params):
    return product(params, params)


def difference(first, second):
    return jax.tree.map(jnp.subtract, first, second)


def record(problem, minima, starts, params):
    """Loss above the minimum; squared distance from the nearest minimum; whether the second start is nearer; and, with
    d the way from the middle of the starts, d . grad L and |grad L|^2."""
    pull = gradient(problem, params)
    way = difference(params, jax.tree.map(lambda leaf: leaf.mean(axis=0), starts))
    axis = jax.tree.map(lambda leaf: leaf[1] - leaf[0], starts)
    return {
        "excess_loss": loss(problem, params) - loss(problem, jax.tree.map(lambda leaf: leaf[0], minima)),
        "width": jnp.min(jax.vmap(lambda minimum: squared_length(difference(params, minimum)))(minima)),
        "second_side": jnp.heaviside(product(way, axis), 0.5),
        "work": product(way, pull),
        "power": squared_length(pull),
    }


def run(config, key):
    problem, minima, starts, num_drawn, num_chains = study(config)
    dynamics = sgd(
        problem, learning_rate=learning_rate(config), batch_size=config.batch_size, sampling=sampling(config.system)
    )
    every = num_drawn // config.batch_size // config.num_records

    def measured(start, key):
        trajectory = simulate(
            dynamics,
            start,
            key,
            num_steps=every * config.num_records,
            num_chains=num_chains,
            observe=Partial(record, problem, minima, starts),
            every=every,
            average=True,
        )
        means = jax.tree.map(lambda leaf: halves(leaf, config.num_records), trajectory.observed[0])
        noise = jax.lax.map(functools.partial(gradient_covariance_trace, problem), trajectory.params).mean()
        means["power"] = means["power"] + noise * batch_factor(config, config.system, config.batch_size)
        return {**means, "num_diverged": jnp.sum(trajectory.diverged_at >= 0)}

    key = jax.random.fold_in(key, config.batch_size)
    return jax.vmap(measured)(starts, jax.random.split(key))


def halves(values, num_records):
    """Means over the third and the fourth quarter of a run."""
    return values[num_records // 2 :].reshape(2, -1).mean(axis=1)


class Laws(NamedTuple):
    """Predictions of a system, by quantity: `small` (rates,), the limit of small rates, a function of learning rate /
    batch size; `exact` (rates, batches), for the network that of its quadratic approximation; the largest curvature at
    the minimum; in the double well, the probability of the second side (rates, batches)."""

    small: dict[str, np.ndarray]
    exact: dict[str, np.ndarray]
    curvature: float
    second_side: np.ndarray | None = None


QUANTITIES = ("excess_loss", "width")


def gaussian_laws(hessian, covariance, factors, rates, batches):
    """On a quadratic loss: the SDE's law, in proportion to learning rate / batch size, and SGD's exact one.

    factors: minibatch noise covariance over `covariance`, which is that of one example.
    """

    def moments(found):
        found = np.asarray(found, float)
        return np.einsum("...ij,ji->...", found, hessian) / 2, np.trace(found, axis1=-2, axis2=-1)

    steps = np.outer(rates, batches)
    discrete = jax.jit(jax.vmap(lambda step: sgd_covariance(hessian, covariance, learning_rate=step)))(steps.ravel())
    exact = [np.reshape(each, steps.shape) * np.array(factors) for each in moments(discrete)]
    small = np.outer(moments(sde_covariance(hessian, covariance, learning_rate=1.0)), rates)
    curvature = float(np.linalg.eigvalsh(hessian)[-1])
    return Laws(dict(zip(QUANTITIES, small)), dict(zip(QUANTITIES, exact)), curvature)


def by_quantity(moments):
    return dict(zip(QUANTITIES, np.moveaxis(np.array(moments), -1, 0)))


def well_grid(config, rate, batch_size):
    """A grid to a little more than sixty temperatures, of six points in a standard deviation of one step's noise, as
    far as `most_points` go: it has to see the skewness of the steps, which tilts the law (the kernel's smoothing takes
    a few hundredths of it)."""
    hot = temperature(learning_rate=rate, batch_size=1, gradient_variance=config.well_variance) / config.barrier
    reach = np.sqrt(1 + np.sqrt(60 * hot)) + 0.4
    spacing = rate * np.sqrt(batch_size * config.well_variance) / 6
    return np.linspace(-reach, reach, int(np.clip(2 * reach / spacing, 201, config.most_points)))


def well_laws(config, rates, batches):
    """In the double well: the Gibbs law, and the exact one by the kernel of SGD's own step."""
    tilts = np.asarray(double_well(config).examples, float)
    tilts = tilts - tilts.mean(axis=0)

    def moments(grid, density):
        weight = np.asarray(density, float) * (grid[1] - grid[0])
        values = (config.barrier * (grid**2 - 1) ** 2, (np.abs(grid) - 1) ** 2, np.heaviside(grid, 0.5))
        return [float(np.sum(weight * each)) for each in values]

    def gibbs(rate):
        grid, well = well_grid(config, rate, 1), lambda x: config.barrier * (x[0] ** 2 - 1) ** 2
        hot = temperature(learning_rate=rate, batch_size=1, gradient_variance=config.well_variance)
        return moments(grid, gibbs_density(well, hot, grid))

    def discrete(rate, batch_size):
        grid, step = well_grid(config, rate, batch_size), rate * batch_size
        noise = minibatch_noise_density(tilts, batch_size, smoothing=(grid[1] - grid[0]) / step)
        kernel = explicit_transition(lambda x: 4 * config.barrier * (x**3 - x), noise, learning_rate=step)
        return moments(grid, stationary_density(kernel, grid).density)

    small, exact = [gibbs(rate) for rate in rates], np.array([[discrete(t, b) for b in batches] for t in rates])
    return Laws(by_quantity(small), by_quantity(exact), 8 * config.barrier, exact[..., 2])


@functools.cache
def digits_approximation(config):
    """The network's quadratic approximation: its Hessian and Sigma at the minimum."""
    problem, minimum = network_at_minimum(config)
    flat, unravel = ravel_pytree(minimum)
    hessian = np.asarray(jax.jit(jax.hessian(lambda x: loss(problem, unravel(x))))(flat), float)
    covariance = np.asarray(gradient_covariance(problem, unravel(flat)), float)
    return (hessian + hessian.T) / 2, (covariance + covariance.T) / 2


@functools.cache  # the checks and the figure both ask
def laws_of(config, system, rates, batches):
    if system == "double well":
        return well_laws(config, rates, batches)
    hessian, covariance = digits_approximation(config) if system == "digits" else (HESSIAN, NOISE)
    return gaussian_laws(hessian, covariance, [batch_factor(config, system, b) for b in batches], rates, batches)


class Measured(NamedTuple):
    """A system's arrays, (rates, batches, seeds, start, half), its laws, the rates per example and the batch sizes."""

    arrays: dict[str, np.ndarray]
    laws: Laws
    rates: np.ndarray
    batches: np.ndarray

    def each(self, name):
        """Starts and halves together, every seed: (rates, batches, seeds)."""
        return np.asarray(self.arrays[name], float).mean(axis=(-2, -1))

    def over(self, name, predicted):
        """Ratio to a prediction and its standard error, (rates, batches)."""
        return over_seeds(self.each(name) / predicted[..., None])

    def between(self, name, axis):
        """The second start minus the first (axis -2), the second half minus the first (-1), and the errors."""
        pairs = np.asarray(self.arrays[name], float).mean(axis=-3 - axis)
        return over_seeds(pairs[..., 1] - pairs[..., 0])


def over_seeds(each):
    """Mean and standard error over the last axis, of independent seeds."""
    found, error = mean(np.moveaxis(each, -1, 0))
    return np.asarray(found, float), np.asarray(error, float)


def ratio(first, second):
    """Ratio of the means over the last axis, of seeds, and its standard error; the same seeds may be correlated."""
    a, b = first.mean(axis=-1, keepdims=True), second.mean(axis=-1, keepdims=True)
    return (a / b)[..., 0], over_seeds(a / b * (first / a - second / b))[1]


def measured(config, arrays):
    """The systems of the sweep, in its order."""
    rates = tuple(float(rate) for rate in arrays["rate_per_example"])
    batches = tuple(int(batch_size) for batch_size in arrays["batch_size"])
    rows = {}
    for i, system in enumerate(map(str, arrays["system"])):
        own = {name: arrays[name][i] for name in DIMENSIONS}
        rows[system] = Measured(own, laws_of(config, system, rates, batches), np.array(rates), np.array(batches))
    return rows


def worst(values, errors):
    """The entry farthest from 0, and its error."""
    index = np.unravel_index(np.argmax(np.abs(values)), np.shape(values))
    return values[index], errors[index]


TOLERANCES = {"quadratic": 0.02, "without replacement": 0.02, "digits": 0.03, "double well": 0.03}
SOURCES = {
    "quadratic": "S = (1 - eta H) S (1 - eta H) + eta^2 C (Liu, Ziyin, Ueda 2021)",
    "without replacement": "the same with C = (Sigma/B)(n - B)/(n - 1)",
    "digits": "the exact law of its quadratic approximation",
    "double well": "one-step kernel solved on a grid",
}


def checks(config, arrays):
    found = []
    for system, row in measured(config, arrays).items():
        found += law_checks(system, row) if system != "digits" else local_checks(row)
        found += collapse_checks(system, row)
        found += stationarity_checks(system, row)
        if system == "double well":
            found += side_checks(row)
    return [*found, Check("chains diverged", arrays["num_diverged"].sum(), 0, 0, 0, "agree", "none may")]


def law_checks(system, row):
    """Every learning rate and batch size against the exact law, the worst learning rate of each batch size."""
    found = []
    for name in QUANTITIES:
        values, errors = row.over(name, row.laws.exact[name])
        for j, batch_size in enumerate(row.batches):
            measured, error = worst(values[:, j] - 1, errors[:, j])
            label = f"{system}, batch {batch_size}: {name} over the exact law less 1, worst rate"
            found.append(Check(label, measured, 0, error, TOLERANCES[system], "agree", SOURCES[system]))
    return found


def local_checks(row):
    """The network at its lowest temperature follows its quadratic approximation; at the highest it does not, and its
    width still collapses."""
    found, approximate, tolerance = [], row.laws.exact, TOLERANCES["digits"]
    values, errors = row.over("excess_loss", approximate["excess_loss"])
    for j, batch_size in enumerate(row.batches[:3]):
        label = f"digits, smallest eta/B, batch {batch_size}: excess_loss over the quadratic approximation's"
        found.append(Check(label, values[0, j], 1, errors[0, j], tolerance, "agree", SOURCES["digits"]))
    for name, j in (("excess_loss", -1), ("width", 0), ("width", -1)):
        values, errors = row.over(name, approximate[name])
        label = f"digits, largest eta/B, batch {row.batches[j]}: {name} over the quadratic approximation's"
        found.append(Check(label, values[-1, j], 1, errors[-1, j], 0, "above", "anharmonic at this temperature"))
    width = row.each("width")[-1]
    measured, error = ratio(width[1], width[0])
    label = f"digits: collapse of width, batch {row.batches[1]} over {row.batches[0]}, largest eta/B"
    return [*found, Check(label, measured, 1, error, 0.035, "agree", "collapse on eta/B at small rates")]


def collapse_checks(system, row):
    """At one learning rate / batch size: equal at small rates, unequal at large ones by the predicted factor; and what
    the square-root rule makes of the excess loss."""
    each, exact = row.each("excess_loss"), row.laws.exact["excess_loss"]
    tolerance, found = TOLERANCES[system], []
    first, last = row.batches[0], row.batches[-1]
    if system != "without replacement":
        measured, error = ratio(each[0, 1], each[0, 0])
        label = f"{system}: collapse of excess_loss, batch {row.batches[1]} over {first}, smallest eta/B"
        found.append(Check(label, measured, 1, error, tolerance, "agree", "collapse on eta/B at small rates"))
    for i, kind in ((0, "smallest"), (-1, "largest")):
        measured, error = ratio(each[i, -1], each[i, 0])
        label = f"{system}: break of the collapse, batch {last} over {first}, {kind} eta/B"
        found.append(Check(label, measured, exact[i, -1] / exact[i, 0], error, tolerance, "agree", SOURCES[system]))
        if abs(exact[i, -1] / exact[i, 0] - 1) < tolerance * exact[i, -1] / exact[i, 0]:  # else it is implied
            found.append(Check(f"{label}, against 1", measured, 1, error, 0, "above", "collapse on eta/B"))
    measured, error = ratio(each[0, -1], each[-1, 0])
    label = f"{system}: square-root rule, excess_loss at batch {last} over {first}"
    expect = "below" if system == "digits" else "agree"  # hot at the first batch size, where it is anharmonic
    found.append(Check(label, measured, exact[0, -1] / exact[-1, 0], error, tolerance, expect, SOURCES[system]))
    return found


def stationarity_checks(system, row):
    """Starts and halves alike, and Yaida's identity."""
    found, scale = [], row.each("excess_loss").mean(axis=-1)
    for axis, kind in ((-2, "starts"), (-1, "halves")):
        values, errors = row.between("excess_loss", axis)
        measured, error = worst(values / scale, errors / scale)
        label = f"{system}: excess_loss, relative difference of the {kind}, worst point"
        allowed = 0.08 if system == "digits" else 0.05
        found.append(Check(label, measured, 0, error, allowed, "agree", "one stationary law"))
    learning_rates = row.rates[:, None] * row.batches[None, :]
    values, errors = ratio(2 * row.each("work") / learning_rates[..., None], row.each("power"))
    measured, error = worst(values - 1, errors)
    label = f"{system}: 2 <d . g> / (eta <|g_B|^2>) less 1, worst point"
    return [*found, Check(label, measured, 0, error, 0.05, "agree", "Yaida 2019: exact in any stationary law")]


def side_checks(row):
    """The skewness of the noise tilts the occupation away from the symmetric potential's, alike at every batch size."""
    values, errors = row.between("second_side", -2)
    measured, error = worst(values, errors)
    label = "double well: second well, difference of the starts, worst point"
    found = [Check(label, measured, 0, error, 0.06, "agree", "one stationary law")]
    each = row.each("second_side")[0]
    measured, error = over_seeds(each.mean(axis=0))
    label = "double well, smallest eta/B: occupation of the second well, mean over batch sizes"
    exact = row.laws.second_side[0].mean()
    found.append(Check(label, measured, exact, error, 0.03, "agree", SOURCES["double well"]))
    found.append(Check(f"{label}, Gibbs", measured, 0.5, error, 0, "below", "Gibbs: one half, by symmetry"))
    measured, error = over_seeds(each[-1] - each[0])
    label = f"double well, smallest eta/B: occupation of the second well, batch {row.batches[-1]} less {row.batches[0]}"
    return [*found, Check(label, measured, 0, error, 0.03, "agree", "non-Gaussian noise keeps the collapse")]


TITLES = {
    "quadratic": "quadratic",
    "without replacement": "quadratic, without replacement",
    "digits": "network on digits",
    "double well": "double well",
}
MARKERS = ("o", "s", "^", "D", "v")


def shades(count):
    """One colour for each batch size, light to dark."""
    import matplotlib

    return [matplotlib.colormaps["viridis_r"](x) for x in np.linspace(0.12, 1.0, count)]


def plot(config, arrays):
    rows = measured(config, arrays)
    figure, panels = style.figure(1, len(rows), width=2.9 * len(rows), height=3.3, squeeze=False)
    for panel, letter, (system, row) in zip(panels[0], "abcd", rows.items()):
        departure_panel(panel, config, system, row)
        panel.set_title(f"({letter}) {TITLES[system]}")
    panels[0, 0].set_ylabel("loss above the minimum / small-rate law\n(bars: one standard error)")
    return figure


def plain_ticks(axis):
    """Few and plain numbers on a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def departure_panel(panel, config, system, row):
    """Loss above the minimum over the law of small rates, and the exact law, one line for each temperature."""
    fine, fine_laws = row.batches, row.laws
    if system != "double well":  # whose steps take whole examples
        fine = np.geomspace(row.batches[0], row.batches[-1], 60)
        fine_laws = laws_of(config, system, tuple(row.rates), tuple(fine))
    small = row.laws.small["excess_loss"][:, None]
    law = "quadratic approximation" if system == "digits" else "exact law"
    for i, rate in enumerate(row.rates):
        predicted = fine_laws.exact["excess_loss"][i] / small[i]
        label = law if i == 0 else None
        panel.plot(rate * fine * row.laws.curvature, predicted, color=style.COLOURS["theory"], lw=1.0, label=label)
    values, errors = row.over("excess_loss", small)
    for j, colour in enumerate(shades(len(row.batches))):
        panel.errorbar(
            row.rates * row.batches[j] * row.laws.curvature, values[:, j], errors[:, j], color=colour,
            marker=MARKERS[j % 5], linestyle="none", label=f"B = {row.batches[j]}",
        )  # fmt: skip
    panel.axhline(1, color="black", linestyle="--", linewidth=1.0)
    panel.set(xscale="log", xlabel="learning rate x largest curvature")
    plain_ticks(panel.xaxis)
    panel.legend(loc="lower left" if system == "without replacement" else "upper left")
