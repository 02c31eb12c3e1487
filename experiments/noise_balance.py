"""SGD's noise balances two layers; above a critical rate over batch its SDE takes them to 0 and SGD diverges instead.

f = v x (depth 0) or f = u w x, v = u w (depth 1), on inputs x with labels y = x + noise, loss (f - y)^2 **without the
half**, T = learning rate / batch size. The SDE (Ito, time = rate times steps) has a stationary law of v in closed form;
at depth 1 it is that of log v in the clock ds = (1 + 4 T g) dt, g a quarter of the variance of one example's slope,

    d log v = [-4 (b1 v - b2) - 4 T g]/(1 + 4 T g) ds + 4 sqrt(T g/(1 + 4 T g)) dW,

in which samples weigh 1/(1 + 4 T g): explicit steps of u and w overflow, and those of log v in its own time collapse
spuriously. With b1 = E x^2, b2 = E x y, a3 = Var x y it collapses for T > T_c = b2/a3. Inputs are quantiles of N(0, 1)
in a lattice with those of the label noise, whose size is set so that T_c = 1/3 for these very examples.

u^2 - w^2 is multiplied by 1 - (rate slope)^2 in every step of SGD, and decays as d log(u^2 - w^2)/dt = -4 T g in the
Ito SDE; read in the sense of Stratonovich, the same SDE would conserve it. Both decays are compared with those of their
own steps: SGD's with the stationary law of its one-step chain, solved on a grid, and that of the SDE with Euler's chain
at the microstep used. The limit of small steps, 4 T E g, is below both, by 2 % and by 0.3 %, at T = 0.01.

SGD itself, batches of one example, has another law than its SDE, and nearer to it the smaller the rate. Above T_c it
does not collapse: near v = 0 its log v grows by E 2 log|1 + 2 rate x y| a step, positive at every rate shown, where the
SDE's grows by 4 rate (b2 - T a3). It diverges instead, and so do most runs at 0.6 T_c.

Source: Ziyin, Li, Ueda 2023 (arXiv 2308.06671).
Command: `sgdsde reproduce noise_balance`.

What it does not say: SGD has batches of one example, so that T is its rate: in large batches, at the same T, it is
nearer to the SDE, and this is not looked at. Its law is compared where no chain diverged, up to T = 0.05; of T = 0.1
and 0.2 only the shares that diverged by the end of the run (time 15 and 16) are shown. Growth near zero is measured
from v = 1e-20 in 20 steps, a linear problem. The SDE's laws are simulated in log v in a clock of its own, not in u
and w, in which an explicit step overflows. Convergence to v = 0 is followed to s = 720 in 4,000 chains; at T_c itself
nothing is claimed.
"""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy.special import ndtri

from sgdsde import Check, Problem, match, noise, sgd, simulate, style
from sgdsde.dynamics.contract import State, slot_of
from sgdsde.laws import normals
from sgdsde.predictions import (
    balance_density,
    euler_balanced_law,
    imbalance_decay_rate,
    sgd_balanced_law,
    slope_moments,
)
from sgdsde.pytrees import pytree
from sgdsde.randomness import draw

SEE = (
    "The imbalance u^2 - w^2 of two layers decays at {SGD: decay of u^2 - w^2 | predicted} a unit of time under SGD "
    "(one-step law; "
    "simulated within {SGD: decay of u^2 - w^2 | within}), {SGD: decay of u^2 - w^2, not the SDE's | predicted} in the "
    "Ito SDE, 0 in Stratonovich's. At 1.2 times the critical rate over batch {mass of v < 1e-6 at T = 1.2 T_c} of the "
    "SDE's chains are below v = 1e-6; of SGD's runs {SGD at T = 1.2 T_c: share diverged} diverge instead."
)


