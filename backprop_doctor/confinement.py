"""The surroundings of checked code: guards and stand-ins, entered together around each run."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from backprop_doctor.guards import Guards
from backprop_doctor.standins import StandIns

__all__ = ["Confinement", "for_path"]


@dataclass
class Confinement:
    """Call with (train, test) for the context of one run."""

    guards: Guards
    stand_ins: StandIns
    path: str

    def __call__(self, train: int, test: int, seconds: float) -> AbstractContextManager[None]:
        """Enter the surroundings for one run, with so many images in the stand-ins."""
        return self._entered(train, test, seconds)

    @contextlib.contextmanager
    def _entered(self, train: int, test: int, seconds: float) -> Iterator[None]:
        with self.stand_ins.serving(train, test), self.guards.confined(seconds):
            sys.argv = [self.path]
            yield


@contextlib.contextmanager
def for_path(
    path: str,
) -> Iterator[Confinement]:
    """Confinement for the program at ``path``, which runs in its own folder."""
    os.environ.update(MPLBACKEND="Agg", TF_CPP_MIN_LOG_LEVEL="3")
    os.environ.pop("DISPLAY", None)
    sys.dont_write_bytecode = True
    folder = Path(path).resolve().parent
    before = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="backprop-doctor-") as scratch:
        stand_ins = StandIns(Path(scratch))
        guards = Guards(Path(scratch), stand_ins.file_for)
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        try:
            yield Confinement(guards, stand_ins, path)
        finally:
            stand_ins.withdraw()
            os.chdir(before)
            sys.path.remove(str(folder))
