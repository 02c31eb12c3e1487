"""Folders are replaced wholly or not at all, wherever the process is killed."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sgdsde.experiment import files

ROOT = Path(__file__).parents[2]

# Replaces a folder of two files, and dies (as by kill -9) at the n-th call of a function that touches the disk.
KILLED = """
import os, sys
from pathlib import Path
from sgdsde.experiment import files

kill_at, count = int(sys.argv[1]), 0

def dying(function):
    def call(*arguments, **keywords):
        global count
        count += 1
        if count == kill_at:
            os._exit(9)
        return function(*arguments, **keywords)
    return call

for name in ("fsync", "rename", "open", "mkdir", "rmdir", "unlink"):
    setattr(os, name, dying(getattr(os, name)))
target = Path("parent/target")
with files.working_folder(target) as work:
    for name in ("a", "b"):
        (work / name).write_text("new")
    files.publish(work, target)
os._exit(0)
"""


def content(folder):
    return {file.name: file.read_text() for file in folder.iterdir()}


def replace(target):
    with files.working_folder(target) as work:
        (work / "a").write_text("new")
        files.publish(work, target)


def old_target(tmp_path):
    target = tmp_path / "parent" / "target"
    target.mkdir(parents=True)
    for name in ("a", "b"):
        (target / name).write_text("old")
    return target


def test_killed_anywhere_leaves_old_or_new(tmp_path):
    outcomes = []
    for kill_at in range(1, 100):
        place = tmp_path / str(kill_at)
        target = old_target(place)
        command = [sys.executable, "-c", KILLED, str(kill_at)]
        code = subprocess.run(command, cwd=place, env=os.environ | {"PYTHONPATH": str(ROOT)}).returncode
        files.recover(target)
        assert content(target) in ({"a": "old", "b": "old"}, {"a": "new", "b": "new"})
        assert [path.name for path in target.parent.iterdir()] == ["target"], "no stray files"
        outcomes.append(content(target)["a"])
        if code == 0:
            break
    assert code == 0, "the last run was not killed"
    assert len(outcomes) > 8, "it was killed at many places"
    assert outcomes == sorted(outcomes, reverse=True), "old up to some point, new from there on"


def test_an_exception_between_the_renames_puts_the_old_folder_back(tmp_path, monkeypatch):
    target = old_target(tmp_path)
    rename, calls = os.rename, []

    def failing(source, destination):
        calls.append(source)
        if len(calls) == 2:
            raise OSError(errno.EIO, "injected")
        rename(source, destination)

    monkeypatch.setattr(files.os, "rename", failing)
    with pytest.raises(OSError, match="injected"):
        replace(target)
    assert content(target) == {"a": "old", "b": "old"}
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_a_full_disk_leaves_the_old_folder(tmp_path, monkeypatch):
    target = old_target(tmp_path)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace(target)
    with pytest.raises(OSError, match="No space left"):
        files.write_text(target / "a", "new")
    assert content(target) == {"a": "old", "b": "old"}
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_a_folder_in_use_is_left_alone(tmp_path):
    target = tmp_path / "target"
    with files.working_folder(target) as mine, files.working_folder(target) as other:
        (mine / "a").write_text("mine")
        (other / "a").write_text("other")
        files.recover(target)
        assert mine.exists()
        assert other.exists()
        files.publish(mine, target)
        files.publish(other, target)
    assert content(target) == {"a": "other"}, "the last rename wins"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_many_processes_on_one_folder_never_mix(tmp_path):
    program = """
import sys
from pathlib import Path
from sgdsde.experiment import files
target = Path("target")
for turn in range(20):
    with files.working_folder(target) as work:
        for name in ("a", "b"):
            (work / name).write_text(f"{sys.argv[1]} {turn}")
        files.publish(work, target)
    files.recover(target)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    workers = [
        subprocess.Popen([sys.executable, "-c", program, str(index)], cwd=tmp_path, env=environment)
        for index in range(4)
    ]
    assert [worker.wait() for worker in workers] == [0] * 4
    found = content(tmp_path / "target")
    assert found["a"] == found["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_write_text_replaces(tmp_path):
    files.write_text(tmp_path / "page", "one")
    files.write_text(tmp_path / "page", "two\n")
    assert (tmp_path / "page").read_bytes() == b"two\n"
    assert [path.name for path in tmp_path.iterdir()] == ["page"]


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_is_created_once(tmp_path, monkeypatch, has_links):
    def refuse(*arguments):
        raise PermissionError(1, "Operation not permitted")

    if not has_links:
        monkeypatch.setattr(os, "link", refuse)
    assert files.create_text(tmp_path / "plan", "first")
    assert not files.create_text(tmp_path / "plan", "second")
    assert (tmp_path / "plan").read_text() == "first"
    assert [file.name for file in tmp_path.iterdir()] == ["plan"]
