"""What keeps checked code from doing harm by accident.

No input, no network, no new processes, no writes outside a scratch folder.  What a program writes, renames or
removes lands in an overlay: the program sees the change, the user's files do not.  Whatever comes past the
overlay is refused.  These guards live inside the process they guard: they stop accidents, not attackers.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import faulthandler
import io
import os
import shutil
import signal
import sys
import tempfile
import time
from _thread import get_ident
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Guards", "Interrupted", "Note", "replaced", "watch"]

OUTPUT_CHARACTERS = 64 * 1024
RING_SECONDS = 0.05
# How long code may go on after it has been interrupted: it may swallow that, or not come to hear of it.
GRACE_SECONDS = 1.0

REFUSED = {
    "subprocess.Popen": "starting other programs",
    "os.system": "starting other programs",
    "os.exec": "starting other programs",
    "os.posix_spawn": "starting other programs",
    "os.spawn": "starting other programs",
    "os.startfile": "starting other programs",
    "_winapi.CreateProcess": "starting other programs",
    "os.fork": "starting processes",
    "os.forkpty": "starting processes",
    "pty.spawn": "starting processes",
    "os.kill": "sending signals",
    "os.killpg": "sending signals",
    "socket.connect": "the network",
    "socket.bind": "the network",
    "socket.sendto": "the network",
    "socket.sendmsg": "the network",
    "socket.getaddrinfo": "the network",
    "socket.gethostbyname": "the network",
    "socket.gethostbyaddr": "the network",
}
WRITING = frozenset(
    {"os.chflags", "os.chmod", "os.chown", "os.link", "os.lockf", "os.mkdir", "os.remove", "os.removexattr",
     "os.rename", "os.rmdir", "os.setxattr", "os.symlink", "os.truncate", "os.utime", "shutil.move", "shutil.rmtree",
     "sqlite3.connect"}
)  # fmt: skip
WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

# The functions as they are before any of them is replaced.
_OWN = SimpleNamespace(
    **{name: getattr(os, name) for name in ("chdir", "listdir", "mkdir", "open", "rmdir", "scandir", "stat", "unlink")},
    io_open=io.open,
)
_REMOVING = ("remove", "unlink", "rmdir", "removedirs")
_CHANGING = ("chflags", "chmod", "chown", "lchmod", "lchown", "truncate", "utime", "setxattr", "removexattr")

_confining: Guards | None = None
_hooked = False
_watched: tuple[int, float] | None = None


class Interrupted(BaseException):
    """Ends checked code; not an Exception, so that the code's own handlers let it through."""


class Note(NamedTuple):
    """Something a program did that explains why it does not train, and the line and file it came from."""

    what: str
    line: int
    name: str = ""


def watch(descriptor: int, deadline: float) -> None:
    """Leave a traceback should the interpreter crash, or should checked code still be running at the deadline.

    Parameters
    ----------
    descriptor : int
        An open file.
    deadline : float
        In seconds of `time.monotonic`.
    """
    global _watched
    faulthandler.enable(file=descriptor, all_threads=False)
    _watched = descriptor, deadline


