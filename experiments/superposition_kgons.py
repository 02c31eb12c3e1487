"""In superposition's toy model SGD rests at polygons; isotropic noise adds corners, SGD's at batch size 1 takes some.

f(x) = ReLU(W^T W x + b) with two hidden dimensions stores c one-hot features x = t e_i, t ~ U[0, 1]. A regular k-gon of
columns of W is critical, L(k, c) = (h_k + c - k)/(3c) - m/(4 c^2), m features outside it at the bias 1/(2c).

1. SGD (B = 100, 1000 examples) from small random weights, c = 6 and 8. The loss shown is that of the whole population,
   exactly, at SGD's params: a sample of 1000 shifts the loss of a feature that is not stored by a tenth, which says
   nothing about polygons. A record is flat where the least-squares slope over `window` records around it changes the
   loss by less than 0.5 % in that window; a plateau is at least `window` flat records in a row. Each is held against
   L(k, c) with k and m *counted* in its params: k features with |W_i|^2 + b_i > 1/2, m of the others with
   b_i > 1/(4c); and, for what chance would give, against the levels of all other plateaus. (Against the nearest of all
   levels it would prove little: for c = 8 they lie too close.) Few plateaus have m = 0, the level of the polygon alone.
2. Occupation of k, c = 6, a fixed time after the start, against T = learning_rate v/2 (v: noise variance a coordinate,
   for SGD tr Sigma/(B d) at the pentagon): isotropic noise, SGD over batch sizes, and Gaussian noise of SGD's own
   covariance at every point (one substep: it differs from SGD by its Gaussian shape alone). There is no stationary law:
   a feature that is off and its bias are free to drift for ever.
3. Local learning coefficients (mean sampled loss - loss at the polygon)/T, by Langevin steps tethered to the k-gon
   whose other features are off: a minimum that is flat in the rotation and all of an off feature's three parameters, so
   that the coefficient is (3k - 1)/2; with tether and step size included, half the sum over curvatures h of
   h/(h + g)/(1 - eta (h + g)/2).

What it does not say: 200 training runs for each c from one start scale, at one rate and batch size; 120 runs of each
kind at each of its temperatures (of isotropic noise from each of two starts; SGD's noise is seen to take corners away
at the highest of its five only), at one time after the start. Of the plateaus that are off their level by more than 1
%, those of the 12 runs for c = 8 whose weights are kept all have a feature that shares a corner, its short column along
a stored one: they are few, and the others are not known. Levels near which less than 1 % of the plateaus lie are not
drawn. What isotropic noise would occupy in equilibrium is not asked.

Source: Elhage et al. 2022 (arXiv 2209.10652); Chen et al. 2023 (arXiv 2310.06301), figures 1, 3 and 6.

Command: `sgdsde reproduce superposition_kgons`.
"""

import dataclasses
import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial

from sgdsde import (
    Check,
    euler_maruyama,
    gradient_covariance_trace,
    match,
    measurements,
    noise,
    predictions,
    sgd,
    simulate,
    style,
    superposition,
)


@dataclass(frozen=True)
class Config:
    few_features: int = 6
    """features of the smaller model, also that of the noise sweep"""
    many_features: int = 8
    """features of the larger model, also that of the learning coefficients"""
    num_examples: int = 1000
    """examples in the training set"""
    start_deviation: float = 0.1
    """standard deviation of the weights at the start; biases start at zero"""
    learning_rate: float = 0.01
    """of the training runs"""
    batch_size: int = 100
    """of the training runs, drawn with replacement"""
    num_steps: int = 40_000
    """of the training runs"""
    num_records: int = 160
    """of the training runs"""
    window: int = 8
    """records over which a slope is fitted, and of the shortest plateau"""
    num_chains: int = 200
    """independent training runs for each number of features"""
    num_shown: int = 12
    """training runs whose weights are kept for the pictures"""
    sweep_rate: float = 0.1
    """learning rate of the noise sweep"""
    sweep_batches: tuple[int, ...] = (100, 30, 10, 3, 1)
    """batch sizes of the noise sweep; isotropic noise is taken at their temperatures too"""
    hot_temperatures: tuple[float, ...] = (0.002, 0.004, 0.01)
    """further temperatures of isotropic noise"""
    sweep_steps: int = 5_000
    """steps after which corners are counted"""
    sweep_chains: int = 120
    """independent runs at each temperature"""
    local_temperatures: tuple[float, ...] = (3e-6, 1e-5)
    """temperatures at which losses are sampled around a polygon"""
    tether: float = 0.001
    """curvature of the term that holds the samples near the polygon"""
    local_rate: float = 0.1
    """learning rate of these samples"""
    local_steps: int = 30_000
    """steps of these samples; the first quarter is not used"""
    local_chains: int = 50
    """independent chains of these samples"""
    num_values: int = 250
    """values of each feature in the training set of these samples, a grid"""
    seed: int = 0


