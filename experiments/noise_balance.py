"""The noise of SGD balances two layers, and above a critical rate over batch its SDE takes them to zero.

f = v x (depth 0) or f = u w x, v = u w (depth 1), on inputs x with labels y = x + noise, loss (f - y)^2 **without the
half**, T = learning rate / batch size. The SDE (Ito, time = rate times steps) has a stationary law of v in closed form;
at depth 1 it is that of log v in the clock ds = (1 + 4 T g) dt, g a quarter of the variance of one example's slope,

    d log v = [-4 (b1 v - b2) - 4 T g]/(1 + 4 T g) ds + 4 sqrt(T g/(1 + 4 T g)) dW,

in which samples weigh 1/(1 + 4 T g): explicit steps of u and w overflow, and those of log v in its own time collapse
spuriously. With b1 = E x^2, b2 = E x y, a3 = Var x y it collapses for T > T_c = b2/a3. Inputs are quantiles of N(0, 1)
in a lattice with those of the label noise, whose size, 1.00, is set so that T_c = 1/3 for these very examples.

u^2 - w^2 is multiplied by 1 - (rate slope)^2 in every step of SGD, and decays as d log(u^2 - w^2)/dt = -4 T g in the
Ito SDE; read in the sense of Stratonovich, the same SDE would conserve it. Nothing tells the conventions apart sharper.

SGD itself, batches of one example, is shown beside: its law differs from the SDE's by 0.05 in distribution already at
T = 0.05 (0.06 for normal inputs without an end), and by less the smaller the rate. It does not collapse: near v = 0 its
log v grows by E 2 log|1 + 2 rate x y| a step, positive at every rate shown, where the SDE's grows by
4 rate (b2 - T a3). Instead it diverges: of the runs at T = 0.2 two fifths by time 15, counted as beyond every v.

Source: Ziyin, Li, Ueda 2023 (arXiv 2308.06671).
Command: `sgdsde reproduce noise_balance`, about a minute on two cores. One should see: distances of the SDE below
0.01 and of SGD 0.05 at T = 0.05; medians of v below 1e-6 from 1.2 T_c on; u^2 - w^2 decaying at 4 T E g.
"""

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
    collapse_temperature,
    imbalance_decay_rate,
    slope_moments,
)
from sgdsde.pytrees import pytree
from sgdsde.randomness import draw


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
    num_medians: int = 4_000
    """independent chains for a median, and pairs (u, w) for the decay"""
    seed: int = 0


