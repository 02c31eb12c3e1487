"""Deep linear networks learn from saddle to saddle, and of SGD's SDEs only the anisotropic one takes the same path.

Five layers learn a map of singular values 50, 40, 30, 20, 10 from a small balanced start, one mode after another, with
a plateau of the loss, half the sum of the squares not learnt yet, before each. Under gradient flow every mode's
strength obeys du/dt = N u^(2 - 2/N) (s - u), N = 5, exactly, because the inputs are whitened as a set. Beside gradient
descent and SGD (B = 128 of 10,000 examples) run its SDEs: isotropic Gaussian noise and rotation-invariant Levy noise,
both matched in trace along the run; diagonal; anisotropic, C = Sigma/B exactly, at SGD's own step and at a quarter of
it; anisotropic Levy, sqrt(A) N(0, C).

How far an SDE is from SGD: the squared maximum mean discrepancy of whole trajectories, each the strengths over |s| and
the loss over its start as functions of time, with |X - Y| the root mean square over time and a Gaussian kernel as wide
as two runs of SGD are apart (their median). It sees means and spread and is 0 for one law; a second ensemble of SGD
shows what no difference looks like. The kernel is bounded, so that a chain which diverged, as the anisotropic Levy
SDE's may after a jump, counts like any other that is far away; and so is the distance. Its ceiling, the two mean
kernels of either law with itself, is reached where no run of one is near a run of the other: there it says no more.

A mode's noise is the trace of Sigma over its own weights, one a layer ("weights": the largest predicted at
(N - 1)/(2N - 1) = 0.44 of the target, so before half of it), or the variance in the rate of its strength ("strength":
the largest at (2N - 2)/(3N - 2) = 0.62, so after half is learnt, for more than two layers). Both are measured. Their
height is that of Gaussian inputs times (<x^4> - 1)/2, x the mode's input over the training examples: 1 for an infinite
set, up to 5 per cent away from it for this one.

Corlouer et al. say that a mode's noise is largest before the mode is completely learnt, and that noise "does not
fundamentally alter" these dynamics. SGD's does not here either: its modes are learnt one by one, all but the first
(where this is not resolved) a little later than under gradient flow. Isotropic noise of the same trace spreads the
times at which the last three modes are half learnt, and narrows that of the first; of the second nothing is said.

What it does not say: one network, one whitened data set without label noise, one rate and batch size; 64 runs of each
dynamics (the places of the maxima from 16 more of SGD, their heights from one). Isotropic and isotropic Levy noise are
both at the ceiling of the distance, so that their order means nothing; the distance at four microsteps a step is not
decided by so many runs. The mean loss is not shown under Levy noise, where it is infinite. Some runs under isotropic
and Levy noise have not learnt the last mode by the end, and count as of then; one run of the anisotropic Levy SDE
diverged. Plateaus and closed curves are approached at finite time and rate, and are therefore missed by more than their
statistical errors.

Source: Saxe, McClelland, Ganguli 2014 (arXiv 1312.6120); saddle to saddle: Jacot et al. 2021 (2106.15933); noise of
modes: Corlouer et al. 2026 (2604.06366).

Command: `sgdsde reproduce deep_linear_modes`.
"""

import itertools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial, tree_leaves

from sgdsde import Check, deep_linear, loss, match, noise, observables, sgd, simulate, style
from sgdsde.measurements import first_crossing, median_bandwidth, squared_mmd
from sgdsde.measurements import mean as mean_and_error
from sgdsde.predictions import half_learning_time, mode_noise, mode_noise_peak, mode_strength, plateau_losses