@dataclass(frozen=True)
class Config:
    temperatures: tuple[float, ...] = (0.0125, 0.025, 0.05, 0.1, 0.2)
    """T = rate/batch at which the stationary laws are compared"""
    num_steps: tuple[int, ...] = (1_200, 600, 300, 150, 80)
    """learning-rate steps of SGD, and of the SDE at depth 0, at each of them: to time 15"""
    collapse_factors: tuple[float, ...] = (0.6, 0.8, 1.0, 1.2, 1.5)
    """T/T_c at which medians are followed"""
    decay_temperature: float = 0.01
    """T at which the decay of u^2 - w^2 is measured"""
    num_decay_steps: int = 10_000
    """learning-rate steps of it"""
    num_examples: int = 4_096
    """examples, drawn with replacement one at a time"""
    clock_step: float = 0.005
    """microstep ds of the SDE of log v, for its laws; 4 times as much for the medians"""
    num_clock_steps: int = 12_000
    """such microsteps, to s = 60; for the medians as many, and then twice as many, to s = 720"""
    num_records: int = 20
    """records of a run"""
    substeps: int = 8
    """microsteps of the SDEs in v and in (u, w) in a learning-rate step"""
    num_chains: int = 40_000
    """independent chains for a law, and for the growth of log v near zero"""
    num_escape_steps: int = 400
    """steps in which SGD from v = 1 is seen to collapse or to diverge, at `collapse_factors`"""
    num_medians: int = 4_000
    """independent chains for a median, and pairs (u, w) for the decay"""
    seed: int = 0


SMOKE = Config(
    temperatures=(0.1,), num_steps=(20,), collapse_factors=(0.8, 1.5), num_examples=64, num_clock_steps=40,
    num_records=2, num_chains=60, num_medians=60, num_decay_steps=20, num_escape_steps=20,
)  # fmt: skip
DIMENSIONS = {
    "sde": ("temperature", "point"),
    "sde_error": ("temperature", "point"),
    "identity": ("temperature",),
    "identity_error": ("temperature",),
    "sgd": ("temperature", "point"),
    "line_sde": ("temperature", "place"),
    "line_sgd": ("temperature", "place"),
    "diverged": ("temperature", "dynamics"),
    "median": ("collapse", "record"),
    "median_error": ("collapse", "record"),
    "collapsed": ("collapse", "record"),
    "growth": ("collapse",),
    "growth_error": ("collapse",),
    "sgd_fate": ("collapse", "fate"),
    "imbalance": ("pair", "record"),
    "decay": ("pair",),
    "decay_error": ("pair",),
}
POINTS = np.concatenate([np.arange(-60.0, -3.0, 0.25), np.arange(-3.0, 2.5, 0.02)])
"""of log v, where distribution functions are kept"""
LINE = np.arange(-6.0, 8.0, 0.05)
"""of v at depth 0"""
SMALL, SHORT = 1e-10, 20
"""where u and w start, and for how many steps, when their growth near zero is measured"""
CRITICAL = 1 / 3


def examples(config):
    """Inputs x and labels y = x + size * e, quantiles of the normal law in a lattice, with T_c = 1/3."""
    index = np.arange(config.num_examples)
    x = ndtri((index + 0.5) / config.num_examples)
    e = ndtri(np.modf((index + 0.5) * (5**0.5 - 1) / 2)[0])
    product = np.cov(np.stack([x * x, x * e]), bias=True)
    mean = np.mean(x * e)  # Var x y - b2/T_c = 0 is a quadratic equation for the size
    size = np.roots([product[1, 1], 2 * product[0, 1] - mean / CRITICAL, product[0, 0] - np.mean(x * x) / CRITICAL])
    return x, x + np.max(size) * e


def means(config):
    """b1, b2, E y^2 and the polynomial g = a1 v^2 - 2 a2 v + a3, from the examples."""
    x, y = examples(config)
    spread = np.cov(np.stack([x * x, x * y]), bias=True)
    moments = (np.mean(x * x), np.mean(x * y), np.mean(y * y), spread[0, 0], spread[0, 1], spread[1, 1])
    return tuple(jnp.asarray(value) for value in moments)


