"""Batch size and speed: up to a critical batch, twice the batch takes half the steps; beyond it, hardly fewer.

The noisy quadratic model: coordinates of curvature h_i = 1/i, i = 1, ..., 10^4, E x_i^2 = 1 at the start, gradient
noise of variance h_i/B, loss L = (1/2) sum_i h_i E x_i^2; SGD and the heavy ball at a constant rate, tuned so that L
reaches 0.01 in the fewest steps. The expected loss is exact (`predictions.steps_to_loss`), and so is the tuned number.
Beside it are McCandlish's noise scales along the run, B_simple = tr Sigma/|G|^2 and B_noise = tr(H Sigma)/(G^T H G).
They grow from 6 and 1.4 until G is mostly of the noise's own making, and stay at 2 B (1 - momentum)/rate times
tr H/tr H^2 and tr H^2/tr H^3: at small batches the same for every momentum, which moves the knee nevertheless.

SGD is simulated at the tuned rate and stopped at the predicted step. Of a minibatch only the covariance diag(h_i)/B of
its gradient matters for the expected loss: one draw from a finite sum of that covariance stands for the mean of B
examples. Coordinates of nearly equal curvature are simulated once and counted as often as they occur.

Source: Zhang et al. 2019 (arXiv 1907.04164), section 3; McCandlish, Kaplan, Amodei et al. 2018 (1812.06162), eqs. 2.8,
2.9 and 2.11.
Command: `sgdsde reproduce batch_size_scaling`, about a minute on two cores. One should see: without momentum steps x
batch constant to 2 % up to batch 64, and 1.50 times as many steps at batch 1024 as at 65536; examples doubled at batch
1,218 without momentum and at 23,659 with momentum 0.9, 19.4 times that (1.9/0.1 = 19); 0.99 takes it no further
(19,915), because oscillations do not die faster than momentum^steps, and at batch 4096 needs 11 % fewer examples. Its
loss oscillates through the target at the largest batches: the earliest crossing there may be 3 % before the one found.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy.linalg import hadamard

from sgdsde import Check, Problem, sgd, simulate, style
from sgdsde.measurements import first_crossing
from sgdsde.predictions import critical_batch_sizes, noisy_quadratic_loss, noisy_quadratic_moments, steps_to_loss


@dataclass(frozen=True)
class Config:
    batch_size: float = 64.0
    """examples in a minibatch; it enters through the noise alone"""
    momentum: float = 0.0
    """heavy-ball momentum"""
    num_coordinates: int = 10_000
    """coordinates of curvature 1/i"""
    target: float = 0.01
    """expected loss to reach, from 4.9 at the start"""
    num_rates: int = 161
    """rates of the first search, equally spaced in the logit of rate / (2 (1 + momentum)), the limit of stability"""
    num_refinements: int = 2
    """searches among nine rates around the best, each four times as fine as the one before"""
    num_places: int = 11
    """places along the run, equally spaced in steps, at which B_simple and B_noise are taken"""
    num_edges: int = 160
    """edges in equal ratios, before rounding, of the groups of curvatures that are simulated once"""
    num_steps: int = 16_384
    """most simulated steps; where the target takes more the simulation stops here, short of it"""
    num_records: int = 16
    """records of a simulation; those after its stop repeat the last loss"""
    num_chains: int = 64
    """independent simulations at a time, few enough to stay in a processor's cache"""
    num_repeats: int = 12
    """how many times for each seed"""
    seed: int = 0


SMOKE = Config(
    num_coordinates=100, num_rates=11, num_refinements=1, num_edges=24, num_steps=256, num_chains=8, num_repeats=2
)
SWEEP = {"over": {"momentum": (0.0, 0.9, 0.99), "batch_size": "1:65536:log2"}, "seeds": 2}
DIMENSIONS = {
    "critical_simple": ("place",),
    "critical_curved": ("place",),
    "recorded_at": ("record",),
    "predicted_loss": ("record",),
    "simulated_loss": ("record",),
    "simulated_error": ("record",),
}
LOGITS = (-14.0, 6.0)