SMOKE = Config(
    temperatures=(0.1,), num_steps=(20,), collapse_factors=(0.8, 1.5), num_examples=64, num_clock_steps=40,
    num_records=2, num_chains=60, num_medians=60, num_decay_steps=20,
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
    keys = iter(jax.random.split(key, 4 * len(config.temperatures) + 2 * len(config.collapse_factors) + 4))
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
        growths.append(mean_error((found.observed[-1] - 2 * np.log(SMALL).item()) / SHORT))
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
    tables = [(names, laws), (("median", "median_error", "collapsed"), medians), (("growth", "growth_error"), growths)]
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


def checks(config, arrays):
    x, y = examples(config)
    moments, paper = slope_moments(x, y), "Ziyin, Li, Ueda 2023"
    critical, count = float(collapse_temperature(moments)), config.num_chains
    found = [Check("collapse temperature of the examples", critical, CRITICAL, 0, 1e-4, "agree", "b2/a3")]
    for i, t in enumerate(config.temperatures):
        exact, line = exact_law(config, t, 1)[0], exact_law(config, t, 0)[0]
        gap, error = distance(arrays["sde"][i], exact, np.maximum(arrays["sde_error"][i], binomial(exact, count)))
        found.append(Check(f"SDE at depth 1, T = {t:g}: distance", gap, 0, error, 0.02, "agree", paper))
        gap, error = distance(arrays["line_sde"][i], line, binomial(line, count))
        found.append(Check(f"SDE at depth 0, T = {t:g}: distance", gap, 0, error, 0.02, "agree", paper))
        name = f"T a1 E v^2 + (b1 - 2 T a2) E v = b2 - T a3 at T = {t:g}"
        found.append(Check(name, arrays["identity"][i], 0, arrays["identity_error"][i], 0.01, "agree", "E d log v = 0"))
        if t >= 0.05:
            gap, error = distance(arrays["sgd"][i], exact, binomial(exact, count))
            found.append(Check(f"SGD at depth 1, T = {t:g}: distance", gap, 0.02, error, 0, "above", "SDE is not SGD"))
    if max(config.temperatures) >= 0.2:
        share = arrays["diverged"][int(np.argmax(config.temperatures)), 1]
        error = np.sqrt(share * (1 - share) / count)
        found.append(
            Check("SGD at depth 1, largest T: diverged", share, 0, error, 0, "above", "discrete steps overflow")
        )
    for i, factor in enumerate(config.collapse_factors):
        share, error = arrays["collapsed"][i, -1], 0.5 / np.sqrt(config.num_medians)
        name = f"mass of v < 1e-6 at T = {factor:g} T_c"
        if factor <= 0.8:
            found.append(Check(name, share, 0.5, error, 0, "below", paper))
        if factor >= 1.2:
            found.append(Check(name, share, 0.5, error, 0, "above", paper))
            half = config.num_records // 2 - 1
            fall = arrays["median"][i, -1] - arrays["median"][i, half]
            error = np.hypot(arrays["median_error"][i, -1], arrays["median_error"][i, half])
            found.append(Check(f"fall of the median of log v at T = {factor:g} T_c", fall, 0, error, 0, "below", paper))
            exponent, growth = sgd_growth(config, factor * CRITICAL), arrays["growth"][i]
            name, source = f"SGD near zero: growth of log v a step at T = {factor:g} T_c", "E 2 log|1 + 2 rate x y|"
            found.append(Check(name, growth, exponent, arrays["growth_error"][i], 0.02, "agree", source))
            found.append(Check(f"{name}, above the SDE's", growth, 0, arrays["growth_error"][i], 0, "above", source))
    for i, name in enumerate(("SGD", "SDE")):
        rate, error, source = arrays["decay"][i], arrays["decay_error"][i], "d log(u^2 - w^2)/dt = -4 T g"
        found.append(Check(f"{name}: decay of u^2 - w^2", rate, expected_decay(config), error, 0.05, "agree", source))
        found.append(Check(f"{name}: not conserved", rate, 0, error, 0, "differ", "Stratonovich: conserved"))
    return [*found, Check("SDE chains diverged", arrays["diverged"][:, [0, 3]].sum(), 0, 0, 0, "agree", "none may")]


def plot(config, arrays):
    figure, ((deep, flat, gaps), (medians, growths, decays)) = style.figure(2, 3, width=12.0, height=6.8)
    shades, count = ("#0072B2", "#D55E00", "#009E73"), config.num_chains
    shown = list(range(len(config.temperatures)))[-3:]
    coarse, wide = slice(None, None, 5), slice(None, None, 2)
    for shade, i in zip(shades, shown):
        t = config.temperatures[i]
        for panel, depth, places, cut in ((deep, 1, POINTS, coarse), (flat, 0, LINE, wide)):
            s, density, v = exact_law(config, t, depth)[1]
            panel.plot(s if depth else v, density if depth else density / np.cosh(s), color=shade, label=f"T = {t:g}")
            names = ("sde", "sgd") if depth else ("line_sde", "line_sgd")
            for name, marker in zip(names, "o^"):
                fractions, at = arrays[name][i][cut], places[cut]
                middle, height = (at[1:] + at[:-1]) / 2, np.diff(fractions) / np.diff(at)
                error = np.sqrt(np.maximum(np.diff(fractions), 0) / count) / np.diff(at)
                face = shade if marker == "o" else "white"
                panel.errorbar(middle, height, error, color=shade, marker=marker, mfc=face, ls="none", ms=3, lw=0.8)
    for panel in (deep, flat):
        panel.plot([], [], "ko", label="SDE, simulated")
        lost = ", ".join(f"{100 * share:.0f}" for share in arrays["diverged"][shown, 1])
        panel.plot([], [], "k^", mfc="white", label=f"SGD (diverged: {lost} %)" if panel is deep else "SGD")
        panel.legend(fontsize=7)
    deep.set(xlim=(-6, 1.8), xlabel="log v", ylabel="density of log v (line: exact)", title="depth 1: f = u w x")
    flat.set(xlim=(-1.5, 3.5), xlabel="v", ylabel="density of v (line: exact)", title="depth 0: f = v x")
    t = np.array(config.temperatures)
    for depth, names, marker in ((1, ("sde", "sgd"), "o"), (0, ("line_sde", "line_sgd"), "s")):
        for name, colour in zip(names, (style.COLOURS["anisotropic"], style.COLOURS["SGD"])):
            pairs = [
                distance(row, exact_law(config, at, depth)[0], binomial(row, count)) for at, row in zip(t, arrays[name])
            ]
            label = f"{'SDE' if 'sde' in name else 'SGD'}, depth {depth}"
            gaps.errorbar(t, *np.array(pairs).T, color=colour, marker=marker, ls="-" if depth else "--", label=label)
    gaps.axhline(0.02, color="grey", linewidth=0.8, linestyle=":")
    gaps.set(
        xscale="log", yscale="log", xlabel="T = learning rate / batch size", title="SGD is not its SDE",
        ylabel="distance from the SDE's exact law",
    )  # fmt: skip
    gaps.set_xticks(t, [f"{at:g}" for at in t])
    gaps.minorticks_off()
    gaps.legend(fontsize=7)
    ends = 12 * config.clock_step * config.num_clock_steps * np.arange(1, config.num_records + 1) / config.num_records
    cmap = ("#2166ac", "#67a9cf", "#999999", "#ef8a62", "#b2182b")
    for i, factor in enumerate(config.collapse_factors):
        label = f"T = {factor:g} $T_c$"
        medians.errorbar(
            ends, arrays["median"][i], arrays["median_error"][i], color=cmap[i % 5], marker="o", label=label
        )
    medians.axhline(np.log(1e-6), color="grey", linewidth=0.8, linestyle=":")
    medians.text(ends[-1], np.log(1e-6) + 2, "v = 1e-6", ha="right", fontsize=7)
    medians.set(xlabel="time s of the clock", ylabel="median of log v", title="the SDE collapses above $T_c$")
    medians.legend(fontsize=7)
    x, y = examples(config)
    fine, moments = np.linspace(0.02, 0.6, 100), slope_moments(x, y)
    slope = [4 * rate * float(moments.product_mean - rate * moments.product_variance) for rate in fine]
    growths.plot(fine, slope, color=style.COLOURS["anisotropic"], label="SDE, exact")
    growths.plot(fine, [sgd_growth(config, rate) for rate in fine], color=style.COLOURS["SGD"], label="SGD, exact")
    growths.errorbar(
        np.array(config.collapse_factors) * CRITICAL, arrays["growth"], arrays["growth_error"], color="black",
        marker="o", ls="none", label="SGD, simulated",
    )  # fmt: skip
    growths.axhline(0, color="grey", linewidth=0.8)
    growths.axvline(CRITICAL, color="grey", linewidth=0.8, linestyle=":")
    growths.set(xlabel="T = learning rate (batches of one)", ylabel="growth of log v near 0, a step")
    growths.set_title("SGD does not collapse")
    growths.legend(fontsize=7)
    time = config.decay_temperature * config.num_decay_steps * np.arange(1, config.num_records + 1) / config.num_records
    start = np.log(1.02**2 - 0.98**2)
    for name, row, marker in zip(("SGD", "anisotropic"), arrays["imbalance"], "o^"):
        label = "SGD" if name == "SGD" else "SDE"
        decays.plot(time, row, color=style.COLOURS[name], marker=marker, ls="none", label=f"{label}, simulated")
    decays.plot(
        [0, time[-1]], [start, start - expected_decay(config) * time[-1]], **style.line("theory"), label="Ito: −4 T E g"
    )
    decays.plot([0, time[-1]], [start, start], **style.line("gibbs"), label="Stratonovich: conserved")
    decays.set(
        xlabel="time",
        ylabel="mean of log|u² − w²|",
        title=f"the two layers are balanced (T = {config.decay_temperature:g})",
    )
    decays.legend(fontsize=7)
    return figure