SEE = """Plateaus of SGD lie at the polygons' losses with their own numbers of corners and of biased features: half of
them within a fraction {c = 6: deviation of the median plateau from its own L | within}, and within 1 % more often than
the fractions {c = 6: plateaus within 1 % of their own L | predicted} (c = 6) and {c = 8: plateaus within 1 % of their
own L | predicted} (c = 8) that the levels of other plateaus would give. From small weights isotropic noise adds
corners, until it melts the polygons; SGD's noise takes corners away at batch size 1."""
SMOKE = Config(
    num_examples=100, batch_size=10, num_steps=1200, num_records=60, num_chains=6, num_shown=3, sweep_batches=(10, 1),
    hot_temperatures=(0.01,), sweep_steps=100, sweep_chains=6, local_temperatures=(1e-5,), local_steps=400,
    local_chains=4, num_values=20,
)  # fmt: skip
DIMENSIONS = {
    "loss": ("num_features", "record", "chain"),
    "corners": ("num_features", "record", "chain"),
    "biased": ("num_features", "record", "chain"),
    "step": ("record",),
    "few_weights": ("record", "shown", "hidden", "few_features"),
    "many_weights": ("record", "shown", "hidden", "many_features"),
    "temperature": ("temperature",),
    "isotropic": ("temperature", "start", "corner_count"),
    "batch_temperature": ("batch",),
    "sgd": ("batch", "corner_count"),
    "anisotropic": ("batch", "corner_count"),
    "learning_coefficient": ("local_temperature", "vertices"),
    "learning_coefficient_error": ("local_temperature", "vertices"),
    "diverged": (),
}
LOCAL_VERTICES = (5, 6, 7, 8)


def corners(params):
    """Which features are stored: those answered by more than one half where t = 1."""
    return jnp.sum(params["weights"] ** 2, axis=0) + params["biases"] > 0.5


def training_record(params):
    stored, biases = corners(params), params["biases"]
    biased = ~stored & (biases > 1 / (4 * biases.size))
    return {
        "loss": superposition.population_loss(params),
        "corners": jnp.sum(stored).astype(jnp.int8),
        "biased": jnp.sum(biased).astype(jnp.int8),
        "weights": params["weights"],
    }


def num_corners(params):
    return jnp.sum(corners(params))


def sample(config, key, num_features):
    problem, _ = superposition.one_hot(
        key, num_features=num_features, num_hidden=2, num_examples=config.num_examples, num_test_examples=1,
        start_deviation=config.start_deviation,
    )  # fmt: skip
    return problem


def critical_polygon(num_vertices, num_features, other_bias):
    shape = predictions.superposition_polygon(num_vertices)
    return superposition.polygon(
        num_features=num_features, num_vertices=num_vertices, length=shape.length, bias=shape.bias,
        other_biases=[other_bias] * (num_features - num_vertices),
    )  # fmt: skip


def train(config, key, num_features):
    """The records of all runs; the weights of a few."""
    data_key, run_key = jax.random.split(key)
    problem = sample(config, data_key, num_features)
    dynamics = sgd(
        problem, learning_rate=config.learning_rate, batch_size=config.batch_size, sampling="with_replacement"
    )
    found = simulate(
        dynamics, problem.init, run_key, num_steps=config.num_steps, num_chains=config.num_chains,
        observe=training_record, every=config.num_steps // config.num_records,
    )  # fmt: skip
    observed = found.observed
    return found.step, observed | {"weights": observed["weights"][:, : config.num_shown]}, found.diverged_at


