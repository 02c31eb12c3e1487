"""Every test runs in float64 under strict promotion, with signatures checked; float32 has rows of its own."""

import jax
import jaxtyping
import pytest

jaxtyping.install_import_hook("sgdsde", "beartype.beartype")
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def key():
    return jax.random.key(20)