@dataclass(frozen=True)
class Config:
    singular_values: tuple[float, ...] = (50.0, 40.0, 30.0, 20.0, 10.0)
    """of the map to be learnt, decreasing"""
    start_strength: float = 1e-3
    """of every mode of the product at the start"""
    num_hidden: int = 4
    """hidden layers"""
    hidden_width: int = 10
    """width of each of them"""
    num_examples: int = 10_000
    """examples, inputs x ~ N(0, I) whitened as a set"""
    learning_rate: float = 1e-4
    """of SGD and its SDEs; gradient descent also runs at a tenth of it"""
    batch_size: int = 128
    """examples in a minibatch, drawn with replacement"""
    tail_index: float = 1.8
    """of both Levy SDEs"""
    num_steps: int = 24_000
    """steps of SGD"""
    num_records: int = 400
    """records of means; distances take 15 times as many"""
    num_chains: int = 64
    """independent seeds of each dynamics"""
    num_noise_chains: int = 16
    """further seeds of SGD, whose modes' noise is taken at every step"""
    seed: int = 0


SEE = """The anisotropic SDE's trajectories are not told from SGD's (distance 0 within {anisotropic: distance from SGD |
within}); those of every other noise are, and isotropic noise's are hardly ever near them (mean kernel {isotropic: mean
kernel with SGD, over that of SGD with itself} of SGD's with itself). Isotropic noise spreads the time at which the mode
of s = 20 is half learnt more than {isotropic: spread of the half-learning time of s = 20, over SGD's | predicted} times
as far as SGD does. Under SGD the noise in a mode's weights is largest at {SGD: share of s = 10 learnt when its weights
noise is largest | predicted} of the mode, within {SGD: share of s = 10 learnt when its weights noise is largest |
within}."""
SMOKE = Config(num_steps=240, num_records=4, num_chains=4, num_noise_chains=4, num_examples=500, start_strength=1.0)
DYNAMICS = (
    "SGD",
    "SGD again",
    "isotropic",
    "levy",
    "diagonal",
    "anisotropic levy",
    "anisotropic",
    "anisotropic, 4 substeps",
)
NOISES = ("weights", "strength")
BALANCED = ("SGD", "anisotropic", "isotropic")
RECORDS_IN_ONE = 15
FAR = 2.0
"""strengths over |s| and losses over the start's are cut here in a distance, and a chain that diverged stays here"""
WINDOW = 300
"""steps before and after half-learning that are kept of a mode"""
DIMENSIONS = {
    "time": ("record",),
    "strength": ("dynamics", "record", "mode"),
    "strength_error": ("dynamics", "record", "mode"),
    "loss": ("dynamics", "record"),
    "loss_error": ("dynamics", "record"),
    "half_time": ("dynamics", "chain", "mode"),
    "imbalance": ("dynamics", "chain"),
    "num_diverged": ("dynamics",),
    "squared_distance": ("dynamics", "whose", "chain", "other_chain"),
    "peak": ("noise", "noise_chain", "mode"),
    "noise_window": ("noise", "mode", "window"),
    "noise_window_strength": ("mode", "window"),
    "descent_strength": ("rate", "record", "mode"),
    "descent_loss": ("rate", "record"),
    "descent_half_time": ("rate", "mode"),
    "descent_window": ("rate", "mode", "window"),
    "descent_window_time": ("rate", "mode", "window"),
}


def taught(config):
    values = jnp.array(config.singular_values)
    return deep_linear.teacher(values, num_inputs=len(values), num_outputs=len(values))


def hidden_widths(config):
    return (config.hidden_width,) * config.num_hidden


def network(config, key):
    teacher = taught(config)
    start = deep_linear.balanced_start(teacher, hidden_widths=hidden_widths(config), strengths=config.start_strength)
    problem, _ = deep_linear.student(
        key,
        teacher,
        start=start,
        num_examples=config.num_examples,
        num_test_examples=1,
        label_variance=0.0,
        is_whitened=True,
    )
    return problem


def dynamics(config, problem):
    """SGD twice and its matched SDEs, by the names in DYNAMICS."""
    discrete = sgd(
        problem, learning_rate=config.learning_rate, batch_size=config.batch_size, sampling="with_replacement"
    )
    heavy = {"tail_index": config.tail_index, "substeps": 1}
    return {
        "SGD": discrete,
        "SGD again": discrete,
        "isotropic": match(discrete, noise.trace_matched, substeps=1),
        "levy": match(discrete, noise.trace_matched_levy, **heavy),
        "diagonal": match(discrete, noise.diagonal, substeps=1),
        "anisotropic levy": match(discrete, noise.anisotropic_levy, **heavy),
        "anisotropic": match(discrete, noise.anisotropic, substeps=1),
        "anisotropic, 4 substeps": match(discrete, noise.anisotropic, substeps=4),
    }