def occupation(config, dynamics, start, key):
    """Fraction of the runs with 0, 1, ..., c corners at the end; how many diverged."""
    found = simulate(
        dynamics, start, key, num_steps=config.sweep_steps, num_chains=config.sweep_chains, observe=num_corners,
        every=config.sweep_steps,
    )  # fmt: skip
    counts = found.observed[-1][:, None] == jnp.arange(config.few_features + 1)[None, :]
    return jnp.mean(counts, axis=0), found.diverged_at


def sweep(config, key):
    data_key, *keys = jax.random.split(key, 4)
    problem = sample(config, data_key, config.few_features)
    reference = critical_polygon(5, config.few_features, 1 / (2 * config.few_features))
    runs = [
        sgd(problem, learning_rate=config.sweep_rate, batch_size=size, sampling="with_replacement")
        for size in config.sweep_batches
    ]
    size = sum(leaf.size for leaf in jax.tree.leaves(reference))
    variance = gradient_covariance_trace(problem, reference) / size
    batch_temperature = jnp.stack(
        [
            predictions.temperature(learning_rate=config.sweep_rate, batch_size=size, gradient_variance=variance)
            for size in config.sweep_batches
        ]
    )
    hot_temperature = jnp.asarray(config.hot_temperatures, variance.dtype)
    isotropic = [match(run, noise.isotropic, substeps=1, at=reference) for run in runs] + [
        euler_maruyama(problem, noise.isotropic(problem, variance=variance), learning_rate=config.sweep_rate)
        for variance in 2 * hot_temperature / config.sweep_rate
    ]
    anisotropic = [match(run, noise.anisotropic, substeps=1) for run in runs]
    whole = critical_polygon(config.few_features, config.few_features, 0.0)
    found = {
        "isotropic": [
            [occupation(config, each, start, keys[0]) for start in (problem.init, whole)] for each in isotropic
        ],
        "sgd": [occupation(config, each, problem.init, keys[1]) for each in runs],
        "anisotropic": [occupation(config, each, problem.init, keys[2]) for each in anisotropic],
    }
    is_pair = lambda node: isinstance(node, tuple)
    diverged = sum(jnp.sum(pair[1] >= 0) for pair in jax.tree.leaves(found, is_leaf=is_pair))
    fractions = jax.tree.map(lambda pair: pair[0], found, is_leaf=is_pair)
    return {
        "isotropic": jnp.stack([jnp.stack(row) for row in fractions["isotropic"]]),
        "sgd": jnp.stack(fractions["sgd"]),
        "anisotropic": jnp.stack(fractions["anisotropic"]),
        "temperature": jnp.concatenate([batch_temperature, hot_temperature]),
        "batch_temperature": batch_temperature,
    }, diverged


def pull(strength, point, params):
    return strength / 2 * sum(jnp.sum((params[name] - point[name]) ** 2) for name in point)


def local_learning(config, key):
    """Learning coefficients at every temperature and polygon, and their errors."""
    c = config.many_features
    grid = superposition.one_hot_grid(num_features=c, num_hidden=2, num_values=config.num_values, start_deviation=0.0)
    rows, diverged = [], 0
    for temperature in config.local_temperatures:
        for k in LOCAL_VERTICES:
            point = critical_polygon(k, c, -1.0)
            problem = dataclasses.replace(grid, penalty=Partial(pull, config.tether, point))
            law = noise.isotropic(problem, variance=2 * temperature / config.local_rate)
            found = simulate(
                euler_maruyama(problem, law, learning_rate=config.local_rate), point, key,
                num_steps=config.local_steps, num_chains=config.local_chains, observe=superposition.population_loss,
                every=config.local_steps // 100,
            )  # fmt: skip
            diverged += jnp.sum(found.diverged_at >= 0)
            rows.append(
                measurements.learning_coefficient(
                    found.observed[25:], loss_at_point=superposition.population_loss(point), temperature=temperature
                )
            )
    shape = (len(config.local_temperatures), len(LOCAL_VERTICES))
    estimates, errors = (jnp.stack(column).reshape(shape) for column in zip(*rows))
    return {"learning_coefficient": estimates, "learning_coefficient_error": errors}, diverged


