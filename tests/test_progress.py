"""How far simulations are: told under a trace and from the host, shown as one bar, read by whoever measures."""

import jax
import jax.numpy as jnp
import pytest

from sgdsde.dynamics.minibatch import sgd
from sgdsde.problems import landscapes
from sgdsde.progress import _Whole, bar_of, in_words, one_bar, read_by, told_sizes
from sgdsde.simulation import simulate

ONE = jnp.ones((1, 1))


def first(params):
    return params[0]


def two_simulations(key):
    problem = landscapes.quadratic(ONE, gradient_covariance=ONE, num_examples=8)
    dynamics = sgd(problem, learning_rate=0.1, batch_size=2, sampling="with_replacement")
    run = lambda steps: simulate(dynamics, jnp.zeros(1), key, num_steps=steps, num_chains=3, observe=first, every=steps)
    return run(4).observed, run(8).observed


class Heard:
    """A meter that remembers."""

    def __init__(self):
        self.words = []

    def begin(self, size, done):
        self.words.append(("begin", size, done))

    def update(self, count):
        self.words.append(count)

    def end(self):
        self.words.append("end")


class Bar:
    """What `_Whole` draws on."""

    def __init__(self, total):
        self.total, self.n, self.said, self.left = total, 0, [], ""

    def update(self, count):
        self.n += count

    def set_description_str(self, text):
        self.said.append(text)

    def set_postfix_str(self, text, refresh=True):
        self.left = text


def test_a_trace_tells_the_sizes_that_the_host_then_computes(key):
    with told_sizes() as told:
        jax.eval_shape(two_simulations, key)
    assert told.sizes == [12, 24]
    assert len(told.kinds) == 1, "compiled once, whatever the number of steps"
    with read_by(Heard()) as _, told_sizes() as told:
        two_simulations(key)
    assert told.sizes == []
    heard = Heard()
    with read_by(heard):
        two_simulations(key)
        jax.jit(lambda key: two_simulations(key))(key)  # traced anew
    numbers = [word for word in heard.words if isinstance(word, int)]
    assert sum(numbers) == 36
    assert [word for word in heard.words if isinstance(word, tuple)] == [
        ("begin", 12, 0), ("begin", 24, 0), ("begin", 12, 12), ("begin", 24, 24)
    ]  # fmt: skip
    assert heard.words.count("end") == 4


def test_one_bar_says_which_simulation_of_how_many(monkeypatch):
    bar = Bar(30)
    whole = _Whole(bar, 2)
    whole._began -= 10.0
    whole.begin(10, 0)
    whole.update(10)
    assert bar.left == "about 20 s left"
    whole.end()
    whole.begin(20, 5)
    whole.update(100)
    whole.end()
    assert bar.said == [
        "compiling simulation 1 of 2", "computing simulation 1 of 2", "compiling simulation 2 of 2",
        "computing simulation 2 of 2",
    ]  # fmt: skip
    assert bar.n == 30


def test_without_simulations_nothing_changes():
    with one_bar([]):
        bar = bar_of(10, 0)
    assert type(bar).__name__.startswith("tqdm")
    bar.close()


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.001, "0.01 s"), (0.5, "0.5 s"), (90, "90 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_times_in_words(seconds, words):
    assert in_words(seconds) == words
