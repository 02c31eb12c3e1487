"""Every test runs in float64 under strict promotion, with signatures checked; float32 has rows of its own.

What is compiled is mostly tested as XLA makes it in a hurry, a fifth sooner; with JAX_DISABLE_MOST_OPTIMIZATIONS=0 as
users get it, which `.ci/run` does for the slow tests and, on another Python, for the core ones.
"""

import gc
import os
import signal

import jax
import jaxtyping
import pytest

jaxtyping.install_import_hook("sgdsde", "beartype.beartype")
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
if "JAX_DISABLE_MOST_OPTIMIZATIONS" not in os.environ:
    jax.config.update("jax_disable_most_optimizations", True)
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