def quarter_variance(moments, v):
    return jnp.maximum(moments[3] * v**2 - 2 * moments[4] * v + moments[5], 0)


def mean_square(moments, v):
    return moments[0] * v**2 - 2 * moments[1] * v + moments[2]


def problem_of(config, depth):
    """Linear regression in v (depth 0) or (u, w), with its closed mean loss and noise factor."""
    moments, pair = means(config), tuple(jnp.asarray(values) for values in examples(config))
    if depth == 0:
        factor = Partial(lambda moments, v: 2 * jnp.sqrt(quarter_variance(moments, v))[None], moments)
        return Problem(single_loss, pair, Partial(single_start), None, Partial(mean_square, moments), factor)
    mean_loss = Partial(lambda moments, params: mean_square(moments, params[0] * params[1]), moments)
    return Problem(product_loss, pair, Partial(product_start), None, mean_loss, Partial(product_factor, moments))


def single_loss(v, example):
    return (v * example[0] - example[1]) ** 2


def single_start(key):
    return jnp.ones(())


def product_loss(params, example):
    return single_loss(params[0] * params[1], example)


def product_start(key):
    return jnp.ones(()), jnp.ones(())


def product_factor(moments, params):
    u, w = params
    factor = 2 * jnp.sqrt(quarter_variance(moments, u * w))
    return (factor * w)[None], (factor * u)[None]


@pytree()
class LogStrength:
    """y = log v at depth 1 in the clock s, by Euler's scheme: a Dynamics whose step is one of ds = clock_step."""

    problem: Problem
    moments: Any
    temperature: Any
    clock_step: Any
    period = 1
    substeps = 1

    @property
    def variates(self):
        return normals(self.problem.params_like)

    def arrange(self, numbers):
        return numbers

    def init(self, params):
        return State(params)

    def draw(self, key, step, substep):
        return draw(self.variates, key, slot_of(self, step, substep))

    def advance(self, state, draws, step):
        y, v = state.params, jnp.exp(state.params)
        noise = 4 * self.temperature * quarter_variance(self.moments, v)
        drift = (-4 * (self.moments[0] * v - self.moments[1]) - noise) / (1 + noise)
        kick = 2 * jnp.sqrt(noise / (1 + noise) * self.clock_step) * draws
        return State(y + drift * self.clock_step + kick)

    def duration(self, step):
        return self.clock_step


def no_loss(y, example):
    return 0 * y * example


def origin(key):
    return jnp.zeros(())


def log_strength(config, temperature, clock_step):
    nothing = Problem(no_loss, jnp.zeros(1), Partial(origin))
    return LogStrength(nothing, means(config), jnp.asarray(temperature), jnp.asarray(clock_step))


def itself(params):
    return params


def discrete(problem, rate):
    return sgd(problem, learning_rate=rate, batch_size=1, sampling="with_replacement")


@jax.jit
def weighted_law(moments, temperature, y, points):
    """In physical time: the distribution function of log v with its error, and the moment identity, likewise."""
    v = jnp.exp(y)
    weights = 1 / (1 + 4 * temperature * quarter_variance(moments, v))
    total = weights.sum()

    def one(point):
        is_below = (y < point).astype(y.dtype)
        fraction = jnp.sum(weights * is_below) / total
        return fraction, jnp.sqrt(jnp.sum((weights * (is_below - fraction)) ** 2)) / total

    fractions, errors = jax.lax.map(one, points)
    named = (moments[3], moments[4], moments[5], moments[0], moments[1])
    b1, b2 = named[3:]
    drift = weights * (temperature * (named[0] * v**2 - 2 * named[1] * v + named[2]) + b1 * v - b2)
    return fractions, errors, drift.mean(), drift.std(ddof=1) / np.sqrt(y.size).item()


