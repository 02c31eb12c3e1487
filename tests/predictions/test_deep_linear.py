"""Modes of deep linear networks: curves against an integrated equation, losses against the network itself, and what a
step does to the balances, step by step.

The second computations here import nothing from predictions: SciPy integrates du/dt (another method than the
hypergeometric functions), and networks are built and differentiated.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp

from sgdsde import deep_linear, match, noise, predictions, sgd
from sgdsde.dynamics.minibatch import minibatch_gradient
from sgdsde.observables import balances
from sgdsde.problem import gradient, loss

pytestmark = pytest.mark.slow  # networks; every day they run as experiments at smoke size

CURVES = [(layers, s, u) for layers in (1, 2, 3, 5, 9) for s, u in ((2.0, 0.01), (50.0, 1e-3), (2.0, 3.5))]


@pytest.mark.parametrize(("layers", "target", "start"), CURVES)
def test_strengths_and_times_against_an_integrated_equation(layers, target, start):
    options = {"target": target, "start": start, "num_layers": layers}
    some = (target + start) / 2
    rate = lambda u: layers * u ** (2 - 2 / layers) * (target - u)
    time = quad(lambda u: 1 / rate(u), start, some, epsabs=0, epsrel=1e-11, limit=500)[0]
    np.testing.assert_allclose(predictions.learning_time(some, **options), time, rtol=1e-9)
    times = np.linspace(0, 1.3 * time, 6)
    solved = solve_ivp(
        lambda _, u: rate(u), (0, times[-1]), [start], t_eval=times, rtol=1e-11, atol=1e-13, method="DOP853"
    )
    strengths = predictions.mode_strength(times, **options)
    np.testing.assert_allclose(strengths, solved.y[0], rtol=1e-9)
    np.testing.assert_allclose(predictions.learning_time(strengths[:4], **options), times[:4], rtol=1e-9, atol=1e-14)


def test_closed_form_of_two_layers_as_printed_and_its_limits():
    s, u, t = 3.0, 0.02, np.array([0.0, 0.3, 1.0, 40.0])
    printed = s * np.exp(2 * s * t[:3]) / (np.exp(2 * s * t[:3]) - 1 + s / u)
    curve = predictions.mode_strength(t, target=s, start=u, num_layers=2)
    np.testing.assert_allclose(curve, [*printed, s], rtol=1e-13)
    half = predictions.half_learning_time(target=s, start=u, num_layers=2)
    np.testing.assert_allclose(half, np.log(s / u - 1) / (2 * s), rtol=1e-13)
    for layers in (1, 2, 5):
        options = {"target": s, "start": u, "num_layers": layers}
        assert predictions.learning_time(u, **options) == 0
        assert np.isinf(predictions.learning_time(s, **options))
        assert predictions.mode_strength(1e6, **options) == s


def test_a_network_under_gradient_descent_follows_the_curves_late_by_the_stated_time(key):
    """Four layers on exactly whitened inputs, so that the finite sum has the curves: the delay of step eta is
    (eta/2) log(f(u)/f(u(0))), f the speed of a weight, and what is left of it falls with eta^2."""
    targets, start = np.array([3.0, 2.0]), 0.05
    teacher = deep_linear.teacher(targets, num_inputs=3, num_outputs=2, key=key)
    init = deep_linear.balanced_start(teacher, hidden_widths=(2, 4, 3), strengths=start)
    problem, _ = deep_linear.student(
        key, teacher, start=init, num_examples=50, num_test_examples=1, label_variance=0.0, is_whitened=True
    )
    options = {"target": targets, "start": start, "num_layers": 4}
    speed = lambda u: u**0.75 * (targets - u)
    late = []
    for step in (4e-3, 2e-3):
        steps = int(0.5 / step)
        after = jax.jit(
            lambda params, step, steps: jax.lax.fori_loop(
                0, steps, lambda _, p: jax.tree.map(lambda x, g: x - step * g, p, gradient(problem, p)), params
            )
        )(problem.init(key), step, steps)
        product = teacher.left.T @ deep_linear.product(after) @ teacher.right
        np.testing.assert_allclose(product, np.diag(np.diagonal(product)), atol=1e-12)
        strengths = np.diagonal(product)
        assert ((strengths > 0.15) & (strengths < 0.95 * targets)).all()
        delay = steps * step - predictions.learning_time(strengths, **options)
        late.append(delay - step / 2 * np.log(speed(strengths) / speed(start)))
        assert (np.abs(late[-1]) < 0.1 * delay).all()
    assert (np.abs(late[1]) < 0.35 * np.abs(late[0])).all()


def test_losses_of_saddles_are_those_of_the_network(key):
    targets = np.array([2.0, 5.0, 1.0])
    teacher = deep_linear.teacher(targets, num_inputs=3, num_outputs=3, key=key)
    init = deep_linear.balanced_start(teacher, hidden_widths=(3,), strengths=0.0)
    problem, _ = deep_linear.student(
        key, teacher, start=init, num_examples=50, num_test_examples=1, label_variance=0.0, is_whitened=True
    )
    plateaus = predictions.plateau_losses(targets)
    learnt = np.zeros(3, bool)
    for place, mode in enumerate((1, 0, 2)):
        saddle = deep_linear.balanced_start(teacher, hidden_widths=(3,), strengths=np.where(learnt, targets, 0.0))(key)
        for found in (predictions.saddle_loss(targets, learnt), plateaus[place]):
            np.testing.assert_allclose(found, loss(problem, saddle), rtol=1e-12)
        assert all(np.abs(leaf).max() < 1e-12 for leaf in gradient(problem, saddle))
        learnt[mode] = True
    assert predictions.saddle_loss(targets, learnt) == plateaus[3] == 0
    np.testing.assert_allclose(predictions.saddle_loss(targets, np.array([True, False, False])), 13.0)


@pytest.mark.parametrize("kind", ["minibatches", "without_replacement", "gradient_descent", "a network of one unit"])
def test_balances_change_at_every_step_exactly_as_stated(kind, key):
    """40 steps of a net that is not balanced, each to rounding; with the formula in the product's gradient G beside."""
    widths = (1, 1, 1) if kind == "a network of one unit" else (3, 4, 3, 2)
    generator = np.random.default_rng(5)
    inputs = generator.standard_normal((30, widths[0]))
    targets = inputs @ generator.standard_normal((widths[0], widths[-1])) + 0.5
    start = deep_linear.random_start(widths, standard_deviation=0.8)
    problem = deep_linear.linear_network(inputs, targets, start=start)
    sampling = "without_replacement" if kind == "without_replacement" else "with_replacement"
    rate, size = 0.05, 30 if kind == "gradient_descent" else 4
    dynamics = sgd(problem, learning_rate=rate, batch_size=size, sampling=sampling)

    @jax.jit
    def step(state, number):
        draws = dynamics.draw(key, number, 0)
        slopes = minibatch_gradient(problem, state.params, draws)
        after = dynamics.advance(state, draws, number)
        return after, slopes, balances(state.params), balances(after.params)

    state, moved = dynamics.init(start(key)), 0.0
    for number in range(40):
        before, (state, slopes, old, new) = state, step(state, number)
        changes = predictions.balance_changes(slopes, learning_rate=rate)
        for change, first, second in zip(changes, old, new, strict=True):
            np.testing.assert_allclose(second - first, change, atol=1e-14)
            moved = max(moved, float(np.abs(change).max()))
        if len(slopes) == 2:  # scalars: u = W_2, w = W_1, and g = dl/dv of the minibatch from the first layer's slope
            (w, u), squared = (leaf.item() for leaf in before.params), slopes[0].item() ** 2
            decay = 1 - rate**2 * squared / u**2
            np.testing.assert_allclose(new[0].item(), (u**2 - w**2) * decay, atol=1e-14)
    assert moved > 1e-4


