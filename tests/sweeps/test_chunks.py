"""Chunks on disk: wholly there or not there, and damage is noticed; claims: one process a chunk."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sgdsde.sweeps import chunks
from sgdsde.sweeps.chunks import Part, claims, finished, is_worked_at, read_part, write_part

ROOT = Path(__file__).parents[2]


def part():
    arrays = {"a": np.arange(6.0).reshape(3, 2), "n": np.array([1, 2, 3], np.int32)}
    return Part(arrays, {1: "out of memory: µ"}, {"seconds": "1.5"})


def test_a_part_comes_back(tmp_path):
    file = write_part(tmp_path, 7, part())
    assert finished(tmp_path) == {7: file}
    found = read_part(file)
    assert found.failures == part().failures
    assert found.attributes == part().attributes
    for name, array in part().arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
        assert found.arrays[name].dtype == array.dtype
    assert chunks.attributes_of(file)["seconds"] == "1.5"


def test_each_flipped_byte_is_noticed(tmp_path):
    file = write_part(tmp_path, 0, part())
    content = file.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.choice(len(content), 100, replace=False):
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(8)
        file.write_bytes(damaged)
        assert read_part(file) is None
    file.write_bytes(content[:-1])
    assert read_part(file) is None
    file.write_bytes(content)
    assert read_part(file) is not None


@pytest.mark.parametrize("fault", ["write_arrays", "fsync", "replace"])
def test_a_fault_at_any_moment_leaves_nothing_behind(tmp_path, monkeypatch, fault):
    def broken(*arguments):
        raise OSError(28, "No space left on device")

    if fault == "replace":
        monkeypatch.setattr(os, "replace", broken)
    else:
        monkeypatch.setattr(chunks, fault, broken)
    with pytest.raises(OSError, match="No space"):
        write_part(tmp_path, 0, part())
    assert list(tmp_path.iterdir()) == []


def test_claims_exclude_other_processes_and_vanish_with_them(tmp_path):
    program = (
        "import sys\nfrom pathlib import Path\nfrom sgdsde.sweeps.chunks import claims\n"
        "with claims(Path(sys.argv[1])) as mine:\n"
        "    print(mine.take(0), mine.take(3), flush=True)\n    sys.stdin.read()"
    )
    with claims(tmp_path) as mine:
        assert mine.take(3)
        other = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        try:
            assert other.stdout.readline().split() == ["True", "False"]
            assert not mine.take(0)
            assert mine.take(1)
        finally:
            other.kill()
            other.communicate()
        assert mine.take(0), "a killed process holds nothing"
    assert is_worked_at(tmp_path, range(4)) == []