@jax.jit
def law(samples, points):
    """A distribution function; what is not finite has diverged and is above every point."""
    kept = jnp.sort(jnp.where(jnp.isfinite(samples), samples, jnp.inf))
    return jnp.searchsorted(kept, points).astype(samples.dtype) / samples.size


def clocked(config, temperature, key, num_chains, num_steps, stretch):
    return simulate(
        log_strength(config, temperature, stretch * config.clock_step), jnp.zeros(()), key, num_steps=num_steps,
        num_chains=num_chains, observe=itself, every=num_steps // config.num_records,
    )  # fmt: skip


@jax.jit
def median_rows(moments, temperature, observed):
    """Weighted medians of log v at every record with an error (half the range of the middle 1/sqrt n), and the mass
    below v = 1e-6."""

    def one(y):
        weights = 1 / (1 + 4 * temperature * quarter_variance(moments, jnp.exp(y)))
        order = jnp.argsort(y)
        mass = jnp.cumsum(weights[order]) / weights.sum()
        half = 0.5 / np.sqrt(y.size).item()
        low, middle, high = (y[order][jnp.searchsorted(mass, 0.5 + shift)] for shift in (-half, 0.0, half))
        return middle, (high - low) / 2, jnp.sum(weights * (y < np.log(1e-6).item())) / weights.sum()

    return jax.lax.map(one, observed)


def log_product(params):
    return jnp.log(jnp.maximum(params[0] * params[1], 1e-37))


def log_imbalance(params):
    u, w = params
    return jnp.log(jnp.abs(u - w)) + jnp.log(jnp.abs(u + w))


def mean_error(values):
    return values.mean(), values.std(ddof=1) / np.sqrt(values.size).item()


def run(config, key):
    moments, points, line = means(config), jnp.asarray(POINTS), jnp.asarray(LINE)
    single, product = problem_of(config, 0), problem_of(config, 1)
    keys = iter(jax.random.split(key, 4 * len(config.temperatures) + 3 * len(config.collapse_factors) + 4))
    laws, medians, growths, decays = [], [], [], []
    for t, num_steps in zip(config.temperatures, config.num_steps):
        options = {"num_steps": num_steps, "num_chains": config.num_chains, "every": num_steps}
        found = clocked(config, t, next(keys), config.num_chains, config.num_clock_steps, 1)
        in_pair = simulate(discrete(product, t), product_start(None), next(keys), observe=log_product, **options)
        alone = discrete(single, t)
        in_line = simulate(alone, single_start(None), next(keys), observe=itself, **options)
        diffused = match(alone, noise.anisotropic, substeps=config.substeps)
        diffused = simulate(diffused, single_start(None), next(keys), observe=itself, **options)
        lost = jnp.stack([jnp.mean(r.diverged_at >= 0, dtype=float) for r in (found, in_pair, in_line, diffused)])
        weighted = weighted_law(moments, jnp.asarray(t), found.params, points)
        ends = [(in_pair.observed[-1], points), (diffused.params, line), (in_line.params, line)]
        laws.append((*weighted, *(law(*each) for each in ends), lost))
    for factor in config.collapse_factors:
        t = factor * CRITICAL
        found = clocked(config, t, next(keys), config.num_medians, 3 * config.num_clock_steps, 4)
        medians.append(median_rows(moments, t, found.observed))
        tiny = jnp.full((), SMALL)
        found = simulate(
            discrete(product, t), (tiny, tiny), next(keys), num_steps=SHORT, num_chains=config.num_chains,
            observe=log_product, every=SHORT,
        )  # fmt: skip
        slope = mean_error((found.observed[-1] - 2 * np.log(SMALL).item()) / SHORT)
        found = simulate(
            discrete(product, t), product_start(None), next(keys), num_steps=config.num_escape_steps,
            num_chains=config.num_medians, observe=log_product, every=config.num_escape_steps,
        )  # fmt: skip
        lost = jnp.mean(found.diverged_at >= 0, dtype=float)
        growths.append((*slope, jnp.stack([lost, jnp.mean(found.observed[-1] < np.log(1e-6).item(), dtype=float)])))
    t = config.decay_temperature
    for dynamics in (discrete(product, t), match(discrete(product, t), noise.anisotropic, substeps=config.substeps)):
        found = simulate(
            dynamics, (jnp.full((), 1.02), jnp.full((), 0.98)), next(keys), num_steps=config.num_decay_steps,
            num_chains=config.num_medians, observe=log_imbalance, every=config.num_decay_steps // config.num_records,
        )  # fmt: skip
        first, last = config.num_records // 2 - 1, config.num_records - 1
        elapsed = found.time[last] - found.time[first]
        slope = mean_error((found.observed[first] - found.observed[last]) / elapsed)
        decays.append((found.observed.mean(axis=1), *slope))
    names = ("sde", "sde_error", "identity", "identity_error", "sgd", "line_sde", "line_sgd", "diverged")
    tables = [
        (names, laws),
        (("median", "median_error", "collapsed"), medians),
        (("growth", "growth_error", "sgd_fate"), growths),
    ]
    tables.append((("imbalance", "decay", "decay_error"), decays))
    return {name: jnp.stack(column) for names, rows in tables for name, column in zip(names, zip(*rows))}