def spectrum(config):
    return 1 / np.arange(1, config.num_coordinates + 1)


def groups(config):
    """Mean curvature and number of coordinates of each group of neighbours, equally wide in the logarithm."""
    curvatures = spectrum(config)
    edges = np.unique(np.rint(np.geomspace(1, config.num_coordinates + 1, config.num_edges)).astype(int)) - 1
    counts = np.diff(edges)
    return np.add.reduceat(curvatures, edges[:-1]) / counts, counts.astype(float)


def model(config, curvatures):
    return {
        "curvatures": curvatures,
        "noise_variances": curvatures / config.batch_size,
        "start_variances": 1.0,
        "momentum": config.momentum,
    }


def rate_of(config, logit):
    return 2 * (1 + config.momentum) * jax.nn.sigmoid(logit)


def tuned(config):
    """Logit of the best rate, its steps, whether it is inside the range, and the steps at rates e^(1/4) away or so.

    The whole range is searched on the groups, then its best rate's neighbourhood, ever finer, on all coordinates.
    """
    everything, (curvatures, counts) = (jnp.asarray(spectrum(config)), 1.0), map(jnp.asarray, groups(config))

    def steps_at(logits, curvatures, counts):
        def steps(logit):
            options = {"learning_rate": rate_of(config, logit), "multiplicities": counts}
            return steps_to_loss(config.target, **options, **model(config, curvatures))

        return jax.lax.map(steps, logits)

    logits = jnp.linspace(*LOGITS, config.num_rates)
    steps = steps_at(logits, curvatures, counts)
    first, least = jnp.argmin(steps), jnp.min(steps)
    best, spacing = logits[first], (LOGITS[1] - LOGITS[0]) / (config.num_rates - 1)
    for level in range(config.num_refinements):
        around = best + spacing / 4**level * jnp.linspace(-1, 1, 9)
        steps = steps_at(around, *everything)
        best, least = around[jnp.argmin(steps)], jnp.min(steps)
    beside = steps_at(best + jnp.array([-0.25, 0.25]), *everything)
    return best, least, (first > 0) & (first < config.num_rates - 1), jnp.min(beside)


def quadratic_loss(curvatures, params):
    return jnp.sum(curvatures * params**2) / 2


def example_loss(curvatures, deviations, params, signs):
    return quadratic_loss(curvatures, params) + jnp.sum(deviations * signs * params)


def start(like, key):
    """Random signs: x^2 = 1 in every chain, not only on average, which leaves less to chance than normal numbers."""
    return jax.random.rademacher(key, like.shape, like.dtype)


def until(learning_rate, stop, step):
    """The learning rate before the step `stop`; 0 from then on, which leaves the parameters where they are."""
    return jnp.where(step < stop, learning_rate, 0)


