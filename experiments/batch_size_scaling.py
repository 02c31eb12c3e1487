"""Batch size and speed: far below a critical size, twice the batch takes half the steps; far above it, hardly fewer.

The noisy quadratic model: coordinates of curvature h_i = 1/i, i = 1, ..., 10^4, E x_i^2 = 1 at the start, gradient
noise of variance h_i/B, loss L = (1/2) sum_i h_i E x_i^2; SGD and the heavy ball at a constant rate, tuned so that L
reaches 0.01 in the fewest steps. The expected loss is exact (`predictions.steps_to_loss`), and so is the tuned number.
Beside it are McCandlish's noise scales along the run, B_simple = tr Sigma/|G|^2 and B_noise = tr(H Sigma)/(G^T H G). At
batch size 1 they grow from the start until G is mostly of the noise's own making, and stay at 2 B (1 - momentum)/rate
times tr H/tr H^2 and tr H^2/tr H^3: the same with momentum 0.99 as without, which moves the knee nevertheless.

SGD is simulated at the tuned rate and stopped at the predicted step. Of a minibatch only the covariance diag(h_i)/B of
its gradient matters for the expected loss: one draw from a finite sum of that covariance stands for the mean of B
examples. Coordinates of nearly equal curvature are simulated once and counted as often as they occur.

What it does not say: this is a model, not a network: a quadratic with the spectrum 1/i and noise of the Hessian's own
covariance, one target loss and one constant rate, tuned anew for each batch size. Line and knee are the exact expected
loss. Simulations (n = 64 chains, twelve times, two seeds) test the loss at the predicted step from batch 512 on; below
it they stop short of the target. The knee is where the examples double: another definition, such as E_min/S_min, where
the asymptotes meet, is moved by another factor. Momentum 0.99 moves it no further than 0.9, because oscillations do not
die faster than momentum^steps; the loss oscillates through the target at the largest batches, so that the earliest
crossing there may be some percent before the one found. The factor (1 + momentum)/(1 - momentum) is a rule from the
largest stable rate, not exact.

Source: Zhang et al. 2019 (arXiv 1907.04164), section 3; McCandlish, Kaplan, Amodei et al. 2018 (1812.06162), eqs. 2.8,
2.9 and 2.11.

Command: `sgdsde reproduce batch_size_scaling`.
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

SEE = """Steps times batch size are constant within {momentum 0: steps x batch up to 64, worst deviation from batch 1 |
within} up to batch size 64; 1024 takes {momentum 0: steps at batch 1024 over 65536} times the steps of 65,536. Momentum
0.9 moves the batch size at which the examples double {momentum 0.9: knee moved} times (rule: {momentum 0.9: knee moved
| predicted}); momentum 0.99 no further."""


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
        found.append(Check(label, worst, 0, 0, 0.02, "agree", model_source))
        slope = (
            np.polyfit(np.log(batch_sizes[is_small]), np.log(rates[row, is_small]), 1)[0] if sum(is_small) > 1 else 1
        )
        label = f"{name}: exponent of the tuned rate up to batch 64"
        found.append(Check(label, slope, 1, 0, 0.01, "agree", "linear scaling rule"))
    saturation = steps_at(arrays, 0, 1024) / steps_at(arrays, 0, 65536)
    name = f"momentum {momenta[0]:g}: steps at batch 1024 over 65536"
    found.append(Check(name, saturation, 1.5, 0, 0.03, "agree", model_source))
    curve = 1 + asymptotic_batch(arrays, 0) / 1024
    found.append(
        Check(f"{name}, against the hyperbola", saturation, curve, 0, 0, "below", "McCandlish et al. 2018, eq. 2.11")
    )
    first, source = doubling_batch(arrays, 0), "2 (1 + momentum) / (1 - momentum), the largest rate in its clock"
    for row, momentum in enumerate(momenta[1:], 1):
        name, gain = f"momentum {momentum:g}", (1 + momentum) / (1 - momentum)
        label = f"{name}: examples at batch 1 over momentum {momenta[0]:g}'s"
        found.append(Check(label, examples[row, 0] / examples[0, 0], 1, 0, 0.01, "agree", model_source))
        if row == 1:  # the rule holds while the oscillations die within the run
            moved = doubling_batch(arrays, row) / first
            found.append(Check(f"{name}: knee moved", moved, gain, 0, 0.025, "agree", source))
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
    figure, panel = style.figure(1, 1, width=5.6, height=4.2)
    batch_sizes, steps = np.asarray(arrays["batch_size"], float), tuned_steps(arrays)
    is_there, ratio, error = at_target(config, arrays)
    fine = np.geomspace(batch_sizes[0], batch_sizes[-1], 100)
    panel.axhline(2, color="grey", linestyle="--", lw=1, label="twice the examples: the knee")
    for row, name, colour, marker in rows(arrays):
        examples = steps[row] * batch_sizes / (steps[row, 0] * batch_sizes[0])
        knee = doubling_batch(arrays, row)
        panel.plot(batch_sizes, examples, color=colour)
        panel.plot(fine, 1 + fine / asymptotic_batch(arrays, row), color=colour, linestyle=":", lw=1.2)
        column = is_there[row]
        slope = np.array([steepness(config, arrays, row, j) for j in np.flatnonzero(column)])
        found = examples[column] * (1 + (ratio[row, column] - 1) / slope)
        bars = examples[column] * 2 * error[row, column] / slope
        panel.errorbar(batch_sizes[column], found, bars, color=colour, marker=marker, linestyle="none")
        label = f"{name}: knee at B = {knee:,.0f}"
        panel.plot([], [], color=colour, marker=marker, linestyle="-", label=label)
    panel.plot([], [], color="grey", linestyle=":", lw=1.2, label="$1 + B/B_{crit}$, $B_{crit} = E_{min}/S_{min}$")
    panel.set(
        xscale="log", yscale="log", xlabel="batch size B, examples", ylabel="examples to the target, over B = 1",
        title="lines: exact; points: simulated (bars: two standard errors)", xlim=(0.7, 1e5), ylim=(0.8, 100),
    )  # fmt: skip
    panel.set_xticks([1, 10, 100, 1e3, 1e4, 1e5])
    panel.set_yticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
    panel.legend()
    return figure


def rows(arrays):
    """What every panel needs of each momentum: its place, name, colour and marker."""
    for row, momentum in enumerate(arrays["momentum"]):
        yield row, f"momentum {momentum:g}", COLOURS[row % 3], MARKERS[row % 3]


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