def exact_law(config, temperature, depth):
    """The distribution function at POINTS (depth 1, of log v) or LINE, by the trapezoid rule in log v or arcsinh v."""
    s = np.linspace(-120.0, 20.0, 14001) if depth else np.linspace(-12.0, 12.0, 8001)
    v, width = (np.exp(s), np.exp(s)) if depth else (np.sinh(s), np.cosh(s))
    moments = slope_moments(*(np.asarray(values) for values in examples(config)))
    density = balance_density(v, moments, temperature=float(temperature), depth=depth) * width
    cumulative = np.concatenate([[0.0], np.cumsum(np.diff(s) * (density[1:] + density[:-1]) / 2)])
    at = np.interp(POINTS if depth else np.arcsinh(LINE), s, cumulative)
    return at, (s, density, v)


def distance(fractions, exact, errors):
    """The largest gap and its error there, not less than that of one chain in a thousand."""
    gap = np.abs(np.asarray(fractions, float) - exact)
    worst = int(np.argmax(gap))
    return gap[worst], errors[worst]


def binomial(fractions, count):
    fractions = np.asarray(fractions, float)
    return np.sqrt(np.maximum(fractions * (1 - fractions), 1e-3) / count)


def sgd_growth(config, temperature):
    """E 2 log|1 + 2 eta x y|, of log v in a step of SGD near v = 0, over the examples."""
    x, y = examples(config)
    return 2 * np.mean(np.log(np.abs(1 + 2 * temperature * x * y)))


def expected_decay(config):
    """4 T E g over the stationary law."""
    t, moments = config.decay_temperature, slope_moments(*(np.asarray(values) for values in examples(config)))
    s, density, v = exact_law(config, t, 1)[1]
    return np.trapezoid(density * np.asarray(imbalance_decay_rate(v, moments, temperature=t)), s)


@functools.cache  # the checks and the figure both ask
def one_step_law(config, temperature):
    return sgd_balanced_law(*(np.asarray(each) for each in examples(config)), learning_rate=float(temperature))


@functools.cache
def euler_law(config):
    moments = slope_moments(*(np.asarray(each) for each in examples(config)))
    t = config.decay_temperature
    return euler_balanced_law(moments, temperature=t, time_step=t / config.substeps)


def one_step_fractions(config, temperature):
    """P(log v < point) at POINTS of SGD's own one-step law: its cells reach half a spacing beyond their places."""
    law = one_step_law(config, temperature)
    half = (law.log_strengths[1] - law.log_strengths[0]) / 2
    return np.interp(POINTS, law.log_strengths + half, np.cumsum(law.probabilities))