@contextlib.contextmanager
def replaced(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    """Give attributes (owner, name) another value while the context lasts, where the owner has them."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in changes if hasattr(owner, name)]
    for owner, name, value in changes:
        if hasattr(owner, name):
            setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in reversed(before):
            setattr(owner, name, value)


class Output(io.StringIO):
    """Keeps the first part of what is printed, and the last piece."""

    last = ""
    encoding = "utf-8"
    _room = OUTPUT_CHARACTERS

    def write(self, text: str) -> int:
        # Programs print in their innermost loops.
        if text.strip():
            self.last = text[-OUTPUT_CHARACTERS:]
        if self._room > 0:
            self._room -= len(text)
            super().write(text[:OUTPUT_CHARACTERS])
        return len(text)

    def reconfigure(self, **_: Any) -> None:
        """Accept what a terminal would."""

    @property
    def buffer(self) -> Any:
        """Bytes written to ``sys.stdout.buffer`` are dropped."""
        return io.BytesIO()


class Overlay:
    """The files as the program sees them: its own writing, then the user's files, then stand-ins.

    Parameters
    ----------
    scratch : Path
        The only folder checked code may write to.
    redirect : function of str to str or None
        Where to read a file instead: stand-ins for data sets.
    """

    def __init__(self, scratch: Path, redirect: Callable[[str], str | None]) -> None:
        self._scratch = os.path.realpath(scratch)
        self._redirect = redirect
        self._gone: set[str] = set()
        self._looking = False

    @property
    def _written(self) -> str:
        # Of a process that was forked off, what it writes is its own.
        return os.path.join(self._scratch, f"written-{os.getpid()}")

    def forget(self) -> None:
        """Begin afresh: every run finds the files as the user left them."""
        self._gone.clear()
        if _is_present(self._written):
            _remove_tree(self._written)

    def owns(self, path: str) -> bool:
        """Whether checked code may change this path."""
        return os.path.realpath(path).startswith(self._scratch + os.sep) or path == os.devnull

    def place(self, path: Any) -> str:
        """Where a file written by checked code lands."""
        full = os.path.realpath(os.fsdecode(path))
        if full == os.devnull or full == self._scratch or full.startswith(self._scratch + os.sep):
            return full
        return os.path.join(self._written, full.lstrip("/\\").replace(":", ""))

    def seen(self, path: Any) -> str:
        """Where a file is read.

        Raises
        ------
        FileNotFoundError
            If the program has removed it.
        """
        name, target = os.fsdecode(path), self.place(path)
        full = os.path.realpath(name)
        if target == full or _is_present(target):
            return target
        if any(full == gone or full.startswith(gone + os.sep) for gone in self._gone):
            raise _missing(name)
        if self._looking or full.startswith(_OWN_FOLDER):  # the stand-ins look for files themselves
            return name
        self._looking = True
        try:
            return self._redirect(name) or name
        finally:
            self._looking = False

    def writable(self, path: Any, *, keep: bool) -> str:
        """Where to write a file; with what it holds so far if that is to be kept."""
        target = self.place(path)
        self._make_folder(os.path.dirname(target))
        if keep and not _is_present(target):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(self.seen(path), target)
        return target

    def changes(self) -> Iterator[tuple[Any, str, Any]]:
        """What to replace so that a program works on the overlay."""
        for owner in (builtins, io):
            yield owner, "open", self._open
        yield os, "open", self._open_low
        for name in ("stat", "chdir", "scandir"):
            yield os, name, self._reading(getattr(_OWN, name))
        yield os, "listdir", self._listdir
        for name in ("mkdir", "makedirs"):
            yield os, name, self._mkdir
        for name in (*_REMOVING, *_CHANGING):
            if hasattr(os, name):
                yield os, name, self._changing(getattr(os, name), removes=name in _REMOVING)
        for name in ("rename", "replace", "renames", "link", "symlink"):
            yield os, name, self._transfer_keeping if "link" in name else self._transfer
        yield shutil, "move", self._transfer
        yield shutil, "rmtree", self._changing(_remove_tree, removes=True)
        # Numpy's text functions open files by themselves.
        for name in ("loadtxt", "genfromtxt", "load"):
            yield np, name, self._reading(getattr(np, name))
        yield np, "savetxt", self._savetxt(np.savetxt)

    def _open(self, file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if isinstance(file, (str, bytes, os.PathLike)):
            writes = set(mode) & set("wax+")
            file = self.writable(file, keep=not set(mode) & set("wx")) if writes else self.seen(file)
        return _OWN.io_open(file, mode, *args, **kwargs)

    def _open_low(self, path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if isinstance(path, (str, bytes, os.PathLike)) and "dir_fd" not in kwargs:
            path = self.writable(path, keep=not flags & os.O_TRUNC) if flags & WRITE_FLAGS else self.seen(path)
        return int(_OWN.open(path, flags, *args, **kwargs))

    def _reading(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def read(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
            if isinstance(path, (str, bytes, os.PathLike)) and kwargs.get("dir_fd") is None:
                found = self.seen(path)
                path = path if found == os.fsdecode(path) else found
            return function(path, *args, **kwargs)

        return read

    def _savetxt(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def save(fname: Any, *args: Any, **kwargs: Any) -> Any:
            is_path = isinstance(fname, (str, os.PathLike))
            return function(self.writable(fname, keep=False) if is_path else fname, *args, **kwargs)

        return save

    def _listdir(self, path: Any = ".") -> list[Any]:
        if not isinstance(path, (str, os.PathLike)):
            return list(_OWN.listdir(path))
        folder = os.path.realpath(path)
        names: list[str] = []
        for place in {self.seen(path), folder}:
            with contextlib.suppress(FileNotFoundError):
                names += _OWN.listdir(place)
        if not names and not _is_present(self.seen(path)):
            raise _missing(os.fsdecode(path))
        return [name for name in dict.fromkeys(names) if os.path.join(folder, name) not in self._gone]

    def _mkdir(self, path: Any, *_: Any, **__: Any) -> None:
        self._make_folder(self.place(path))

    def _make_folder(self, path: str) -> None:
        if not _is_present(path):
            self._make_folder(os.path.dirname(path))
            _OWN.mkdir(path)

    def _changing(self, function: Callable[..., Any], *, removes: bool) -> Callable[..., Any]:
        def change(path: Any, *args: Any, **kwargs: Any) -> Any:
            if not isinstance(path, (str, bytes, os.PathLike)) or kwargs.get("dir_fd") is not None:
                return function(path, *args, **kwargs)
            found = self.seen(path)
            if not _is_present(found):
                raise _missing(os.fsdecode(path))
            if removes:
                self._gone.add(os.path.realpath(os.fsdecode(path)))
            return function(found, *args, **kwargs) if self.owns(found) else None

        return change

    def _transfer(self, src: Any, dst: Any, *_: Any, keep: bool = False, **__: Any) -> str:
        source, target = self.seen(src), os.fsdecode(dst)
        if os.path.isdir(target):
            target = os.path.join(target, os.path.basename(os.fsdecode(src).rstrip("/\\")))
        if os.path.isdir(source):
            shutil.copytree(source, self.writable(target, keep=False), dirs_exist_ok=True)
        else:
            shutil.copyfile(source, self.writable(target, keep=False))
        if not keep:
            (shutil.rmtree if os.path.isdir(source) else os.remove)(os.fsdecode(src))
        return os.fsdecode(dst)

    def _transfer_keeping(self, src: Any, dst: Any, *_: Any, **__: Any) -> None:
        self._transfer(src, dst, keep=True)


_OWN_FOLDER = os.path.dirname(os.path.realpath(__file__)) + os.sep


class Guards:
    """Guards for one process.

    Parameters
    ----------
    scratch : Path
        The only folder checked code may write to; files it writes elsewhere land there instead.
    redirect : function of str to str or None, optional
        Where to read a file instead: stand-ins for data sets.
    program : str, optional
        Path of the checked program; without it, lines are not known.

    Attributes
    ----------
    notes : list of Note
        What the program did in its latest run that may explain why it does not train.
    output : Output
        What it printed.
    """

    def __init__(
        self, scratch: Path, redirect: Callable[[str], str | None] = lambda path: None, program: str = ""
    ) -> None:
        global _hooked
        self.output = Output()
        self.notes: list[Note] = []
        self._program = program
        places = {os.path.dirname(program), os.path.dirname(os.path.realpath(program))}
        self._folders = tuple(place + os.sep for place in places if place)
        self._overlay = Overlay(scratch, redirect)
        self._scratch = scratch
        self._main = get_ident()
        self._trusted = {self._main}
        # Numpy remembers the opener it finds at first use: let that be the real one.
        np.lib.npyio.DataSource().open(os.devnull).close()
        if not _hooked:
            sys.addaudithook(_audit)  # for good: there is no way to take it back
            _hooked = True

    def close(self) -> None:
        """End the guard over threads that checked code has left behind."""
        global _confining
        _confining = None

    @contextlib.contextmanager
    def confined(self, seconds: float) -> Iterator[None]:
        """Run checked code: captured, without input, and for so many seconds at most."""
        global _confining
        self.output, self.notes = Output(), []
        self._overlay.forget()
        folder, argv = os.getcwd(), sys.argv
        _confining = self
        try:
            with replaced(*self._changes(), *self._overlay.changes()), self._alarm(seconds):
                self._trusted.discard(self._main)
                try:
                    yield
                finally:
                    self._trusted.add(self._main)
        finally:
            sys.argv = argv
            if os.getcwd() != folder:
                os.chdir(folder)

    def _changes(self) -> Iterator[tuple[Any, str, Any]]:
        no_input = _NoInput(self)
        yield sys, "stdout", self.output
        yield sys, "stderr", self.output
        yield sys, "stdin", no_input
        yield builtins, "input", no_input.read
        for owner, name in ((sys, "exit"), (builtins, "exit"), (builtins, "quit")):
            yield owner, name, self._exit
        yield os, "_exit", self._exit_at_once
        yield time, "sleep", self._sleep
        yield tempfile, "tempdir", str(self._scratch)
        # Processes are started below the audit events too.
        yield sys.modules.get("_posixsubprocess"), "fork_exec", self._start_process

    # -- what is noted -----------------------------------------------------------------------------------

    def note(self, what: str) -> None:
        """Remember something the program does, and at which of its lines."""
        frame: FrameType | None = sys._getframe()
        while frame is not None and not self._is_users(frame):
            frame = frame.f_back
        self.notes.append(Note(what, frame.f_lineno, frame.f_code.co_filename) if frame else Note(what, 0))

    def _is_users(self, frame: FrameType) -> bool:
        """Whether this is code of the program: of its file, of a cell, or of a module beside it."""
        name = frame.f_code.co_filename
        if name.partition(":cell ")[0] == self._program:
            return True
        return bool(self._program) and name.startswith(self._folders) and "site-packages" not in name

    def interrupt(self, what: str) -> Any:
        """End the run, and remember why: the program may swallow the exception."""
        self.note(what)
        raise Interrupted(what)

    def _exit(self, status: Any = None) -> None:
        said = status if isinstance(status, str) else self.output.last.strip().rpartition("\n")[2] if status else ""
        self.note(f"exits before it trains{f' and says: {said}' if said else ''}")
        raise SystemExit(status)

    def _exit_at_once(self, status: int) -> Any:
        self.interrupt("ends the interpreter with os._exit before it trains")

    def _sleep(self, seconds: float) -> None:
        # Nobody waits in a check; a thread that does only watches, and would be there in the next run still.
        if get_ident() != self._main:
            raise SystemExit

    def _start_process(self, *_: Any) -> Any:
        self._refuse("starting processes is")

    def _refuse(self, what: str) -> None:
        self.note(f"{what} refused while it is checked")
        raise PermissionError(errno.EPERM, f"{what} refused while a program is checked")

    def judge(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Refuse what checked code must not do.

        Raises
        ------
        PermissionError
            If it must not.
        """
        if get_ident() in self._trusted:
            return
        if event in REFUSED:
            self._refuse(f"{REFUSED[event]} is")
        elif event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & WRITE_FLAGS and not isinstance(path, int):
                self._refuse_outside(path)
        elif event in WRITING:
            paths = [argument for argument in arguments[:2] if isinstance(argument, (str, bytes))]
            if not paths:
                self._refuse("changing open files is")
            for path in paths:
                self._refuse_outside(path)

    def _refuse_outside(self, path: Any) -> None:
        name = os.fsdecode(path)
        if name != ":memory:" and not self._overlay.owns(name):
            self._refuse(f"writing to {name} is")

    # -- time --------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _alarm(self, seconds: float) -> Iterator[None]:
        """Interrupt checked code after so many seconds, again and again if it swallows that."""

        def ring(_number: int, frame: FrameType | None) -> None:
            while frame is not None and self._program and not self._is_users(frame):
                frame = frame.f_back
            if frame is not None:
                raise Interrupted(f"runs longer than {seconds:g} s")

        if _watched:
            descriptor, deadline = _watched
            left = min(seconds + GRACE_SECONDS, deadline - time.monotonic())
            faulthandler.dump_traceback_later(max(left, 0.01), exit=True, file=descriptor)
        before = signal.signal(signal.SIGALRM, ring) if hasattr(signal, "setitimer") else None
        if before is not None:
            signal.setitimer(signal.ITIMER_REAL, seconds, RING_SECONDS)
        try:
            yield
        finally:
            if before is not None:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)
            if _watched:
                faulthandler.cancel_dump_traceback_later()


class _NoInput(io.StringIO):
    def __init__(self, guards: Guards) -> None:
        super().__init__()
        self._guards = guards

    def _refuse(self, *_: object) -> Any:
        self._guards.interrupt("waits for input")

    read = readline = readlines = __next__ = _refuse


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _confining is not None:
        _confining.judge(event, arguments)


def _is_present(path: str) -> bool:
    try:
        _OWN.stat(path)
    except OSError:
        return False
    return True


def _remove_tree(path: str, *_: Any, **__: Any) -> None:
    # By whole paths, which the audit hook can judge; shutil.rmtree goes by descriptors.
    for entry in list(_OWN.scandir(path)):
        (_remove_tree if entry.is_dir(follow_symlinks=False) else _OWN.unlink)(entry.path)
    _OWN.rmdir(path)


def _missing(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
