"""Folders that are either wholly there or not there: written under a hidden name beside their place, then renamed.

A working folder is `.NAME.partial-RANDOM`, locked by the process that fills it. Replacing a folder moves the old one to
`.NAME.old-RANDOM`, moves the new one in, and deletes the old one. Whatever an interruption leaves behind is put right
by `recover`, which every reader and writer calls: an old folder whose place is empty goes back, anything else unlocked
is removed. Locks (flock) vanish with their process, however it ends.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # a system without flock: no locks, and nothing stale is ever removed
    fcntl = None


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: it holds either its former or its new content."""
    recover(path)
    partial = path.with_name(f".{path.name}.partial-{secrets.token_hex(4)}")
    try:
        with open(partial, "w", encoding="utf-8", newline="\n") as file:
            if fcntl:
                _try_lock(file.fileno())
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    fsync(path.parent)


def create_text(path: Path, text: str) -> bool:
    """Write a file atomically unless it is there; whether it was this call that made it."""
    partial = path.with_name(f".{path.name}.partial-{secrets.token_hex(4)}")
    try:
        with open(partial, "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(partial, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links: a lock of the caller keeps others out
            if path.exists():
                return False
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    fsync(path.parent)
    return True


@contextlib.contextmanager
def working_folder(target: Path) -> Iterator[Path]:
    """A new folder in which the content of `target` is prepared; `publish` moves it there, else it is removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    recover(target)
    work = target.with_name(f".{target.name}.partial-{secrets.token_hex(4)}")
    with renaming(target.parent):
        work.mkdir()
        descriptor = os.open(work, os.O_RDONLY) if fcntl else None
        if descriptor is not None:
            _try_lock(descriptor)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


@contextlib.contextmanager
def working_copy(folder: Path, target: Path) -> Iterator[Path]:
    """A working folder for `target` that begins with a copy of the files of `folder`."""
    with working_folder(target) as work:
        for file in folder.iterdir():
            if file.is_file():
                shutil.copyfile(file, work / file.name)
        yield work


def publish(work: Path, target: Path) -> None:
    """Put a finished working folder in the place of `target`, which may exist; never a mixture of both."""
    for file in sorted(work.iterdir()):
        fsync(file)
    fsync(work)
    with renaming(target.parent):
        _recover(target)
        old = target.with_name(f".{target.name}.old-{secrets.token_hex(4)}")
        if target.exists():
            os.rename(target, old)
        try:
            os.rename(work, target)
        except BaseException:
            if old.exists():
                os.rename(old, target)
            raise
        fsync(target.parent)
        shutil.rmtree(old, ignore_errors=True)


def recover(target: Path) -> None:
    """Undo what an interrupted process left beside `target`: a folder moved away, and unfinished folders."""
    if target.parent.is_dir() and any(target.parent.glob(f".{target.name}.*-*")):
        with renaming(target.parent):
            _recover(target)


def _recover(target: Path) -> None:
    for old in target.parent.glob(f".{target.name}.old-*"):
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.rename(old, target)
    for stale in target.parent.glob(f".{target.name}.partial-*"):
        if fcntl and not _is_locked(stale):
            shutil.rmtree(stale, ignore_errors=True) if stale.is_dir() else stale.unlink(missing_ok=True)


@contextlib.contextmanager
def renaming(folder: Path) -> Iterator[None]:
    """Only one process at a time renames within a folder."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks: the renames alone still exclude mixtures
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Whether this process is now the one that works in a folder; it is until the end of the block."""
    if fcntl is None:
        yield True
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield _try_lock(descriptor)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return True
    try:
        return not _try_lock(descriptor)
    finally:
        os.close(descriptor)


def fsync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