LARGEST = 0.08
"""T up to which SGD's one-step law stays on its grid"""


def whole(config, arrays):
    """The indices of the temperatures up to LARGEST at which no chain of SGD diverged at depth 1."""
    lost = arrays["diverged"][:, 1]
    return [i for i, t in enumerate(config.temperatures) if lost[i] == 0 and t < LARGEST]


def checks(config, arrays):
    paper, count, found = "Ziyin, Li, Ueda 2023", config.num_chains, []
    for i, t in enumerate(config.temperatures):
        exact, line = exact_law(config, t, 1)[0], exact_law(config, t, 0)[0]
        gap, error = distance(arrays["sde"][i], exact, np.maximum(arrays["sde_error"][i], binomial(exact, count)))
        found.append(Check(f"SDE at depth 1, T = {t:g}: distance", gap, 0, error, 0.02, "agree", paper))
        gap, error = distance(arrays["line_sde"][i], line, binomial(line, count))
        found.append(Check(f"SDE at depth 0, T = {t:g}: distance", gap, 0, error, 0.02, "agree", paper))
        name = f"T a1 E v^2 + (b1 - 2 T a2) E v = b2 - T a3 at T = {t:g}"
        found.append(Check(name, arrays["identity"][i], 0, arrays["identity_error"][i], 0.01, "agree", "E d log v = 0"))
    return [*found, *sgd_checks(config, arrays), *collapse_checks(config, arrays), *decay_checks(config, arrays)]


ONE_STEP = "SGD's one-step chain of log v, solved on a grid"


def sgd_checks(config, arrays):
    """Of SGD's law where no chain diverged: its own one-step law, and at the largest such T the gap to the SDE's."""
    kept, count, found = whole(config, arrays), config.num_chains, []
    for i in kept:
        label, exact = (
            f"SGD at depth 1, T = {config.temperatures[i]:g}",
            one_step_fractions(config, config.temperatures[i]),
        )
        gap, error = distance(arrays["sgd"][i], exact, binomial(exact, count))
        found.append(Check(f"{label}: distance from its one-step law", gap, 0, error, 0.02, "agree", ONE_STEP))
        sde = exact_law(config, config.temperatures[i], 1)[0]
        place = int(np.argmax(np.abs(exact - sde)))  # where the exact laws are farthest apart, not the samples
        name, error = f"{label}: distance from the SDE's law", binomial(exact, count)[place]
        measured, predicted = abs(arrays["sgd"][i, place] - sde[place]), abs(exact - sde)[place]
        if i == kept[-1]:
            found.append(Check(name, measured, predicted, error, 0.3, "agree", ONE_STEP))
        else:
            later = config.temperatures[kept[-1]]
            far = np.abs(one_step_fractions(config, later) - exact_law(config, later, 1)[0]).max()
            name = f"{name}, that at T = {later:g} beside it"
            found.append(Check(name, measured, far, error, 0, "below", ONE_STEP))
    lost = arrays["diverged"]
    found.append(Check("SDE chains diverged", lost[:, [0, 3]].sum(), 0, 0, 0, "agree", "none may"))
    return [*found, Check("SGD chains diverged at depth 0", lost[:, 2].sum(), 0, 0, 0, "agree", "none may")]