def descent(problem, learning_rate):
    """Gradient descent: the SDE without noise."""
    discrete = sgd(problem, learning_rate=learning_rate, batch_size=1, sampling="with_replacement")
    return match(discrete, noise.isotropic, substeps=1, variance=0.0)


def path(problem, bases, params):
    return {"strength": observables.mode_strengths(bases[-1], bases[0], params), "loss": loss(problem, params)}


def path_and_noise(problem, bases, params):
    noises = observables.mode_noise(problem, bases, params)
    return path(problem, bases, params) | {"noise": jnp.stack([noises[name] for name in NOISES])}


def half_times(strength, time, targets):
    """When each mode first has half of its target, joined linearly, the run's end if never: (chain, mode) from
    (record, chain, mode)."""
    level = jnp.broadcast_to(targets[None, :] / 2, strength.shape[1:])
    found = first_crossing(time, strength, level)
    return jnp.where(jnp.isnan(found), time[-1], found)


def windows(values, centre):
    """values (record, mode) around each mode's record `centre` (mode,): (mode, 2 WINDOW + 1), cut at both ends."""
    places = jnp.clip(centre[:, None] + jnp.arange(-WINDOW, WINDOW + 1)[None, :], 0, len(values) - 1)
    return jnp.take_along_axis(values.T, places, axis=1)


