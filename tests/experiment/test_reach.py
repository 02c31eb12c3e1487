"""The digest of the code in reach: what changes it and what does not."""

import pytest

from sgdsde.experiment.reach import digest_of

EXPERIMENT = '''"""An experiment."""

from beside import used
from sgdsde import noise
from sgdsde.predictions import temperature

LENGTH = 3


def helper(x):
    """Its words."""
    return used(x) + LENGTH  # why


def run(config, key):
    return {"x": helper(key), "noise": noise.isotropic}


def checks(config, arrays):
    return [temperature(learning_rate=1.0, batch_size=1, gradient_variance=1.0)]


def plot(config, arrays):
    return None
'''
BESIDE = "def used(x):\n    return other(x)\n\n\ndef other(x):\n    return x\n\n\ndef unused(x):\n    return x\n"


@pytest.fixture
def digest(tmp_path):
    def digest(root="run", experiment=EXPERIMENT, beside=BESIDE):
        file = tmp_path / "one.py"
        file.write_text(experiment)
        (tmp_path / "beside.py").write_text(beside)
        return digest_of(file, (root,))

    return digest


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("LENGTH = 3", "LENGTH = 4", {"run"}),
        ("used(x) + LENGTH", "used(x) - LENGTH", {"run"}),
        ('"x": helper(key)', '"y": helper(key)', {"run"}),
        ("noise.isotropic", "noise.diagonal", {"run"}),
        ("batch_size=1", "batch_size=2", {"checks"}),
        ("return None", "return 1", set()),
        ("# why", "# because", set()),
        ("Its words.", "Other words.", set()),
        ('"""An experiment."""', '"""The experiment."""', set()),
        ("used(x) + LENGTH", "used(\n        x\n    ) + LENGTH", set()),
        ("def plot", "def unused():\n    return 1\n\n\ndef plot", set()),
    ],
)
def test_what_is_in_reach_of_run_and_of_checks(digest, old, new, changes):
    assert old in EXPERIMENT
    changed = EXPERIMENT.replace(old, new)
    assert {root for root in ("run", "checks") if digest(root) != digest(root, changed)} == changes


def test_files_beside_the_experiment_count_where_they_are_reached(digest):
    assert digest(beside=BESIDE.replace("def other(x):\n    return x", "def other(x):\n    return 2 * x")) != digest()
    assert digest(beside=BESIDE.replace("def unused(x):\n    return x", "def unused(x):\n    return 2")) == digest()
    assert digest(beside=BESIDE + "print()\n") != digest(), "statements that run at import"


def test_the_package_is_followed_through_its_lazy_face(digest, monkeypatch, tmp_path):
    from sgdsde.experiment import reach

    package = tmp_path / "sgdsde"
    package.mkdir()
    monkeypatch.setattr(reach, "PACKAGE", package)
    reach._path.cache_clear()
    (package / "__init__.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from sgdsde.deep import simulate as simulate\n"
    )
    source = "from sgdsde import simulate\n\n\ndef run(config, key):\n    return simulate()\n"
    digests = []
    for number in (1, 2):
        (package / "deep.py").write_text(f"def simulate():\n    return {number}\n\n\ndef other():\n    return 3\n")
        digests.append(digest(experiment=source))
    reach._path.cache_clear()
    assert digests[0] != digests[1]
