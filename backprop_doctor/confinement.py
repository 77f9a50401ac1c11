"""The surroundings of checked code: guards and stand-ins, entered together around each run.

They also know best why a program did not come to training, and say so in one sentence.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backprop_doctor.errors import CannotCheckError
from backprop_doctor.guards import Guards, Note
from backprop_doctor.program import RECORD_BYTES, Probe, Program, Trace
from backprop_doctor.source import Project, open_project
from backprop_doctor.standins import StandIns, where_from

__all__ = ["Confinement", "for_path", "reason", "run"]

MESSAGE_CHARACTERS = 300
PYTHON_2 = re.compile(
    r"name '(xrange|raw_input|unicode|unichr|long|basestring|reload|file|execfile|reduce)' is not defined"
    r"|No module named '(cPickle|cStringIO|StringIO|urllib2|urlparse|Tkinter|ConfigParser|Queue|__builtin__)'"
    r"|has no attribute '(iteritems|itervalues|iterkeys|has_key|urlretrieve)'"
)
MISSING = re.compile(r"ModuleNotFoundError: No module named '(\w+)'")
ADVICE = {
    "waits for input": "write the value into the program, or run a part of it with --call",
    "the network is refused": "have the data in a file beside the program",
    "starting processes is refused": "let it train in its own process",
    "starting other programs is refused": "do that by hand before the check",
}
TRAINS = ("train", "fit", "learn", "main", "run", "network", "model", "descent", "optimi")


@dataclass
class Confinement:
    """Call with (train, test) for the context of one run."""

    guards: Guards
    stand_ins: StandIns
    path: str
    arguments: tuple[str, ...] = ()

    def __call__(self, train: int, test: int, seconds: float) -> AbstractContextManager[None]:
        """Enter the surroundings for one run, with so many images in the stand-ins."""
        return self._entered(train, test, seconds)

    @contextlib.contextmanager
    def _entered(self, train: int, test: int, seconds: float) -> Iterator[None]:
        before = sys.path[:]
        sys.path.insert(0, str(Path(self.path).resolve().parent))
        try:
            with self.stand_ins.serving(train, test), self.guards.confined(seconds):
                sys.argv = [self.path, *self.arguments]
                yield
        finally:
            sys.path[:] = before


@contextlib.contextmanager
def for_path(path: str, arguments: Sequence[str] = ()) -> Iterator[Confinement]:
    """Confinement for the program at ``path``, which runs in its own folder; ``arguments`` go to ``sys.argv``."""
    os.environ.update(MPLBACKEND="Agg", TF_CPP_MIN_LOG_LEVEL="3")
    os.environ.pop("DISPLAY", None)
    sys.dont_write_bytecode = True
    folder = Path(path).resolve().parent
    before = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="backprop-doctor-", ignore_cleanup_errors=True) as scratch:
        stand_ins = StandIns(Path(scratch), folder, _helpers(path))
        guards = Guards(Path(scratch), stand_ins.file_for, path)
        os.chdir(folder)
        try:
            yield Confinement(guards, stand_ins, path, tuple(arguments))
        finally:
            guards.close()
            stand_ins.withdraw()
            os.chdir(before)


def _helpers(path: str) -> frozenset[str]:
    """Modules that a notebook imports as a matter of course: courses give them away apart from it."""
    if Path(path).suffix.lower() != ".ipynb":
        return frozenset()
    try:
        statements = [statement for part in open_project(path).main for statement in part.tree.body]
    except CannotCheckError:
        return frozenset()
    names = [alias.name for node in statements if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in statements if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return frozenset(name.partition(".")[0] for name in names)


def run(program: Program, probe: Probe) -> tuple[Trace, Sequence[Note]]:
    """Execute a program, and say what it did; once more where a stand-in was not enough, or another may do."""
    surroundings = program.surroundings
    if not isinstance(surroundings, Confinement):
        return program.run(probe), ()
    while True:
        withdrawn = len(surroundings.stand_ins.withdrawn)
        trace = program.run(probe)
        lacking = MISSING.match(trace.ended)
        again = lacking is not None and surroundings.stand_ins.retried(lacking[1], _raised(program, trace))
        if trace.ended.startswith("IndexError: list index out of range") and not surroundings.arguments:
            surroundings.arguments = made_up_words(program.source)
            again = bool(surroundings.arguments)
            if again:
                words = " ".join(surroundings.arguments)
                surroundings.stand_ins.used.append(
                    f"{words} on the command line was made up; --args gives something else"
                )
        if len(surroundings.stand_ins.withdrawn) == withdrawn and not again:
            return trace, surroundings.guards.notes


def made_up_words(source: Project) -> tuple[str, ...]:
    """What a program may want in ``sys.argv``: the texts it compares with, or numbers where it makes numbers of them.

    Nothing, if there is something of which neither can be said.
    """
    wanted: dict[int, str] = {}
    words: dict[str, Any] = {}
    for node in (node for part in source.sources for node in ast.walk(part.tree)):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) in ("sys.argv", "argv"):
            if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, int) and node.slice.value > 0:
                wanted[node.slice.value] = ast.unparse(node)
        elif isinstance(node, ast.Compare) and isinstance(node.comparators[0], ast.Constant):
            words.setdefault(_text(node.left), node.comparators[0].value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            number = {"int": "16", "float": "0.1"}.get(node.func.id)
            if number is not None:
                words.setdefault(_text(node.args[0]), number)
    found = [words.get(wanted.get(place, "")) for place in range(1, max(wanted, default=0) + 1)]
    return tuple(map(str, found)) if all(isinstance(word, str) for word in found) else ()


def _text(node: ast.expr) -> str:
    return ast.unparse(node) if isinstance(node, ast.Subscript) else ""


def reason(program: Program, trace: Trace, notes: Sequence[Note], lack: str) -> str:
    """Why a run shows no training, in one sentence that says where and what to do.

    Parameters
    ----------
    program : Program
        What was run.
    trace : Trace
        What was recorded.
    notes : sequence of Note
        What else the program did.
    lack : str
        What was looked for in vain.
    """
    if trace.failed:
        place, sentence = _failed(program, trace, notes)
        used = getattr(getattr(program.surroundings, "stand_ins", None), "used", ())
        if used and not trace.ended.startswith("Interrupted"):
            sentence += f" ({'; '.join(used)})"
    else:
        place, sentence = _untrained(program, trace, notes) or (program.source.path, lack)
        missing = getattr(getattr(program.surroundings, "stand_ins", None), "admitted", {})
        if trace.ended == "finished" and sentence == lack and missing:
            name, place = next(iter(missing.items()))
            sentence = f"the program needs {name}, which is not there: {where_from(name)}"
        if trace.ended == "stopped" and sentence == lack:
            site = next((program.sites[e.site] for e in reversed(trace.events) if e.object == -1), None)
            place = f"{site.source.name}:{site.line}" if site else place
            size = f", which take more than {RECORD_BYTES // 10**6} MB," if trace.full else ""
            sentence = f"{lack}; after {len(trace.events):,} values{size} the program was still in this loop"
    return f"{place}: {sentence}"


def _untrained(program: Program, trace: Trace, notes: Sequence[Note]) -> tuple[str, str] | None:
    """What a program did instead of training that ended without an error, and where."""
    path = program.source.path
    if notes:
        return _place(notes[-1], path), _advised(f"the program {notes[-1].what}")
    tree = ast.Module([statement for source in program.source.main for statement in source.tree.body], [])
    if not tree.body:
        return path, "the file is empty: there is nothing to check"
    defined = list(_defined(tree))
    if defined and all(event.object != -1 for event in trace.events):
        names = ", ".join(name for name, _ in defined[:6]) + (" and more" if len(defined) > 6 else "")
        trains = (call for name, call in reversed(defined) if any(word in name.lower() for word in TRAINS))
        call = next(trains, defined[-1][1])
        return path, f'the program defines {names} but runs no loop: say what to run, as in --call "{call}"'
    return None


def _defined(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Functions and methods of a module, and how each would be called."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, f"{node.name}({_arguments(node)})"
        elif isinstance(node, ast.ClassDef):
            methods = {method.name: method for method in node.body if isinstance(method, ast.FunctionDef)}
            made = f"{node.name}({_arguments(methods['__init__']) if '__init__' in methods else ''})"
            yield node.name, made
            for name, method in methods.items():
                if not name.startswith("_"):
                    yield f"{node.name}.{name}", f"{made}.{name}({_arguments(method)})"


def _arguments(function: ast.FunctionDef) -> str:
    names = [argument.arg for argument in function.args.args]
    return ", ".join(name for name in names if name not in ("self", "cls"))


def _place(note: Note, path: str) -> str:
    return f"{note.name}:{note.line}" if note.line else path


def _raised(program: Program, trace: Trace) -> str:
    """The innermost place in the user's code at which a program ended."""
    names = "|".join(re.escape(source.name) for source in program.source.sources)
    frames = re.findall(rf'File "({names})", line (\d+)', trace.traceback or "")
    return ":".join(frames[-1]) if frames else program.source.path


