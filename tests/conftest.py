"""Every test runs in float64 under strict promotion, with signatures checked; float32 has rows of its own.

SGDSDE_SEED_SHIFT=7 adds 7 to every seed, of NumPy's generators and of JAX's keys: a statistical test has to hold at any
shift, or what it asserts is one outcome frozen.

What is compiled is mostly tested as XLA makes it in a hurry, a fifth sooner; with JAX_DISABLE_MOST_OPTIMIZATIONS=0 as
users get it, which `.ci/run` does for the slow tests and, on another Python, for the core ones.
"""

import gc
import os
import signal

import jax
import jaxtyping
import numpy as np
import pytest

jaxtyping.install_import_hook("sgdsde", "beartype.beartype")
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
if "JAX_DISABLE_MOST_OPTIMIZATIONS" not in os.environ:
    jax.config.update("jax_disable_most_optimizations", True)
if seed_shift := int(os.environ.get("SGDSDE_SEED_SHIFT", "0")):
    _generator, _key = np.random.default_rng, jax.random.key
    np.random.default_rng = lambda seed=None: _generator(seed + seed_shift if isinstance(seed, int) else seed)
    jax.random.key = lambda seed, **options: _key(seed + seed_shift if isinstance(seed, int) else seed, **options)
gc.disable()  # what JAX keeps would be looked through again and again, a tenth of the time; once a file is enough
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as for a job in the background; some tests send it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """The longest file first: two processes that take whole files in turn end together."""
    items.sort(key=lambda item: item.path.name != "test_experiments.py")


@pytest.fixture(scope="module", autouse=True)
def collect_garbage():
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture
def key():
    return jax.random.key(20)


@pytest.fixture
def ordinary_settings():
    """As a reader has them, not as the other tests do."""
    names = {"jax_enable_x64": False, "jax_numpy_rank_promotion": "allow", "jax_numpy_dtype_promotion": "standard"}
    before = {name: getattr(jax.config, name) for name in names}
    for name, value in names.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)
