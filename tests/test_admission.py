"""What `simulate` refuses, each with one sentence: the argument, what was found, what is expected, a way out."""

import inspect
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgdsde import devices, memory
from sgdsde.dynamics.contract import State
from sgdsde.dynamics.minibatch import sgd
from sgdsde.problem import Problem
from sgdsde.pytrees import pytree
from sgdsde.simulation import simulate as checked_simulate

simulate = inspect.unwrap(checked_simulate)  # as users call it: without the tests' own checks of signatures


def tilted(x, z):
    return x @ x / 2 + z @ x


def zeros(key):
    return jnp.zeros(2)


def identity(x):
    return x


PROBLEM = Problem(tilted, np.array([[1.0, 0.5], [-1.0, -0.5]]), zeros)
SIZES = {"num_steps": 12, "num_chains": 4, "observe": identity, "every": 3}


def plain(rate=0.1, problem=PROBLEM):
    return sgd(problem, learning_rate=rate, batch_size=1, sampling="with_replacement")


def refused(message, dynamics=None, start=(1.0, 1.0), key=None, kinds=(TypeError, ValueError, MemoryError), **changes):
    """The sentence begins so, and nothing was compiled for it."""
    before = devices._compiled.cache_info().misses
    key = jax.random.key(0) if key is None else key
    with pytest.raises(kinds, match=f"^{message}"):
        simulate(plain() if dynamics is None else dynamics, jnp.array(start), key, **(SIZES | changes))
    assert devices._compiled.cache_info().misses == before


NO_KEYS = [3, np.int64(3), 1.5, True, [0, 1], "zero", np.zeros(2), np.zeros(3, np.uint32), jnp.zeros(2, jnp.int32)]


@pytest.mark.parametrize("key", NO_KEYS, ids=str)
def test_what_is_no_key(key):
    refused(r"key: expected a key of JAX, got .*; make one of an integer seed with jax\.random\.key\(seed\)", key=key)


def test_no_key_at_all_and_many():
    with pytest.raises(TypeError, match=r"^key: expected a key of JAX, got NoneType None"):
        simulate(plain(), jnp.ones(2), None, **SIZES)
    many = r"key: expected one key, got 3 of shape \(3,\); take one of them, or run all by jax.vmap over the keys"
    refused(many, key=jax.random.split(jax.random.key(0), 3))
    refused(many, key=jax.random.split(jax.random.PRNGKey(0), 3))


@pytest.mark.parametrize("name", ["num_steps", "num_chains", "every"])
@pytest.mark.parametrize("value", [1e30, 3.0, True, "3", 0, -1, None], ids=str)
def test_what_is_no_count(name, value):
    refused(f"{name}: expected an integer >= 1, got", **{name: value})


@pytest.mark.parametrize("name", ["num_steps", "num_chains"])
@pytest.mark.parametrize("value", [2**31, 10**30], ids=str)
def test_counts_beyond_the_counters(name, value):
    refused(rf"{name}: expected less than 2\*\*31, .* got {value}", **{name: value})


def test_the_nearest_divisors_are_named_at_once():
    begun = time.perf_counter()
    refused("every: 7 does not divide num_steps = 30000000; try every = 6 or 8", num_steps=30_000_000, every=7)
    refused(
        "every: 7 does not divide num_steps = 2147483629; try every = 1 or 2147483629", num_steps=2147483629, every=7
    )
    refused("every: 24 does not divide num_steps = 12; try every = 12", every=24)
    assert time.perf_counter() - begun < 5


def test_numbers_of_numpy_are_counts():
    expected = simulate(plain(), jnp.ones(2), jax.random.key(0), **SIZES)
    sizes = {name: np.int32(value) for name, value in SIZES.items() if name != "observe"}
    found = simulate(plain(), jnp.ones(2), jax.random.key(0), observe=identity, **sizes)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_chains_and_records_beyond_memory(monkeypatch):
    monkeypatch.setattr(memory, "free_memory_of_host", lambda: 2**33)
    refused("num_chains: 1000000000 chains of 2 parameters need 59.6 GiB at least, but 8 GiB are free; take at most",
            num_chains=10**9)  # fmt: skip
    begun = time.perf_counter()
    records = (
        r"simulate: 1000000000 records of 4 chains, 7.08e-08 GiB each, need 142 GiB while .* 8 GiB are free; keep "
    )
    refused(records + r"at most \d+ records, by a larger `every`; or their means alone", num_steps=10**9, every=1)
    assert time.perf_counter() - begun < 5


def branching(x):
    if x[0] > 0:
        return x
    return -x