def run(config, key):
    data_key, run_key = jax.random.split(key)
    problem, targets = network(config, data_key), jnp.array(config.singular_values)
    start = problem.init(data_key)
    bases = deep_linear.balanced_bases(taught(config), hidden_widths=hidden_widths(config))
    every = max(config.num_steps // (config.num_records * RECORDS_IN_ONE), 1)
    sizes = {"num_steps": config.num_records * RECORDS_IN_ONE * every, "num_chains": config.num_chains}
    rows, paths = [], []
    for place, each in enumerate(dynamics(config, problem).values()):
        own_key, observe = jax.random.fold_in(run_key, place), Partial(path, problem, bases)
        seen = simulate(each, start, own_key, observe=observe, every=every, **sizes)
        rows.append(reduced(seen, targets))
        paths.append(relative_path(seen.observed, targets, loss(problem, start)))
    return {
        **{name: jnp.stack([row[name] for row in rows]) for name in rows[0]},
        "time": config.learning_rate * every * RECORDS_IN_ONE * jnp.arange(1.0, config.num_records + 1),
        "squared_distance": squared_distances(paths),
        **noise_peaks(config, problem, bases, sizes["num_steps"], jax.random.fold_in(run_key, len(rows))),
        **gradient_descents(config, problem, bases, sizes["num_steps"], every),
    }


@jax.jit
def reduced(seen, targets):
    """What is kept of an ensemble; means are over the chains that are not lost."""
    records = jax.tree.map(lambda leaf: leaf[RECORDS_IN_ONE - 1 :: RECORDS_IN_ONE], seen.observed)
    count = jnp.isfinite(records["loss"]).sum(axis=1)
    error = lambda value: jnp.nanstd(value, axis=1, ddof=1) / jnp.sqrt(count).reshape(-1, *(1,) * (value.ndim - 2))
    balances = jax.vmap(observables.balances)(seen.params)
    return {
        "strength": jnp.nanmean(records["strength"], axis=1),
        "strength_error": error(records["strength"]),
        "loss": jnp.nanmean(records["loss"], axis=1),
        "loss_error": error(records["loss"]),
        "half_time": half_times(seen.observed["strength"], seen.time, targets),
        "imbalance": jnp.sqrt(sum(jnp.sum(leaf**2, axis=(1, 2)) for leaf in tree_leaves(balances))),
        "num_diverged": jnp.sum(seen.diverged_at >= 0),
    }


def noise_peaks(config, problem, bases, num_steps, key):
    """At what share of its target each mode's noise is largest, chain by chain; and the noise of the first chain."""
    seen = simulate(
        dynamics(config, problem)["SGD"],
        problem.init(key),
        key,
        num_steps=num_steps,
        num_chains=config.num_noise_chains,
        observe=Partial(path_and_noise, problem, bases),
        every=1,
    )
    strength, noises = seen.observed["strength"], seen.observed["noise"]  # (step, chain, mode), (.., noise, mode)
    targets, places = jnp.array(config.singular_values), jnp.argmax(noises, axis=0)
    peak = jnp.take_along_axis(strength[:, :, None, :], places[None], axis=0)[0] / targets[None, None, :]
    centre = jnp.argmax(strength[:, 0] >= targets[None, :] / 2, axis=0)
    return {
        "peak": jnp.moveaxis(peak, 1, 0),
        "noise_window": jnp.stack([windows(noises[:, 0, kind], centre) for kind in range(len(NOISES))]),
        "noise_window_strength": windows(strength[:, 0], centre),
    }


@jax.jit
def relative_path(observed, targets, start_loss):
    """A trajectory as a vector whose length is a root mean square over time: (chain, record * number)."""
    strength = observed["strength"] / jnp.sqrt(jnp.sum(targets**2))
    whole = jnp.concatenate([strength, observed["loss"][:, :, None] / start_loss], axis=2)
    whole = jnp.clip(jnp.nan_to_num(whole, nan=FAR), -FAR, FAR)
    return jnp.moveaxis(whole, 1, 0).reshape(whole.shape[1], -1) / np.sqrt(len(whole)).item()


@jax.jit
def squared_distances(paths):
    """Of trajectories, for each dynamics (chain, place): to another one of its own, and to one of SGD's."""
    between = lambda first, second: jax.lax.map(lambda one: jnp.sum((one[None] - second) ** 2, axis=1), first)
    return jnp.stack([jnp.stack([between(own, own), between(own, paths[0])]) for own in paths])


def gradient_descents(config, problem, bases, num_steps, every):
    """Gradient descent at the learning rate and at a tenth of it, for the same time."""
    targets, rows = jnp.array(config.singular_values), []
    for slower in (1, 10):
        seen = simulate(
            descent(problem, config.learning_rate / slower),
            problem.init(jax.random.key(0)),
            jax.random.key(0),
            num_steps=num_steps * slower,
            num_chains=1,
            observe=Partial(path, problem, bases),
            every=slower,
        )
        strength, step = seen.observed["strength"], RECORDS_IN_ONE * every
        centre = jnp.argmax(strength[:, 0] >= targets[None, :] / 2, axis=0)
        rows.append(
            {
                "descent_strength": strength[step - 1 :: step, 0],
                "descent_loss": seen.observed["loss"][step - 1 :: step, 0],
                "descent_half_time": half_times(strength, seen.time, targets)[0],
                "descent_window": windows(strength[:, 0], centre),
                "descent_window_time": windows(jnp.tile(seen.time[:, None], (1, len(targets))), centre),
            }
        )
    return {name: jnp.stack([row[name] for row in rows]) for name in rows[0]}


def curves(config, times):
    """The closed strengths at the times, (time, mode), and the loss that belongs to them."""
    targets = np.asarray(config.singular_values, float)
    strength = mode_strength(
        np.asarray(times, float)[:, None],
        target=targets[None, :],
        start=config.start_strength,
        num_layers=config.num_hidden + 1,
    )
    return strength, ((targets - strength) ** 2).sum(axis=1) / 2


def predicted_half_times(config):
    return half_learning_time(
        target=np.asarray(config.singular_values, float), start=config.start_strength, num_layers=config.num_hidden + 1
    )


def curve_errors(config, arrays, rate):
    """The largest |u - closed curve| over the target, of each mode under gradient descent."""
    targets = np.asarray(config.singular_values, float)
    errors = np.abs(arrays["descent_strength"][rate] - curves(config, arrays["time"])[0]).max(axis=0)
    for mode in range(len(targets)):
        near = curves(config, arrays["descent_window_time"][rate, mode])[0][:, mode]
        errors[mode] = max(errors[mode], np.abs(arrays["descent_window"][rate, mode] - near).max())
    return errors / targets


def plateau_records(config, times):
    """The record on each plateau at which the closed loss falls most slowly; the last one is the end of the run."""
    borders = np.concatenate([[0.0], predicted_half_times(config)])
    slope = np.abs(np.gradient(curves(config, times)[1], np.asarray(times, float)))
    records = [
        np.argmin(np.where((times > low) & (times < high), slope, np.inf)) for low, high in itertools.pairwise(borders)
    ]
    return [*records, len(times) - 1]


def distances(arrays):
    """How far every other dynamics is from SGD: {name: (squared maximum mean discrepancy, standard error)}."""
    squares = np.asarray(arrays["squared_distance"], float)
    width = median_bandwidth(*placed(squares[0, 0], squares[1]))
    return {
        name: squared_mmd(*placed(squares[0, 0], squares[i]), bandwidth=width) for i, name in enumerate(DYNAMICS) if i
    }


def kernels(arrays):
    """The Gaussian kernel (whose, dynamics, chain, chain) of `distances`: a dynamics with itself, and with SGD."""
    squares = np.asarray(arrays["squared_distance"], float)
    width = median_bandwidth(*placed(squares[0, 0], squares[1]))
    return np.moveaxis(np.exp(-squares / (2 * width**2)), 1, 0)


def ceiling(arrays, name):
    """The distance from SGD that this dynamics would have, were no run of it near one of SGD's."""
    own = kernels(arrays)[0]
    others = ~np.eye(own.shape[-1], dtype=bool)
    return np.mean(own[0][others]) + np.mean(own[DYNAMICS.index(name)][others])


def spread(config, arrays, name):
    """|half-learning time - its median over runs| over the closed curve's, (chain, mode)."""
    times = np.asarray(arrays["half_time"], float)[DYNAMICS.index(name)]
    return np.abs(times - np.median(times, axis=0)) / predicted_half_times(config)


def placed(reference, squares):
    """Points (chain, coordinate) with given squared distances, for SGD and another dynamics: classical scaling."""
    own, cross = squares
    table = np.block([[own, cross], [cross.T, reference]])
    centred = table - table.mean(axis=0) - table.mean(axis=1)[:, None] + table.mean()
    values, vectors = np.linalg.eigh(-centred / 2)
    points = vectors * np.sqrt(np.maximum(values, 0))
    return points[: len(own)], points[len(own) :]


def checks(config, arrays):
    found, targets = [], np.asarray(config.singular_values, float)
    saxe, half = "du/dt = N u^(2 - 2/N) (s - u): Saxe et al. 2014", predicted_half_times(config)
    for s, error in zip(targets, curve_errors(config, arrays, 1)):
        name = f"gradient descent, rate {config.learning_rate / 10:g}: distance from the curve of s = {s:g}, relative"
        found.append(Check(name, error, 0, 0, 0.02, "agree", saxe))
    for rate, slower in enumerate((1, 10)):
        worst = np.argmax(np.abs(arrays["descent_half_time"][rate] / half - 1))
        name = f"gradient descent, rate {config.learning_rate / slower:g}: half-learning time farthest from the curve's"
        found.append(Check(name, arrays["descent_half_time"][rate, worst], half[worst], 0, 0.02, "agree", saxe))
    records, plateaus = plateau_records(config, arrays["time"]), np.asarray(plateau_losses(targets), float)
    for k, record, level in list(zip(itertools.count(), records, plateaus))[1:-1]:  # neither the start nor the end
        value, error = arrays["loss"][0, record], arrays["loss_error"][0, record]
        source = "half the sum of the squares not learnt"
        found.append(Check(f"SGD: loss with {k} modes learnt", value, level, error, 0.001, "agree", source))
    return [*found, *noise_checks(config, arrays), *distance_checks(config, arrays)]


def noise_checks(config, arrays):
    found, source = [], "largest value of N u^(2 - 2/N) (s - u)^2, or of that times N u^(2 - 2/N)"
    share = mode_noise_peak(target=1.0, num_layers=config.num_hidden + 1)
    for kind, name in enumerate(NOISES):
        peaks, errors = mean_and_error(arrays["peak"][kind])
        for s, peak, error in zip(config.singular_values, peaks, errors):
            label = f"SGD: share of s = {s:g} learnt when its {name} noise is largest"
            found.append(Check(label, peak, float(share[name]), error, 0.04, "agree", source))
    source = "(<x^4> - 1)/2 of the training inputs"
    for mode, (s, height) in enumerate(zip(config.singular_values, noise_heights(config))):
        measured = arrays["noise_window"][0, mode].max() / largest_noise(config, s)["weights"]
        label = f"SGD: largest weights noise of s = {s:g}, over that of Gaussian inputs"
        found.append(Check(label, measured, height, 0, 0.005, "agree", source))
    return found


def largest_noise(config, target):
    """The largest of both noises of a mode, for Gaussian inputs."""
    grid = np.linspace(0, target, 2_001)
    noises = mode_noise(grid, target=target, num_layers=config.num_hidden + 1, label_variance=0.0)
    return {name: float(np.max(noise)) for name, noise in noises.items()}


def noise_heights(config):
    """A mode's noise over that of Gaussian inputs, (<x^4> - 1)/2 over the training examples, those of the seed."""
    problem = network(config, jax.random.split(jax.random.key(config.seed))[0])
    inputs = np.asarray(problem.examples["inputs"], float) @ np.asarray(taught(config).right, float)
    return (np.mean(inputs**4, axis=0) - 1) / 2


def distance_checks(config, arrays):
    apart, source = distances(arrays), "squared maximum mean discrepancy of trajectories"
    found = [
        Check(f"{name}: distance from SGD", apart[name][0], 0, apart[name][1], 0.08, "agree", source)
        for name in ("SGD again", "anisotropic")
    ]
    nearest, error = apart["anisotropic"]
    for name in ("diagonal", "isotropic", "levy", "anisotropic levy"):
        label = f"nearest to SGD: anisotropic noise, before {name}"
        found.append(Check(label, nearest, apart[name][0], np.hypot(error, apart[name][1]), 0, "below", source))
    near = kernels(arrays)
    for name in ("isotropic", "levy"):
        cross = near[1, DYNAMICS.index(name)] / ceiling(arrays, "SGD") * 2
        errors = [cross.mean(axis=axis).std(ddof=1) / np.sqrt(len(cross)) for axis in (0, 1)]
        label = f"{name}: mean kernel with SGD, over that of SGD with itself"
        found.append(
            Check(label, cross.mean(), 0.1, np.hypot(*errors), 0, "below", "0: the distance is at its ceiling")
        )
    for mode, bound, expect in ((0, 1, "below"), (-3, 3, "above"), (-2, 10, "above"), (-1, 10, "above")):
        spreads = [spread(config, arrays, name)[:, mode] for name in ("SGD", "isotropic")]
        (own, own_error), (other, error) = (mean_and_error(each) for each in spreads)
        label = f"isotropic: spread of the half-learning time of s = {config.singular_values[mode]:g}, over SGD's"
        error = other / own * np.hypot(error / other, own_error / own)
        found.append(Check(label, other / own, bound, error, 0, expect, "mean distance from the median"))
    for mode, s in enumerate(config.singular_values):
        later, error = mean_and_error(arrays["half_time"][0, :, mode] / predicted_half_times(config)[mode])
        label = f"SGD: half-learning time of s = {s:g}, over gradient flow's"
        expect = "above" if mode else "agree"
        found.append(Check(label, later, 1, error, 0.005, expect, "gradient flow"))
    times, errors = zip(*(mean_and_error(arrays["half_time"][DYNAMICS.index(name)]) for name in ("SGD", "anisotropic")))
    for s, first, second, error in zip(config.singular_values, *times, np.hypot(*errors)):
        label = f"anisotropic: mean half-learning time of s = {s:g}, against SGD's"
        found.append(Check(label, second, first, error, 0.005, "agree", "the same mean and covariance of a step"))
    source = "|W_(l+1)^T W_(l+1) - W_l W_l^T| after training, which gradient flow keeps at 0"
    (own, error), *others = (mean_and_error(arrays["imbalance"][DYNAMICS.index(name)]) for name in BALANCED)
    for name, (value, own_error), expect in zip(BALANCED[1:], others, ("agree", "above"), strict=True):
        label, both = f"{name}: imbalance of the layers, against SGD's", np.hypot(error, own_error)
        found.append(Check(label, value, own, both, 0.03, expect, source))
    lost = sum(count for name, count in zip(DYNAMICS, arrays["num_diverged"], strict=True) if "levy" not in name)
    return [*found, Check("chains diverged, but for Levy noise", lost, 0, 0, 0, "agree", "none may")]


LOOKS = {  # the colour of each dynamics in `style`, and its name in legends
    "SGD": ("SGD", "SGD"),
    "isotropic": ("isotropic", "isotropic"),
    "levy": ("levy", "Levy, isotropic"),
    "diagonal": ("diagonal", "diagonal"),
    "anisotropic": ("anisotropic", "anisotropic"),
    "anisotropic levy": ("constant", "Levy, anisotropic"),
}
THEORY = style.COLOURS["theory"]


def plot(config, arrays):
    figure, panels = style.figure(2, 3, width=12.0, height=6.8)
    plot_strengths(panels[0, 0], config, arrays)
    plot_losses(panels[0, 1], config, arrays)
    plot_descent(panels[0, 2], config, arrays)
    plot_half_times(panels[1, 0], config, arrays)
    plot_distances(panels[1, 1], arrays)
    plot_noise(panels[1, 2], config, arrays)
    lines = [panels[1, 0].plot([], [], **style.line(colour), label=label)[0] for colour, label in LOOKS.values()]
    figure.legend(handles=lines, loc="outside upper center", ncols=len(LOOKS))
    return figure


def plot_strengths(panel, config, arrays):
    panel.plot(arrays["time"], curves(config, arrays["time"])[0], color=THEORY, linewidth=3, alpha=0.5)
    panel.plot([], [], color=THEORY, linewidth=3, alpha=0.5, label="gradient flow, closed curves")
    for name in ("SGD", "isotropic"):
        look = style.line(LOOKS[name][0]) | {"marker": "", "linewidth": 1}
        panel.plot(arrays["time"], arrays["strength"][DYNAMICS.index(name)], **look)
        panel.plot([], [], **look, label=f"{LOOKS[name][1]}, mean")
    panel.set(xlabel="time (sum of learning rates)", ylabel="strength of each mode", title="(a) modes, one by one")
    panel.set_ylim(top=1.3 * max(config.singular_values))
    panel.legend(loc="upper left", fontsize=7)


def plot_losses(panel, config, arrays):
    """Of the dynamics whose loss has a mean."""
    for level in np.asarray(plateau_losses(np.asarray(config.singular_values)))[:-1]:
        panel.axhline(level, color=THEORY, linewidth=0.8)
    for name, (colour, _) in LOOKS.items():
        place, look = DYNAMICS.index(name), style.line(colour) | {"marker": ""}
        if "levy" in name:
            continue
        value, error = arrays["loss"][place], arrays["loss_error"][place]
        panel.plot(arrays["time"], value, **look)
        low, high = np.maximum(value - error, 1e-9), value + error
        panel.fill_between(arrays["time"], low, high, color=look["color"], alpha=0.25, linewidth=0)
    panel.plot([], [], color=THEORY, linewidth=0.8, label="half the squares not learnt")
    panel.set(yscale="log", ylim=(3, 6e3), xlabel="time (sum of learning rates)")
    panel.set(ylabel="loss, mean and standard error", title="(b) without Levy noise, whose mean is infinite")
    panel.legend(loc="lower left", fontsize=7)


def plot_descent(panel, config, arrays):
    half = predicted_half_times(config)
    colours = ("#000000", "#0072B2", "#D55E00", "#E69F00", "#CC79A7")
    for mode, s in enumerate(config.singular_values):
        for rate, line in enumerate((":", "-")):
            time, strength = arrays["descent_window_time"][rate, mode], arrays["descent_window"][rate, mode]
            gap = 100 * (strength - curves(config, time)[0][:, mode]) / s
            look = {"color": colours[mode % 5], "linestyle": line, "label": f"s = {s:g}" if rate else None}
            panel.plot(100 * (time / half[mode] - 1), gap, **look)
    for rate, line in ((config.learning_rate, ":"), (config.learning_rate / 10, "-")):
        panel.plot([], [], color="grey", linestyle=line, label=f"rate {rate:g}")
    panel.set(xlim=(-2, 2), xlabel="time from half-learning, % of it", title="(c) gradient descent")
    panel.set_ylabel("gradient descent less closed curve,\n% of the singular value")
    panel.legend(fontsize=7, loc="lower left")


def plot_half_times(panel, config, arrays):
    """Between the quartiles of the runs lies this much of the closed curve's half-learning time."""
    places = np.arange(len(config.singular_values))
    for name, (colour, _) in LOOKS.items():
        low, high = np.quantile(np.asarray(arrays["half_time"], float)[DYNAMICS.index(name)], (0.25, 0.75), axis=0)
        panel.plot(places, 100 * (high - low) / predicted_half_times(config), **style.line(colour))
    panel.set_xticks(places, [f"{s:g}" for s in config.singular_values])
    panel.set(yscale="log", xlabel="singular value of the mode", title="(d) spread of half-learning times")
    panel.set_ylabel("between the quartiles of the runs,\n% of the closed curve's time")


def plot_distances(panel, arrays):
    apart = sorted(distances(arrays).items(), key=lambda entry: entry[1][0])
    for row, (name, (distance, error)) in enumerate(apart):
        colour = LOOKS.get(name, (name.replace(" again", "").split(",")[0],))[0]
        panel.errorbar(distance, row, xerr=error, **style.line(colour) | {"linestyle": "none"}, capsize=2)
        label = None if row else "its ceiling: no run near one of SGD's"
        panel.plot(ceiling(arrays, name), row, "|", color="grey", markersize=12, label=label)
    panel.set_yticks(range(len(apart)), [LOOKS.get(name, (None, name))[1] for name, _ in apart])
    panel.axvline(0, color="grey", linewidth=0.8)
    panel.set(xlabel="distance of trajectories from SGD's\n(squared maximum mean discrepancy)")
    panel.set(ylim=(-0.6, len(apart) + 0.2), title="(e) distances, 1 standard error")
    panel.legend(loc="upper right", fontsize=7)


def plot_noise(panel, config, arrays):
    grid, options = np.linspace(0, 1, 400), {"num_layers": config.num_hidden + 1, "label_variance": 0.0}
    heights = noise_heights(config)
    for kind, (name, line, marker) in enumerate(((NOISES[0], "-", "o"), (NOISES[1], "--", "x"))):
        curve = np.asarray(mode_noise(grid, target=1.0, **options)[name])
        panel.plot(grid, curve / curve.max(), color=THEORY, linestyle=line, zorder=3, label=f"{name}, predicted")
        for mode, s in enumerate(config.singular_values):
            share = arrays["noise_window_strength"][mode, ::3] / s
            noise_there = arrays["noise_window"][kind, mode, ::3]
            top = largest_noise(config, s)[name] * heights[mode]
            look = {
                "color": "black",
                "markersize": 2,
                "label": None if mode else f"{name}, all modes of one run of SGD",
            }
            panel.plot(share, noise_there / top, marker, **look)
    panel.axvline(0.5, color="grey", linewidth=0.8, linestyle=":")
    panel.set(xlabel="share of the mode learnt, u/s", ylabel="noise of the mode / predicted maximum", ylim=(0, 1.5))
    panel.set_title("(f) noise of the modes under SGD")
    panel.legend(fontsize=7, loc="upper left")