def test_balance_changes_in_the_products_gradient():
    generator = np.random.default_rng(1)
    first, second, slope = (generator.standard_normal(shape) for shape in ((4, 3), (2, 4), (2, 3)))
    (change,) = predictions.balance_changes((second.T @ slope, slope @ first.T), learning_rate=0.1)
    printed = 0.01 * (first @ slope.T @ slope @ first.T - second.T @ slope @ slope.T @ second)
    np.testing.assert_allclose(change, printed, rtol=1e-12, atol=1e-14)


def test_an_ito_sde_changes_the_balance_of_a_chain_like_sgd_and_gradient_flow_conserves_it():
    """E over one step of u^2 - w^2, by enumerating the noise: SGD (1 - rate^2 E g_B^2); Euler's step of the anisotropic
    SDE, whose drift and noise share their second moment at one substep, the same."""
    generator = np.random.default_rng(2)
    inputs = generator.standard_normal((6, 1))
    start = deep_linear.random_start((1, 1, 1), standard_deviation=1.0)
    problem = deep_linear.linear_network(inputs, 2 * inputs + generator.standard_normal((6, 1)), start=start)
    params, rate = (jnp.array([[0.4]]), jnp.array([[1.3]])), 0.1
    dynamics = sgd(problem, learning_rate=rate, batch_size=1, sampling="with_replacement")
    euler = match(dynamics, noise.anisotropic, substeps=1)
    state = dynamics.init(params)
    after = jax.vmap(lambda i: balances(dynamics.advance(state, i[None], 0).params)[0])(jnp.arange(6))
    # symmetric two-point draws have the normals' first two moments; the step is quadratic in them
    size = euler.variates.size
    signs = np.sqrt(size) * np.concatenate([np.eye(size), -np.eye(size)])
    sde = jax.vmap(lambda z: balances(euler.advance(state, z, 0).params)[0])(signs)
    np.testing.assert_allclose(sde.mean(), after.mean(), rtol=1e-12)
    slopes = (inputs * (1.3 * 0.4 * inputs - problem.examples["targets"])).ravel()
    np.testing.assert_allclose(after.mean(), (1.3**2 - 0.4**2) * (1 - rate**2 * (slopes**2).mean()), rtol=1e-12)


def test_bad_input_names_the_argument():
    options = {"target": 2.0, "start": 0.1, "num_layers": 3}
    for function, arguments, message in (
        (predictions.mode_strength, {"times": -1.0, **options}, "times: .*0 or later"),
        (predictions.mode_strength, {"times": 1.0, **options, "start": 0.0}, "start: .*saddle"),
        (predictions.mode_strength, {"times": 1.0, **options, "target": -1.0}, "target: .*positive"),
        (
            predictions.mode_strength,
            {"times": 1.0, **options, "num_layers": 0},
            "num_layers: expected an integer from 1",
        ),
        (predictions.learning_time, {"strength": 3.0, **options}, "strength: expected from start = 0.1"),
        (predictions.balance_changes, {"gradients": (np.eye(2),) * 2, "learning_rate": 0.0}, "learning_rate"),
    ):
        with pytest.raises(ValueError, match=message):
            function(**arguments)
    with pytest.raises(TypeError, match=r"times: .*host"):
        jax.jit(lambda t: predictions.mode_strength(t, **options))(1.0)
    assert predictions.mode_strength(0.0, target=1.0, start=0.0, num_layers=1) == 0