def collapse_checks(config, arrays):
    found, paper = [], "Ziyin, Li, Ueda 2023"
    for i, factor in enumerate(config.collapse_factors):
        share, error = arrays["collapsed"][i, -1], 0.5 / np.sqrt(config.num_medians)
        name = f"mass of v < 1e-6 at T = {factor:g} T_c"
        if factor <= 0.8:
            found.append(Check(name, share, 0.5, error, 0, "below", paper))
        if factor >= 1.2:
            found.append(Check(name, share, 0.9, error, 0, "above", paper))
            half = config.num_records // 2 - 1
            fall = arrays["median"][i, -1] - arrays["median"][i, half]
            error = np.hypot(arrays["median_error"][i, -1], arrays["median_error"][i, half])
            found.append(Check(f"fall of the median of log v at T = {factor:g} T_c", fall, 0, error, 0, "below", paper))
            exponent, growth = sgd_growth(config, factor * CRITICAL), arrays["growth"][i]
            name, source = f"SGD near zero: growth of log v a step at T = {factor:g} T_c", "E 2 log|1 + 2 rate x y|"
            found.append(Check(name, growth, exponent, arrays["growth_error"][i], 0.0125, "agree", source))
        (lost, small), error = arrays["sgd_fate"][i], 0.5 / np.sqrt(config.num_medians)
        name, source = f"SGD at T = {factor:g} T_c", "log v grows near 0: no collapse"
        least = 0.5 if factor < 0.8 else 0.9
        found.append(Check(f"{name}: share diverged", lost, least, error, 0, "above", source))
        found.append(Check(f"{name}: share at v < 1e-6", small, 0.05, error, 0, "below", source))
    return found


def decay_checks(config, arrays):
    (sgd_rate, sde_rate), (sgd_error, sde_error) = arrays["decay"], arrays["decay_error"]
    limit, source = expected_decay(config), "d log(u^2 - w^2)/dt = -4 T g of the SDE"
    exact, euler = one_step_law(config, config.decay_temperature).decay_rate, euler_law(config).decay_rate
    chain = "Euler's one-step chain of log v, solved on a grid"
    return [
        Check("SGD: decay of u^2 - w^2", sgd_rate, exact, sgd_error, 0.005, "agree", ONE_STEP),
        Check("SDE: decay of u^2 - w^2", sde_rate, euler, sde_error, 0.001, "agree", chain),
        Check("SGD: decay of u^2 - w^2, not the SDE's", sgd_rate, limit, sgd_error, 0, "differ", source),
        Check("SDE: decay of u^2 - w^2, small steps", sde_rate, limit, sde_error, 0.005, "agree", source),
    ]


def plot(config, arrays):
    figure, ((gaps, medians), (growths, decays)) = style.figure(2, 2, width=7.6, height=6.0)
    plot_gaps(gaps, config, arrays)
    ends = 12 * config.clock_step * config.num_clock_steps * np.arange(1, config.num_records + 1) / config.num_records
    for i, factor in enumerate(config.collapse_factors):
        look = {"color": ("#2166ac", "#67a9cf", "#999999", "#ef8a62", "#b2182b")[i % 5], "marker": "osD^v"[i % 5]}
        row, error = arrays["median"][i], arrays["median_error"][i]
        medians.errorbar(ends, row, error, **look, markersize=3, label=f"T = {factor:g} $T_c$")
    medians.axhline(np.log(1e-6), color="grey", linewidth=0.8, linestyle=":")
    medians.text(ends[-1], np.log(1e-6) - 2, "v = 1e-6", ha="right", va="top", fontsize=7)
    medians.set(xlabel="time s of the clock", ylabel="median of log v", title="(b) the SDE collapses above $T_c$")
    medians.legend(fontsize=7)
    plot_growth(growths, config, arrays)
    time = config.decay_temperature * config.num_decay_steps * np.arange(1, config.num_records + 1) / config.num_records
    start = np.log(1.02**2 - 0.98**2)
    laws = one_step_law(config, config.decay_temperature).decay_rate, euler_law(config).decay_rate
    for name, row, law, marker in zip(("SGD", "anisotropic"), arrays["imbalance"], laws, "o^"):
        label, look = "SGD" if name == "SGD" else "Ito SDE's Euler step", {"color": style.COLOURS[name]}
        decays.plot(time, row, **look, marker=marker, ls="none", label=f"{label}, simulated")
        decays.plot(
            [0, time[-1]], [start, start - law * time[-1]], **look, linewidth=1, label=f"{label}, exact: {law:.4f}"
        )
    decays.plot([0, time[-1]], [start, start], **style.line("gibbs"), label="Stratonovich SDE: conserved")
    decays.set(
        xlabel="time (rate x steps)", ylabel="mean of log|u² − w²|",
        title=f"(d) the layers are balanced (T = {config.decay_temperature:g})",
    )  # fmt: skip
    decays.legend(fontsize=7)
    return figure