def with_numpy(x):
    return np.linalg.norm(x)


def by_value(x):
    return jnp.zeros(int(x[0]))


def raising(x):
    raise KeyError("weights")


def of_two(x, y):
    return x


WORDS = {
    branching: r"branching \(test_admission.py, line \d+\), traced by JAX, branches on a value .* jnp.where",
    with_numpy: r"with_numpy \(test_admission.py, line \d+\), traced by JAX, gives an array to NumPy",
    by_value: r"by_value \(test_admission.py, line \d+\), traced by JAX, needs the value of an array",
    raising: r"raising \(test_admission.py, line \d+\), traced by JAX, raises KeyError: 'weights'",
}


@pytest.mark.parametrize(("function", "words"), WORDS.items(), ids=lambda each: getattr(each, "__name__", ""))
def test_functions_that_cannot_be_traced(function, words):
    """As an observer, a start, a loss, a schedule: the function and its line are named."""
    refused(f"observe: {words}", observe=function)
    with pytest.raises((TypeError, ValueError), match=f"^Problem.example_loss: {words}"):
        Problem(lambda x, z: jnp.sum(function(x)), np.ones((2, 1)), zeros)
    with pytest.raises((TypeError, ValueError), match=f"^start: {words}"):
        simulate(plain(), lambda key: function(jax.random.normal(key, (2,))), jax.random.key(0), **SIZES)


def test_a_schedule_that_cannot_be_traced():
    def stepped(step):
        return 0.1 if step < 3 else 0.01

    with pytest.raises(
        TypeError, match=r"^learning_rate: stepped \(test_admission.py, line \d+\), traced by JAX, branches"
    ):
        plain(stepped)


@pytest.mark.parametrize(
    ("observe", "message"),
    [
        (
            of_two,
            "observe: expected a function of one chain's params alone.*missing 1 required positional argument: 'y'",
        ),
        (lambda x: "word", "observe: expected a function of one chain's params alone that gives arrays.*<class 'str'>"),
        (lambda x: {"key": jax.random.key(0)}, r"observe\['key'\]: returns a random key"),
        (3, "observe: expected a function params -> pytree, got 3"),
    ],
)
def test_what_is_no_observer(observe, message):
    refused(message, observe=observe)


@pytest.mark.parametrize(
    ("init", "message"),
    [
        (lambda key: None, "Problem.init: expected parameters, got None"),
        (lambda key: [], "Problem.init: expected parameters, got"),
        (lambda key: jnp.zeros(0), r"Problem.init: params is an empty array, of shape \(0,\)"),
        (lambda key: "word", "Problem.init: expected a function key -> params"),
        (lambda: jnp.zeros(2), "Problem.init: expected a function key -> params.*takes 0 positional arguments"),
    ],
)
def test_an_init_without_parameters(init, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        Problem(lambda x, z: jnp.sum(z), np.ones((2, 1)), init)


def test_a_loss_that_returns_nothing():
    with pytest.raises(
        ValueError, match=r"^Problem.example_loss: expected a scalar loss of one example, got a NoneType"
    ):
        Problem(lambda x, z: None, np.ones((2, 1)), zeros)


def test_what_is_no_dynamics():
    refused("dynamics: expected what sgd, optimizer, match.*got str, which has no problem, period", "sgd")
    refused("dynamics: expected what sgd, optimizer, match.*got Problem, which has no ", PROBLEM)
    refused("dynamics: expected .*, got the class SGD", type(plain()))


class OwnDraw:
    """Draws that are not those of its variates."""

    problem, period, substeps, variates = PROBLEM, 1, 1, plain().variates

    def arrange(self, numbers):
        return numbers

    def init(self, params):
        return State(params)

    def draw(self, key, step, substep):
        return jax.random.randint(jax.random.fold_in(key, step), (1,), 0, 2)

    def advance(self, state, draws, step):
        return plain().advance(state, draws, step)

    def duration(self, step):
        return 0.1


def test_a_dynamics_that_draws_by_itself():
    """The loop would not call its draw: it is refused, and so is a class that is no pytree."""
    refused("dynamics: OwnDraw is no pytree; make it a frozen dataclass", OwnDraw())
    refused("dynamics: OwnDraw has a draw of its own, which the loop would not call", pytree()(OwnDraw)())


def test_compiling_switched_off():
    with (
        jax.disable_jit(),
        pytest.raises(RuntimeError, match=r"^simulate: JAX_DISABLE_JIT is set, .*; unset it, and look"),
    ):
        simulate(plain(), jnp.ones(2), jax.random.key(0), **SIZES)