def _failed(program: Program, trace: Trace, notes: Sequence[Note]) -> tuple[str, str]:
    """What ended a program, and where."""
    line = _raised(program, trace)
    kind, _, message = trace.ended.partition(": ")
    message = message.strip().partition("\n")[0][:MESSAGE_CHARACTERS]
    refused = next((note for note in reversed(notes) if "refused" in note.what), None)
    if kind == "Interrupted":
        late = " without coming to training" if "longer" in message else ""
        return line, _advised(f"the program {message}{late}")
    if refused and kind != "Interrupted":
        return _place(refused, line), _advised(f"the program stopped with {kind}: {refused.what}")
    if kind == "SourceError":  # a module of the user's that does not parse says where
        return program.source.path, f"the program cannot import {message}"
    stale = re.match(r"name '(\w+)' is not defined", message)
    if kind == "NameError" and stale and program.source.is_notebook and not PYTHON_2.search(message):
        return line, _stale(program, stale[1])
    if PYTHON_2.search(message):
        return line, f"the program stopped with {kind}: {message} (it looks like Python 2)"
    shadowed = re.search(r"(?:partially initialized |^AttributeError: )module '(\w+)'", trace.ended)
    if shadowed and Path(program.source.path).stem == shadowed[1]:
        return line, f"the program imports {shadowed[1]} and finds itself: its file must have another name"
    if kind in ("ModuleNotFoundError", "ImportError"):
        name = re.search(r"No module named '([\w.]+)'(, .*)?", message)
        if name is None:
            return line, f"the program cannot import what it needs: {message}"
        return line, f"the program needs {name[1]}, which is not there{name[2] or ''}: {where_from(name[1])}"
    if kind == "FileNotFoundError":
        name = re.search(r"No such file or directory: (.*)", message) or re.search(r"(.*) not found", message)
        what = f"the file {name[1]}" if name else "a file"
        return line, f"the program needs {what}, which is not there; paths count from the program's folder"
    said = f": {message}" if message else ""
    if "MemoryError" in kind:
        return line, f"the program needs more memory than it may have (--memory-limit sets more){said}"
    return line, f"the program stopped with {kind}{said}"


def _stale(program: Program, name: str) -> str:
    """A notebook lives on names that its cells do not define any more, or define further down."""
    later = [
        f"cell {source.cell}"
        for source in program.source.main
        if any(isinstance(node, (ast.Name, ast.FunctionDef, ast.ClassDef)) and name == _bound(node)
               for node in ast.walk(source.tree))
    ]  # fmt: skip
    if later:
        return f"no cell before this one defines {name}; {' and '.join(later)} below does: move that up"
    return f"no cell of the notebook defines {name}: what did is gone, or was another program's"


def _bound(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id if isinstance(node.ctx, ast.Store) else ""
    return str(getattr(node, "name", ""))


def _advised(sentence: str) -> str:
    advice = next((text for what, text in ADVICE.items() if what in sentence), "")
    return f"{sentence}; {advice}" if advice else sentence