def plot_gaps(panel, config, arrays):
    t, kept = np.array(config.temperatures), whole(config, arrays)
    rows = (
        ("sde", 1, "anisotropic", "o", list(range(t.size))), ("line_sde", 0, "anisotropic", "s", list(range(t.size))),
        ("sgd", 1, "SGD", "o", kept), ("line_sgd", 0, "SGD", "s", list(range(t.size))),
    )  # fmt: skip
    for name, depth, colour, marker, shown in rows:
        laws = {i: exact_law(config, t[i], depth)[0] for i in shown}
        pairs = [distance(arrays[name][i], laws[i], binomial(arrays[name][i], config.num_chains)) for i in shown]
        look = {"color": style.COLOURS[colour], "marker": marker, "markerfacecolor": None if depth else "white"}
        label = f"{'SDE' if 'sde' in name else 'SGD'}, depth {depth}"
        panel.errorbar(t[shown], *np.array(pairs).reshape(-1, 2).T, **look, ls="none", label=label)
    exact = [np.abs(one_step_fractions(config, t[i]) - exact_law(config, t[i], 1)[0]).max() for i in kept]
    panel.plot(t[kept], exact, **style.line("theory"), label="SGD's exact step, depth 1")
    lost = [(at, share) for at, share in zip(t, arrays["diverged"][:, 1]) if share > 0]
    said = "depth 1, SGD diverged:\n" + "\n".join(f"T = {at:g}: {100 * share:.0f} %" for at, share in lost)
    panel.text(0.98, 0.6, said if lost else "", transform=panel.transAxes, ha="right", fontsize=7)
    panel.set(
        xscale="log", ylim=(0, None), xlabel="T = learning rate / batch size", title="(a) SGD is not its SDE",
        ylabel="distance from the SDE's exact law (± 1 s.e.)",
    )  # fmt: skip
    panel.set_xticks(t, [f"{at:g}" for at in t])
    panel.minorticks_off()
    panel.legend(fontsize=7, loc="upper left")


def plot_growth(panel, config, arrays):
    fine, moments = np.linspace(0.02, 0.6, 100), slope_moments(*(np.asarray(each) for each in examples(config)))
    slope = [4 * rate * float(moments.product_mean - rate * moments.product_variance) for rate in fine]
    panel.plot(fine, slope, color=style.COLOURS["anisotropic"], linestyle="-.", label="SDE, exact")
    panel.plot(fine, [sgd_growth(config, rate) for rate in fine], color=style.COLOURS["SGD"], label="SGD, exact")
    at = np.array(config.collapse_factors) * CRITICAL
    look = {"color": "black", "marker": "o", "ls": "none"}
    panel.errorbar(at, arrays["growth"], arrays["growth_error"], **look, label="SGD, simulated (± 1 s.e.)")
    for i, (place, height, (lost, _)) in enumerate(zip(at, arrays["growth"], arrays["sgd_fate"])):
        away, side = (0.12, "bottom") if i % 2 == 0 else (-0.12, "top")  # neighbours on either side of the line
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        panel.text(place, height + away, f"{100 * lost:.0f} %", ha="center", va=side, fontsize=7, bbox=box)
    panel.axhline(0, color="grey", linewidth=0.8)
    panel.axvline(CRITICAL, color="grey", linewidth=0.8, linestyle=":")
    panel.set(xlabel="T = learning rate (batches of one)", ylabel="growth of log v near 0, a step", ylim=(-2, 1.4))
    panel.set_title(f"(c) SGD diverges instead (%: by step {config.num_escape_steps})")
    panel.legend(fontsize=7, loc="lower left")