def simulated(config, learning_rate, stop, key):
    """The mean loss of SGD, its standard error, and the number of diverged chains; at rest from the step `stop` on."""
    curvatures, counts = (jnp.asarray(column) for column in groups(config))
    signs = hadamard(2 ** int(curvatures.size).bit_length())[:, 1 : curvatures.size + 1]  # orthogonal, of mean zero
    problem = Problem(
        Partial(example_loss, curvatures, jnp.sqrt(curvatures / config.batch_size)),
        jnp.asarray(signs, curvatures.dtype),
        Partial(start, curvatures),
        mean_loss=Partial(quadratic_loss, curvatures),
    )
    options = {"learning_rate": Partial(until, learning_rate, stop), "momentum": config.momentum}
    dynamics = sgd(problem, batch_size=1, sampling="with_replacement", **options)
    length = {"num_steps": config.num_steps, "every": config.num_steps // config.num_records}
    observe = Partial(quadratic_loss, curvatures * counts)

    def repeat(key):
        options = {"num_chains": config.num_chains, "observe": observe, "average": True}
        found = simulate(dynamics, problem.init, key, **options, **length)
        return *found.observed, jnp.sum(found.diverged_at >= 0)

    means, errors, diverged = jax.lax.map(repeat, jax.random.split(key, config.num_repeats))
    return means.mean(axis=0), jnp.sqrt(jnp.sum(errors**2, axis=0)) / config.num_repeats, diverged.sum()


def run(config, key):
    logit, steps, is_inside, beside = tuned(config)
    curvatures = jnp.asarray(spectrum(config))
    learning_rate = rate_of(config, logit)
    known = jnp.where(jnp.isfinite(steps), steps, 0)  # a rate that never gets there is shown by `steps`
    along = jnp.rint(known * jnp.linspace(0, 1, config.num_places))
    moments = noisy_quadratic_moments(along, learning_rate=learning_rate, **model(config, curvatures))
    critical = critical_batch_sizes(moments, curvatures=curvatures, gradient_variances=curvatures)
    stop = jnp.minimum(known, config.num_steps).astype(jnp.int32)
    mean, error, diverged = simulated(config, learning_rate, stop, key)
    recorded = jnp.minimum(
        config.num_steps // config.num_records * jnp.arange(1, config.num_records + 1, dtype=jnp.int32), stop
    )
    group_curvatures, counts = map(jnp.asarray, groups(config))
    options = {"learning_rate": learning_rate, "multiplicities": counts}
    expected = noisy_quadratic_loss(recorded, **options, **model(config, group_curvatures))
    return {
        "steps": steps,
        "learning_rate": learning_rate,
        "is_inside": is_inside,
        "steps_beside": beside,
        "critical_simple": critical["simple"],
        "critical_curved": critical["curved"],
        "loss": jnp.sum(curvatures * moments[-1]) / 2,
        "recorded_at": recorded,
        "predicted_loss": expected,
        "simulated_loss": mean,
        "simulated_error": error,
        "num_diverged": diverged,
    }


def tuned_steps(arrays):
    """Steps of every (momentum, batch size) at the tuned rate: exact, and so the same for every seed."""
    return np.asarray(arrays["steps"][..., 0], float)


def steps_at(arrays, row, batch_size):
    return np.exp(np.interp(np.log(batch_size), np.log(arrays["batch_size"]), np.log(tuned_steps(arrays)[row])))


def doubling_batch(arrays, row):
    """The batch size at which the target takes twice as many examples as at the smallest one."""
    batch_sizes, steps = np.asarray(arrays["batch_size"], float), tuned_steps(arrays)[row]
    examples = np.log(steps * batch_sizes)
    return np.exp(float(first_crossing(np.log(batch_sizes), examples, examples[0] + np.log(2))))


def asymptotic_batch(arrays, row):
    """E_min / S_min: examples at the smallest batch over steps at the largest, where the two asymptotes meet."""
    steps = tuned_steps(arrays)[row]
    return steps[0] * arrays["batch_size"][0] / steps[-1]


def at_target(config, arrays):
    """Which simulations reached the predicted step; their loss there over the predicted, and its error."""
    ratio = arrays["simulated_loss"][..., -1] / arrays["predicted_loss"][..., -1]
    error = arrays["simulated_error"][..., -1] / arrays["predicted_loss"][..., -1]
    return tuned_steps(arrays) <= config.num_steps, ratio.mean(axis=-1), pooled(error)


def pooled(errors):
    """Standard error of the mean over seeds, each of which has its own from independent chains."""
    return np.sqrt((np.asarray(errors, float) ** 2).sum(axis=-1)) / errors.shape[-1]


def worst_deviation(arrays):
    """Largest |simulated - predicted| along all curves before they stop, in standard errors."""
    places = (0, 1, 3, 2)
    simulated, predicted, error = (
        arrays[name].transpose(places) for name in ("simulated_loss", "predicted_loss", "simulated_error")
    )
    is_moving = np.diff(arrays["recorded_at"][..., 0, :], axis=-1, prepend=0) > 0
    deviation = np.abs(simulated.mean(axis=-1) - predicted.mean(axis=-1)) / pooled(error)
    return deviation[is_moving].max()


def stepped(config, curvatures, counts, momentum, batch_size, learning_rates, most):
    """The first step at or below the target at each rate, by stepping all second moments in float64; infinite if more
    than `most`."""
    h, weights = curvatures[:, None], counts * curvatures / 2
    pull, kick = learning_rates * h, learning_rates**2 * h / batch_size
    xx, xv, vv = np.ones_like(pull), np.zeros_like(pull), np.zeros_like(pull)
    first = np.full(len(learning_rates), np.inf)
    for step in range(1, int(most) + 1):
        new_vv = momentum**2 * vv + 2 * momentum * pull * xv + pull**2 * xx + kick
        cross = momentum * xv + pull * xx  # E x v', the position before and the velocity after
        xx, xv, vv = xx - 2 * cross + new_vv, cross - new_vv, new_vv
        first = np.where(np.isinf(first) & (weights @ xx <= config.target), step, first)
    return first


def by_stepping(config, arrays, rates):
    """Of every run of at most 1000 steps, over the tuned number of steps: the first crossing at its tuned rate, and the
    earliest one at any of 161 rates within 1 of it in logits; the worst deviations from 1."""
    steps, crossings = tuned_steps(arrays), []
    for row, column in np.argwhere(steps <= 1000):
        momentum, batch_size = float(arrays["momentum"][row]), float(arrays["batch_size"][column])
        options, rate, most = (momentum, batch_size), rates[row, column], steps[row, column]
        around = np.exp(np.linspace(-1, 1, 161)) * rate / (2 * (1 + momentum) - rate)
        around = 2 * (1 + momentum) * around / (1 + around)
        own = stepped(config, spectrum(config), 1.0, *options, np.array([rate]), 1.1 * most)
        best = stepped(config, *groups(config), *options, around, 1.1 * most)
        crossings.append([own[0] / most, best.min() / most])
    return np.abs(np.reshape(crossings, (-1, 2)) - 1).max(axis=0, initial=0)


def closed_loss(config, batch_size, learning_rate, steps):
    """The expected loss without momentum, a^(2k) + (eta^2 h/B)(1 - a^(2k))/(1 - a^2) a coordinate, in float64."""
    h = spectrum(config)
    loss_of_one = learning_rate * h * (2 - learning_rate * h)  # 1 - a^2
    left = np.exp(steps * np.log1p(-loss_of_one))
    return h @ (left + learning_rate**2 * h / batch_size * (1 - left) / loss_of_one) / 2


def checks(config, arrays):
    steps, rates = tuned_steps(arrays), np.asarray(arrays["learning_rate"][..., 0], float)
    momenta, batch_sizes = np.asarray(arrays["momentum"], float), np.asarray(arrays["batch_size"], float)
    examples = steps * batch_sizes[None, :]
    model_source, noise_source = "Zhang et al. 2019, section 3", "McCandlish et al. 2018, eqs. 2.8 and 2.9"
    found, is_small = [], batch_sizes <= 64
    for row, momentum in enumerate(momenta):
        name = f"momentum {momentum:g}"
        worst = np.abs(examples[row, is_small] / examples[row, 0] - 1).max()
        label = f"{name}: steps x batch up to 64, worst deviation from batch 1"
        found.append(Check(label, worst, 0, 0, 0.05, "agree", model_source))
        slope = (
            np.polyfit(np.log(batch_sizes[is_small]), np.log(rates[row, is_small]), 1)[0] if sum(is_small) > 1 else 1
        )
        label = f"{name}: exponent of the tuned rate up to batch 64"
        found.append(Check(label, slope, 1, 0, 0.05, "agree", "linear scaling rule"))
    saturation = steps_at(arrays, 0, 1024) / steps_at(arrays, 0, 65536)
    name = f"momentum {momenta[0]:g}: steps at batch 1024 over 65536"
    found.append(Check(f"{name}, more", saturation, 1.4, 0, 0, "above", model_source))
    found.append(Check(f"{name}, less", saturation, 1.6, 0, 0, "below", model_source))
    curve = 1 + asymptotic_batch(arrays, 0) / 1024
    found.append(Check(f"{name}, hyperbola", saturation, curve, 0, 0, "below", "McCandlish et al. 2018, eq. 2.11"))
    first, source = doubling_batch(arrays, 0), "2 (1 + momentum) / (1 - momentum), the largest rate in its clock"
    for row, momentum in enumerate(momenta[1:], 1):
        name, gain = f"momentum {momentum:g}", (1 + momentum) / (1 - momentum)
        label = f"{name}: examples at batch 1 over momentum {momenta[0]:g}'s"
        found.append(Check(label, examples[row, 0] / examples[0, 0], 1, 0, 0.01, "agree", model_source))
        moved = doubling_batch(arrays, row) / first
        found.append(Check(f"{name}: knee moved, at least", moved, 5, 0, 0, "above", "momentum moves the knee"))
        moved = asymptotic_batch(arrays, row) / asymptotic_batch(arrays, 0)
        found.append(Check(f"{name}: asymptotes' knee moved, at most", moved, gain, 0, 0, "below", source))
    if len(momenta) > 2:
        moved = doubling_batch(arrays, len(momenta) - 1) / doubling_batch(arrays, len(momenta) - 2)
        label = f"knee of momentum {momenta[-1]:g} over that of {momenta[-2]:g}"
        found.append(Check(label, moved, 1, 0, 0, "below", "oscillations die no faster than momentum^steps"))
    h = spectrum(config)
    for name, power in (("simple", 0), ("curved", 1)):
        critical = np.asarray(arrays[f"critical_{name}"][..., 0, :], float)
        exact = np.sum(h ** (1 + power)) / np.sum(h ** (2 + power))
        label = {"simple": "B_simple", "curved": "B_noise"}[name]
        found.append(Check(f"{label} at the start", critical[0, 0, 0], exact, 0, 1e-3, "agree", noise_source))
        late, exact = critical[0, 0, -1], 2 * batch_sizes[0] / rates[0, 0] * exact
        source = "stationary law of the noise, E x^2 = rate/(2 B)"
        found.append(Check(f"{label} at the target, batch 1", late, exact, 0, 0.02, "agree", source))
        label = f"{label} at the target, batch 1, momentum {momenta[-1]:g} over {momenta[0]:g}"
        ratio = critical[-1, 0, -1] / critical[0, 0, -1]
        found.append(Check(label, ratio, 1, 0, 0.02, "agree", "a property of the point, blind to momentum"))
    label = f"B_simple at the target, batch 1, momentum {momenta[0]:g}, above the knee"
    found.append(Check(label, arrays["critical_simple"][0, 0, 0, -1], first, 0, 0, "above", noise_source))
    label = f"B_noise at the target, batch 1, momentum {momenta[0]:g}, below the knee"
    found.append(Check(label, arrays["critical_curved"][0, 0, 0, -1], first, 0, 0, "below", noise_source))
    at_edge = np.sum(~np.asarray(arrays["is_inside"], bool))
    found.append(Check("tuned rates at an end of the range", at_edge, 0, 0, 0, "agree", "none may"))
    is_better = np.asarray(arrays["steps_beside"][..., 0], float) < steps
    found.append(Check("tuned rates with a better one beside them", is_better.sum(), 0, 0, 0, "agree", "none may"))
    if np.isfinite(steps).all():
        own, best = by_stepping(config, arrays, rates)
        label, source = "first crossing by stepping in float64", "recursion of the second moments"
        found.append(Check(f"{label}, tuned rate, worst deviation", own, 0, 0, 0.003, "agree", source))
        found.append(Check(f"{label}, best of 161 rates, worst deviation", best, 0, 0, 0.05, "agree", source))
        closed = [closed_loss(config, *point) / config.target - 1 for point in zip(batch_sizes, rates[0], steps[0])]
        label = f"momentum {momenta[0]:g}: loss at the last step in float64, over the target, worst deviation"
        found.append(Check(label, np.abs(closed).max(), 0, 0, 0.001, "agree", "closed form of the scalar recursion"))
    is_there, ratio, error = at_target(config, arrays)
    grouped = (arrays["predicted_loss"][..., 0, -1] / arrays["loss"][..., 0])[is_there]
    label = "loss of the groups over that of all coordinates, predicted step, worst deviation"
    found.append(Check(label, np.abs(grouped - 1).max(initial=0), 0, 0, 0.02, "agree", "same recursion"))
    for row, column in np.argwhere(is_there):
        label = f"simulated loss, momentum {momenta[row]:g}, batch {batch_sizes[column]:g}, predicted step"
        found.append(Check(label, ratio[row, column], 1, error[row, column], 0.05, "agree", model_source))
    label = "simulated losses along the way, worst deviation in standard errors"
    found.append(Check(label, worst_deviation(arrays), 5.9, 0, 0, "below", model_source))
    return [*found, Check("chains diverged", arrays["num_diverged"].sum(), 0, 0, 0, "agree", "none may")]


COLOURS, MARKERS = (style.COLOURS["SGD"], style.COLOURS["isotropic"], style.COLOURS["anisotropic"]), "os^"


def plot(config, arrays):
    figure, axes = style.figure(2, 3, width=12.5, height=7.4)
    steps_panel(axes[0, 0], config, arrays)
    examples_panel(axes[0, 1], arrays)
    rate_panel(axes[0, 2], arrays)
    noise_panel(axes[1, 0], config, arrays)
    curves_panel(axes[1, 1], config, arrays)
    target_panel(axes[1, 2], config, arrays)
    for panel in (*axes[0], axes[1, 2]):
        panel.set(xscale="log", xlabel="batch size B, examples", xlim=(0.7, 1e5))
        panel.set_xticks([1, 10, 100, 1e3, 1e4, 1e5])
    return figure


def rows(arrays):
    """What every panel needs of each momentum: its place, name, colour and marker."""
    for row, momentum in enumerate(arrays["momentum"]):
        yield row, f"momentum {momentum:g}", COLOURS[row % 3], MARKERS[row % 3]


def steps_panel(panel, config, arrays):
    batch_sizes, steps = np.asarray(arrays["batch_size"], float), tuned_steps(arrays)
    is_there, ratio, error = at_target(config, arrays)
    for row, name, colour, marker in rows(arrays):
        panel.plot(batch_sizes, steps[row], color=colour, label=f"{name}: exact")
        column = is_there[row]
        slope = np.array([steepness(config, arrays, row, j) for j in np.flatnonzero(column)])
        found = steps[row, column] * (1 + (ratio[row, column] - 1) / slope)
        panel.errorbar(
            batch_sizes[column], found, steps[row, column] * 2 * error[row, column] / slope, color=colour,
            marker=marker, linestyle="none",
        )  # fmt: skip
        knee = asymptotic_batch(arrays, row)
        panel.plot([knee], [steps[row, -1]], color=colour, marker="v", markerfacecolor="white", markersize=7)
    panel.errorbar([], [], [], color="grey", marker="o", linestyle="none", label="simulated (bars: 2 standard errors)")
    panel.plot([], [], color="grey", marker="v", markerfacecolor="white", markersize=7, linestyle="none",
               label="$E_{min}/S_{min}$: the asymptotes meet")  # fmt: skip
    panel.plot(batch_sizes, steps[0, 0] * batch_sizes[0] / batch_sizes, color="grey", linestyle="--", lw=1,
               label="half the steps for twice the batch")  # fmt: skip
    curve = steps[0, -1] * (1 + asymptotic_batch(arrays, 0) / batch_sizes)
    panel.plot(batch_sizes, curve, color=style.COLOURS["theory"], linestyle=":", label="$S_{min} (1 + B_{crit}/B)$")
    for name, marker, colour in (("simple", "D", "#882255"), ("curved", "P", "#CC79A7")):
        along = arrays[f"critical_{name}"][0, 0, 0]
        label = {"simple": "$B_{simple}$", "curved": "$B_{noise}$"}[name] + " at B = 1, start to target"
        height = {"simple": 0.05, "curved": 0.11}[name]
        panel.plot(
            along[[0, -1]], [height, height], color=colour, marker=marker, linestyle="-", lw=0.8,
            transform=panel.get_xaxis_transform(), label=label,
        )  # fmt: skip
    panel.set(
        yscale="log", ylabel=f"steps to the loss {config.target:g}, tuned rate", ylim=(40, 2e7), title="(a) steps"
    )
    panel.legend(fontsize=6.5)


def steepness(config, arrays, row, column):
    """-d log L/d log k at the predicted step, over a tenth of the run."""
    steps = tuned_steps(arrays)[row, column]
    curvatures, counts = groups(config)
    losses = noisy_quadratic_loss(
        np.rint(steps * np.array([0.95, 1.05])), curvatures=curvatures, multiplicities=counts, start_variances=1.0,
        noise_variances=curvatures / float(arrays["batch_size"][column]), momentum=float(arrays["momentum"][row]),
        learning_rate=float(arrays["learning_rate"][row, column, 0]),
    )  # fmt: skip
    return float(np.log(losses[0] / losses[1]) / np.log(1.05 / 0.95))


def examples_panel(panel, arrays):
    batch_sizes, steps = np.asarray(arrays["batch_size"], float), tuned_steps(arrays)
    panel.axhspan(0.95, 1.05, color=style.COLOURS["theory"], alpha=0.25, lw=0, label="constant to 5 %")
    panel.axhline(2, color="grey", linestyle="--", lw=1, label="twice the examples: the knee")
    for row, name, colour, marker in rows(arrays):
        examples = steps[row] * batch_sizes / (steps[row, 0] * batch_sizes[0])
        knee = doubling_batch(arrays, row)
        panel.plot(batch_sizes, examples, color=colour, marker=marker, ms=3, label=f"{name}: at B = {knee:,.0f}")
    panel.set(yscale="log", ylabel="steps x B, over its value at B = 1", title="(b) examples needed", ylim=(0.8, 100))
    panel.set_yticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
    panel.legend(fontsize=7)


def rate_panel(panel, arrays):
    batch_sizes, rates = np.asarray(arrays["batch_size"], float), np.asarray(arrays["learning_rate"][..., 0], float)
    first = rates[0, 0] / (1 - arrays["momentum"][0])
    panel.plot(batch_sizes, first * batch_sizes, color="grey", linestyle="--", lw=1, label="linear rule, ~ B")
    panel.plot(batch_sizes, first * batch_sizes**0.5, color="grey", linestyle=":", lw=1, label="square-root rule")
    for row, name, colour, marker in rows(arrays):
        momentum = arrays["momentum"][row]
        panel.plot(batch_sizes, rates[row] / (1 - momentum), color=colour, marker=marker, ms=3, label=name)
        panel.axhline(2 * (1 + momentum) / (1 - momentum), color=colour, linestyle="-.", lw=0.8)
    panel.plot([], [], color="grey", linestyle="-.", lw=0.8, label="limits of stability")
    panel.set(yscale="log", ylabel="tuned rate / (1 - momentum)", title="(c) tuned rate", ylim=(1e-3, 1e3))
    panel.legend(fontsize=7)


def noise_panel(panel, config, arrays):
    places = np.linspace(0, 1, config.num_places)
    last = len(arrays["batch_size"]) - 1
    chosen = [(0, 0), (0, last), (len(arrays["momentum"]) - 1, last)]
    for (row, column), colour in zip(chosen, ("#000000", "#56B4E9", "#D55E00")):
        name = f"momentum {arrays['momentum'][row]:g}, B = {arrays['batch_size'][column]:g}"
        panel.plot(places, arrays["critical_simple"][row, column, 0], color=colour, label=name)
        panel.plot(places, arrays["critical_curved"][row, column, 0], color=colour, linestyle="--")
    for row, _, colour, _ in rows(arrays):
        panel.axhline(doubling_batch(arrays, row), color=colour, lw=0.8, linestyle=":")
    panel.plot([], [], color="grey", label="$B_{simple}$ = tr Σ/|G|²")
    panel.plot([], [], color="grey", linestyle="--", label="$B_{noise}$ = tr(HΣ)/GᵀHG")
    panel.plot([], [], color="grey", linestyle=":", lw=0.8, label="knees of (b)")
    panel.set(yscale="log", xlabel="step / steps to the target", ylabel="batch size, examples",
              title="(d) noise scales along the run", ylim=(1, 1e6))  # fmt: skip
    panel.legend(fontsize=7, ncols=2, loc="upper center")


def curves_panel(panel, config, arrays):
    chosen = [(0, 0), (0, 64), (0, 1024), (0, 65536), (1, 1024)]
    colours = ("#E69F00", "#CC79A7", "#56B4E9", "#000000", "#0072B2")
    curvatures, counts = groups(config)
    for (row, batch_size), colour in zip(chosen, colours):
        column = int(np.argmin(np.abs(np.asarray(arrays["batch_size"], float) - batch_size)))
        row = min(row, len(arrays["momentum"]) - 1)
        momentum, actual = float(arrays["momentum"][row]), float(arrays["batch_size"][column])
        recorded = arrays["recorded_at"][row, column, 0]
        fine = np.unique(np.rint(np.geomspace(1, recorded[-1], 60)))
        exact = noisy_quadratic_loss(
            fine, curvatures=curvatures, multiplicities=counts, noise_variances=curvatures / actual, momentum=momentum,
            start_variances=1.0, learning_rate=float(arrays["learning_rate"][row, column, 0]),
        )  # fmt: skip
        panel.plot(fine, exact, color=colour, label=f"momentum {momentum:g}, B = {actual:g}")
        places = np.flatnonzero(np.diff(recorded, prepend=0) > 0)[::2]
        loss, error = (arrays[name][row, column] for name in ("simulated_loss", "simulated_error"))
        panel.errorbar(recorded[places], loss.mean(axis=0)[places], 2 * pooled(error.T)[places], color=colour,
                       marker="o", linestyle="none")  # fmt: skip
    panel.axhline(config.target, color="grey", lw=0.8, linestyle="--", label="target")
    panel.set(xscale="log", yscale="log", xlabel="step", ylabel="expected loss (line), simulated (points)",
              title="(e) losses at the tuned rates", ylim=(0.006, 8))  # fmt: skip
    panel.legend(fontsize=7)


def target_panel(panel, config, arrays):
    is_there, ratio, error = at_target(config, arrays)
    for row, name, colour, marker in rows(arrays):
        column = is_there[row]
        panel.errorbar(
            np.asarray(arrays["batch_size"], float)[column] * 1.12 ** (row - 1), ratio[row, column],
            2 * error[row, column], color=colour, marker=marker, linestyle="none", label=name,
        )  # fmt: skip
    panel.axhline(1, color="grey", lw=0.8)
    panel.set(ylabel="simulated / predicted loss at the predicted step", ylim=(0.94, 1.06),
              title="(f) simulations (bars: 2 standard errors)")  # fmt: skip
    panel.legend(fontsize=7)