def run(config, key):
    few_key, many_key, sweep_key, local_key = jax.random.split(key, 4)
    step, few, few_diverged = train(config, few_key, config.few_features)
    _, many, many_diverged = train(config, many_key, config.many_features)
    swept, sweep_diverged = sweep(config, sweep_key)
    local, local_diverged = local_learning(config, local_key)
    diverged = jnp.sum(few_diverged >= 0) + jnp.sum(many_diverged >= 0) + sweep_diverged + local_diverged
    both = {name: jnp.stack([few[name], many[name]]) for name in ("loss", "corners", "biased")}
    weights = {"few_weights": few["weights"], "many_weights": many["weights"]}
    return {"step": step, **both, **weights, **swept, **local, "diverged": diverged}


@dataclass(frozen=True)
class Plateau:
    """A stretch of one run on which the loss stands still."""

    chain: int
    first: int
    last: int
    loss: float
    corners: int
    biased: int


def plateaus(config, loss, corners, biased):
    """All plateaus of the runs, (num_records, num_chains) each; counts are the most frequent on the plateau."""
    size = config.window
    windows = np.lib.stride_tricks.sliding_window_view(loss, size, axis=0)
    places = np.arange(size) - (size - 1) / 2
    change = windows @ places / (places @ places) * size
    is_flat = np.abs(change) < 0.005 * windows.mean(axis=-1)
    found = []
    for chain in range(loss.shape[1]):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], is_flat[:, chain], [False]])))
        for begin, end in zip(edges[::2] + size // 2, edges[1::2] + size // 2):
            if end - begin >= size:
                stretch = slice(begin, end)
                pairs, counts = np.unique(
                    np.stack([corners[stretch, chain], biased[stretch, chain]]), axis=1, return_counts=True
                )
                k, m = pairs[:, np.argmax(counts)]
                found.append(Plateau(chain, begin, end - 1, loss[stretch, chain].mean(), int(k), int(m)))
    return found


@functools.cache
def level(k, c, m):
    """L(k, c) with m biased features."""
    return float(predictions.superposition_loss(k, c, num_biased=m))


def deviation(plateau, num_features):
    """Relative deviation from L(k, c) with the plateau's own k and m."""
    return plateau.loss / level(plateau.corners, num_features, plateau.biased) - 1


def by_chance(resting, c, within):
    """How often a plateau would be so near to the level of another one, drawn at random."""
    losses = np.array([plateau.loss for plateau in resting])
    expected = np.array([level(plateau.corners, c, plateau.biased) for plateau in resting])
    return np.mean(np.abs(losses[:, None] / expected - 1) < within) if resting else np.nan


def shares_a_corner(columns):
    """Whether a short column of W (hidden, features) points along a stored one, within ten degrees."""
    length, angle = np.hypot(*columns), np.arctan2(columns[1], columns[0])
    short, stored = angle[(length > 0.1) & (length < 0.8)], angle[length >= 0.8]
    return bool(np.any(np.cos(short[:, None] - stored) > np.cos(np.radians(10))))


def occupied(resting, c, at_least=0.01):
    """(k, m) of the levels within 1 % of which this fraction of the plateaus lies."""
    kinds = [(plateau.corners, plateau.biased) for plateau in resting if abs(deviation(plateau, c)) < 0.01]
    return [kind for kind in sorted(set(kinds)) if kinds.count(kind) >= at_least * len(resting)]


def fraction(found, holds):
    """Fraction of the plateaus for which `holds`, and its error from independent runs."""
    chains = {plateau.chain for plateau in found}
    total = max(len(found), 1)
    mean = sum(map(holds, found)) / total
    sums = [sum(holds(p) - mean for p in found if p.chain == chain) for chain in chains]
    return mean, float(np.sqrt(np.sum(np.square(sums)))) / total


def models(config, arrays):
    """(num_features, plateaus) of both models."""
    for index, c in enumerate((config.few_features, config.many_features)):
        yield c, plateaus(config, *(arrays[name][index] for name in ("loss", "corners", "biased")))


def mean_corners(config, fractions):
    """Mean number of corners and its error, from the fractions of independent runs."""
    counts = np.arange(fractions.shape[-1])
    mean = fractions @ counts
    return mean, np.sqrt(np.maximum(fractions @ counts**2 - mean**2, 1 / config.sweep_chains) / config.sweep_chains)


@functools.cache  # the checks and the figure both ask
def harmonic_coefficient(config, num_vertices):
    """Half the sum over curvatures h of h/(h + g)/(1 - eta (h + g)/2) at the polygon."""
    flat, unravel = ravel_pytree(critical_polygon(num_vertices, config.many_features, -1.0))
    hessian = jax.jit(jax.hessian(lambda vector: superposition.population_loss(unravel(vector))))(flat)
    h, g = np.linalg.eigvalsh(np.asarray(hessian, float)), config.tether
    return np.sum(h / (h + g) / (1 - config.local_rate * (h + g) / 2)) / 2


PUBLISHED = {5: 0.23738, 6: 0.86746, 7: 1.74870, 8: 2.77311}
"""excess losses h_k, for comparison only"""


def checks(config, arrays):
    found, source = [], "L(k, c) = (h_k + c - k)/(3c) - m/(4 c^2)"
    for k, published in PUBLISHED.items():
        loss = superposition.population_loss(critical_polygon(k, k, 0.0))
        found.append(Check(f"h_{k}", 3 * k * loss, published, 0, 1e-4 / published, "agree", "Chen et al. 2023"))
    for c, resting in models(config, arrays):
        whole = np.abs([deviation(plateau, c) for plateau in resting])
        middle = np.median(whole) if resting else np.nan
        name = f"c = {c}: deviation of the median plateau from its own L"
        found.append(Check(name, middle, 0, 0, 0.005, "agree", source))
        counted, error = fraction(resting, lambda plateau, c=c: abs(deviation(plateau, c)) < 0.01)
        name = f"c = {c}: plateaus within 1 % of their own L"
        found.append(Check(name, counted, by_chance(resting, c, 0.01), error, 0, "above", "levels of other plateaus"))
        bare, error = fraction(resting, lambda plateau: plateau.biased == 0)
        found.append(Check(f"c = {c}: plateaus without a biased feature", bare, 0.2, error, 0, "below", "m = 0"))
        reached = len({plateau.chain for plateau in resting}) / config.num_chains
        found.append(Check(f"c = {c}: runs that rest", reached, 1, 0, 0.05, "agree", "every run meets a plateau"))
    weights, (c, resting) = arrays["many_weights"], list(models(config, arrays))[-1]
    astray = [
        not shares_a_corner(weights[(plateau.first + plateau.last) // 2, plateau.chain])
        for plateau in resting
        if plateau.chain < weights.shape[1] and abs(deviation(plateau, c)) > 0.01
    ]
    name = f"c = {c}: plateaus off by more than 1 % without a shared corner, of the runs whose weights are kept"
    found.append(Check(name, sum(astray), 0, 0, 0, "agree", "a feature that shares a corner is not in L(k, c)"))
    name = f"c = {c}: plateaus off by more than 1 %, of the runs whose weights are kept"
    found.append(Check(name, len(astray), 0, 0, 0, "above", "else the check before says nothing"))
    return [*found, *noise_checks(config, arrays), *local_checks(config, arrays)]


def noise_checks(config, arrays):
    """How the mean number of corners moves with each kind of noise."""
    kinds = ("isotropic", "sgd", "anisotropic")
    (isotropic, isotropic_error), (sgds, sgds_error), (gaussian, gaussian_error) = (
        mean_corners(config, arrays[kind][:, 0] if kind == "isotropic" else arrays[kind]) for kind in kinds
    )
    both = lambda first, second: np.hypot(first, second)
    warm, coldest, hottest, last = len(arrays["batch_temperature"]), 0, -1, -1
    isotropic_source = "isotropic noise frees a feature by lifting it over a barrier"
    sgd_source = "SGD's noise leaves a feature that is off where it is"
    shape_source = "the same covariance, another law"
    found = [
        Check(
            "isotropic: corners at the first hot temperature, above the coldest", isotropic[warm], isotropic[coldest],
            both(isotropic_error[warm], isotropic_error[coldest]), 0, "above", isotropic_source,
        ),
        Check(
            "isotropic: corners at the hottest, below the first hot", isotropic[hottest], isotropic[warm],
            both(isotropic_error[hottest], isotropic_error[warm]), 0, "below", "polygons melt",
        ),
        Check(
            "SGD: corners at the smallest batch, below the largest", sgds[last], sgds[0],
            both(sgds_error[last], sgds_error[0]), 0, "below", sgd_source,
        ),
        Check(
            "SGD at the smallest batch, below isotropic noise of its temperature", sgds[last], isotropic[warm - 1],
            both(sgds_error[last], isotropic_error[warm - 1]), 0, "below", sgd_source,
        ),
        Check(
            "Gaussian noise of SGD's covariance at the smallest batch, below SGD", gaussian[last], sgds[last],
            both(gaussian_error[last], sgds_error[last]), 0, "below", shape_source,
        ),
        Check(
            "the same at the largest batch", gaussian[0], sgds[0], both(gaussian_error[0], sgds_error[0]), 0.1, "agree",
            "many examples in a batch: nearly Gaussian",
        ),
        Check(
            "SGD at the largest batch and isotropic noise", isotropic[0], sgds[0],
            both(isotropic_error[0], sgds_error[0]), 0.1, "agree", "too cold for any noise to matter",
        ),
    ]  # fmt: skip
    return [*found, Check("runs diverged", arrays["diverged"], 0, 0, 0, "agree", "none may")]


def local_checks(config, arrays):
    found = []
    for i, temperature in enumerate(config.local_temperatures):
        estimates, errors = arrays["learning_coefficient"][i], arrays["learning_coefficient_error"][i]
        for j, k in enumerate(LOCAL_VERTICES):
            name = f"learning coefficient of the {k}-gon at T = {temperature:g}"
            exact = harmonic_coefficient(config, k)
            source = "curvatures of the population's loss, tether and step included"
            found.append(Check(name, estimates[j], exact, errors[j], 0.05, "agree", source))
    return found


INK = {0: "#BBBBBB", 1: "#BBBBBB", 2: "#999999", 3: "#CC79A7", 4: "#E69F00", 5: "#0072B2", 6: "#009E73", 7: "#D55E00",
       8: "#882255"}  # fmt: skip
"""one colour for each number of corners"""


def plot(config, arrays):
    figure, panels = style.figure(2, 3, width=11.0, height=6.6)
    for index, (c, resting) in enumerate(models(config, arrays)):
        draw_losses(config, panels[0, index], arrays, index, c, resting)
        panels[0, index].set_title(f"({'ab'[index]}) SGD, c = {c}: lines L(k, c), labels k, m")
    c, resting = list(models(config, arrays))[-1]
    draw_polygons(panels[0, 2], arrays["many_weights"], resting, c)
    draw_occupation(config, panels[1, 0], arrays["temperature"], arrays["isotropic"][:, 0], arrays["isotropic"][:, 1])
    panels[1, 0].set_title(f"(d) isotropic noise, c = {config.few_features}")
    draw_mean_corners(config, panels[1, 1], arrays)
    draw_coefficients(config, panels[1, 2], arrays)
    return figure


def draw_losses(config, panel, arrays, index, c, resting):
    """Some runs, and the levels that plateaus occupy."""
    time = arrays["step"] * config.learning_rate
    for chain in range(min(config.num_chains, 40)):
        panel.plot(time, arrays["loss"][index, :, chain], color="black", linewidth=0.6, alpha=0.5)
    shown = occupied(resting, c)
    for k, m in shown:
        panel.axhline(level(k, c, m), color=INK[k], linewidth=1.2, linestyle="--")
        panel.text(1.01 * time[-1], level(k, c, m), f"{k}, {m}", color=INK[k], va="center", fontsize=7)
    panel.set(xlabel="time (steps x learning rate)", ylabel="population loss", xlim=(0, time[-1]))
    if shown:
        heights = [level(k, c, m) for k, m in shown]
        panel.set(ylim=(0.9 * min(heights), 1.25 * max(heights)))


def draw_polygons(panel, weights, resting, c):
    """One plateau of each kind (corners, biased features) that the shown runs have, from high to low loss."""
    kinds = {}
    for plateau in resting:
        if plateau.chain < weights.shape[1]:
            kinds.setdefault((plateau.corners, plateau.biased), plateau)
    story = sorted(kinds.values(), key=lambda plateau: -plateau.loss)[:6]
    for place, plateau in enumerate(story):
        across, down = place % 3, place // 3
        columns = weights[(plateau.first + plateau.last) // 2, plateau.chain]
        x, y = columns + np.array([[4.0 * across], [-5.6 * down]])
        panel.plot(np.stack([np.full(c, 4.0 * across), x]), np.stack([np.full(c, -5.6 * down), y]),
                   color=INK[plateau.corners], marker="o", markersize=3)  # fmt: skip
        order = np.argsort(np.arctan2(columns[1], columns[0]))
        long = [i for i in order if np.hypot(*columns[:, i]) > 0.5]
        panel.plot(x[[*long, *long[:1]]], y[[*long, *long[:1]]], color=INK[plateau.corners], linewidth=0.7, alpha=0.6)
        text = (
            f"k = {plateau.corners}, m = {plateau.biased}\nloss {plateau.loss:.4f}\n{deviation(plateau, c):+.1%} from L"
        )
        panel.text(4.0 * across, -5.6 * down - 1.9, text, ha="center", va="top", fontsize=8)
    panel.set(
        xlim=(-2, 10),
        ylim=(-9.6, 2.0),
        aspect="equal",
        title=f"(c) c = {c}: columns of W at plateaus",
    )
    panel.axis("off")


def draw_occupation(config, panel, temperature, fractions, from_whole):
    """Fractions of runs with each number of corners; hollow: started from the complete polygon."""
    groups = [("3 or fewer", slice(0, 4), 3)] + [
        (str(k), slice(k, k + 1), k) for k in range(4, config.few_features + 1)
    ]
    for label, places, k in groups:
        for values, face, line in ((fractions, INK[k], "-"), (from_whole, "white", ":")):
            if values is not None:
                p = values[:, places].sum(axis=1)
                error = np.sqrt(np.maximum(p * (1 - p), 1 / config.sweep_chains) / config.sweep_chains)
                panel.errorbar(
                    temperature, p, error, color=INK[k], marker="o", markerfacecolor=face, linestyle=line,
                    label=f"{label} corners" if line == "-" else None,
                )  # fmt: skip
    if from_whole is not None:
        panel.plot([], [], color="grey", marker="o", markerfacecolor="white", linestyle=":", label="from the 6-gon")
    panel.set(xscale="log", xlabel="temperature T (units of the loss)", ylabel="fraction of runs", ylim=(-0.05, 1.05))
    panel.legend()


def draw_mean_corners(config, panel, arrays):
    for kind, label in (
        ("isotropic", "isotropic noise"),
        ("sgd", "SGD"),
        ("anisotropic", "Gaussian, SGD's covariance"),
    ):
        fractions = arrays[kind][:, 0] if kind == "isotropic" else arrays[kind]
        temperature = arrays["temperature" if kind == "isotropic" else "batch_temperature"]
        mean, error = mean_corners(config, fractions)
        panel.errorbar(temperature, mean, error, **style.line("SGD" if kind == "sgd" else kind), label=label)
    panel.set(xscale="log", xlabel="temperature T (units of the loss)", ylabel="mean number of corners", ylim=(0, 6.2))
    panel.set_title(f"(e) noises of one trace at the pentagon, c = {config.few_features}")
    panel.legend()


def draw_coefficients(config, panel, arrays):
    vertices = np.array(LOCAL_VERTICES)
    panel.plot(vertices, (3 * vertices - 1) / 2, **style.line("theory"), label="(3k - 1)/2")
    exact = [harmonic_coefficient(config, k) for k in LOCAL_VERTICES]
    panel.plot(vertices, exact, color="grey", linestyle=":", label="with tether and step size")
    for i, temperature in enumerate(config.local_temperatures):
        panel.errorbar(
            vertices + 0.06 * (i - 0.5), arrays["learning_coefficient"][i], arrays["learning_coefficient_error"][i],
            color=("#0072B2", "#D55E00")[i % 2], marker="os"[i % 2], linestyle="none",
            label=f"sampled, T = {temperature:g}",
        )  # fmt: skip
    panel.set(xlabel="corners k", ylabel="local learning coefficient", xticks=vertices)
    panel.set_title(f"(f) c = {config.many_features}, other features off")
    panel.legend()
