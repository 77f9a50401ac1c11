"""What keeps checked code from doing harm by accident.

No input, no display, no network, no new processes, no writes outside a scratch folder.  These guards
live inside the process they guard: they stop accidents, not attackers.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["Guards", "Interrupted"]

OUTPUT_BYTES = 64 * 1024

_REFUSED_EVENTS = {
    "subprocess.Popen": "starting programs",
    "os.system": "starting programs",
    "os.exec": "starting programs",
    "os.posix_spawn": "starting programs",
    "os.fork": "starting processes",
    "os.forkpty": "starting processes",
    "os.kill": "sending signals",
    "os.killpg": "sending signals",
    "socket.connect": "the network",
    "socket.bind": "the network",
    "socket.getaddrinfo": "the network",
    "socket.gethostbyname": "the network",
}
_WRITING_EVENTS = {
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.truncate",
    "os.chmod",
    "os.chown",
    "os.link",
    "os.symlink",
    "os.utime",
    "shutil.rmtree",
    "shutil.move",
}


class Interrupted(BaseException):
    """Ends checked code; not an Exception, so that the code's own handlers let it through."""


class Output(io.StringIO):
    """Keeps the first part of what is printed and counts the rest."""

    def write(self, text: str) -> int:
        if self.tell() < OUTPUT_BYTES:
            super().write(text[:OUTPUT_BYTES])
        return len(text)

    @property
    def buffer(self) -> Any:
        """Bytes written to ``sys.stdout.buffer`` are dropped."""
        return io.BytesIO()


class _NoInput(io.StringIO):
    def _refuse(self, *_: object) -> Any:
        raise Interrupted("waits for input")

    read = readline = readlines = __next__ = _refuse


class Guards:
    """Guards for one process.

    Parameters
    ----------
    scratch : Path
        The only folder checked code may write to; files it writes elsewhere land there instead.
    redirect : function of str to str or None, optional
        Where to find a file that is not there: stand-ins for data sets.
    """

    def __init__(self, scratch: Path, redirect: Callable[[str], str | None] | None = None) -> None:
        self._scratch = scratch.resolve()
        self._redirect = redirect or (lambda path: None)
        self._active = False
        self._open = builtins.open
        self.output = Output()
        sys.addaudithook(self._audit)

    @contextlib.contextmanager
    def confined(self, seconds: float) -> Iterator[None]:
        """Run checked code: captured, without input, and for so many seconds at most."""
        self.output = Output()
        saved = (sys.stdout, sys.stderr, sys.stdin, builtins.input, sys.argv, time.sleep, os._exit, os.getcwd())
        sys.stdout = sys.stderr = self.output
        sys.stdin = _NoInput()
        builtins.input = _NoInput().read
        builtins.open = io.open = self._guarded_open
        makers = {name: getattr(os, name) for name in ("mkdir", "makedirs")}
        os.mkdir = self._guarded_mkdir
        os.makedirs = self._guarded_makedirs
        time.sleep = lambda _seconds: None
        os._exit = _refuse_exit
        self._active = True
        alarm = _alarm(seconds)
        try:
            with alarm, self._readers():
                yield
        finally:
            self._active = False
            (sys.stdout, sys.stderr, sys.stdin, builtins.input, sys.argv, time.sleep, os._exit, folder) = saved
            builtins.open = io.open = self._open
            for name, function in makers.items():
                setattr(os, name, function)
            if os.getcwd() != folder:
                os.chdir(folder)

    # -- files -----------------------------------------------------------------------------------------

    def place(self, path: str) -> Path:
        """Where a file written by checked code lands."""
        full = Path(path).resolve()
        if self._scratch in (full, *full.parents):
            return full
        return self._scratch / "written" / str(full).lstrip("/").replace(":", "")

    def _guarded_open(self, file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if isinstance(file, (str, bytes, os.PathLike)):
            path = os.fsdecode(os.fspath(file))
            if set(mode) & set("wax+"):
                target = self.place(path)
                if path != os.devnull:
                    self._quietly(target.parent.mkdir, parents=True, exist_ok=True)
                    file = str(target)
            elif not os.path.exists(path):
                written = self.place(path)
                file = str(written) if written.exists() else self._redirect(path) or file
        return self._open(file, mode, *args, **kwargs)

    @contextlib.contextmanager
    def _readers(self) -> Iterator[None]:
        """Numpy's text readers open files by themselves: give them the stand-in's path."""
        import numpy as np

        saved = {name: getattr(np, name) for name in ("loadtxt", "genfromtxt", "load")}

        def redirected(function: Callable[..., Any]) -> Callable[..., Any]:
            def read(file: Any, *args: Any, **kwargs: Any) -> Any:
                if isinstance(file, (str, os.PathLike)) and not os.path.exists(file):
                    written = self.place(os.fspath(file))
                    file = str(written) if written.exists() else self._redirect(os.fspath(file)) or file
                return function(file, *args, **kwargs)

            return read

        for name, function in saved.items():
            setattr(np, name, redirected(function))
        try:
            yield
        finally:
            for name, function in saved.items():
                setattr(np, name, function)

    def _guarded_mkdir(self, path: Any, *args: Any, **kwargs: Any) -> None:
        self._quietly(self.place(os.fsdecode(path)).mkdir, parents=True, exist_ok=True)

    def _guarded_makedirs(self, name: Any, *args: Any, **kwargs: Any) -> None:
        self._guarded_mkdir(name)

    def _quietly(self, action: Callable[..., Any], **kwargs: Any) -> None:
        active, self._active = self._active, False
        try:
            with self._own_mkdir():
                action(**kwargs)
        finally:
            self._active = active

    @contextlib.contextmanager
    def _own_mkdir(self) -> Iterator[None]:
        guarded, os.mkdir = os.mkdir, _MKDIR
        try:
            yield
        finally:
            os.mkdir = guarded

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._active:
            return
        if event in _REFUSED_EVENTS:
            raise PermissionError(f"backprop-doctor: {_REFUSED_EVENTS[event]} is refused while a program is checked")
        if event == "open":
            path, _, flags = arguments
            if (
                isinstance(path, (str, bytes))
                and isinstance(flags, int)
                and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            ):
                self._refuse_outside(os.fsdecode(path))
        elif event in _WRITING_EVENTS:
            for argument in arguments:
                if isinstance(argument, (str, bytes)):
                    self._refuse_outside(os.fsdecode(argument))

    def _refuse_outside(self, path: str) -> None:
        full = Path(os.path.realpath(path))
        if path != os.devnull and self._scratch not in (full, *full.parents):
            raise PermissionError(f"backprop-doctor: writing to {path} is refused while a program is checked")


_MKDIR = os.mkdir


def _refuse_exit(status: int) -> Any:
    raise Interrupted("ends the interpreter with os._exit")


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Interrupt checked code after so many seconds, again and again if it swallows that."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def ring(_number: int, _frame: object) -> None:
        raise Interrupted(f"runs longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.05)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
