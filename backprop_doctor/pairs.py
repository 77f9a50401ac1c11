"""Checks files that only define things: pairs of a forward and a backward pass, layers, and losses with gradients.

What belongs together is guessed from names first, then by trying.  Arguments are filled by trying shapes; a way of
calling counts in which most gradients are right, so that only what is wrong in every sensible way is called wrong.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import inspect
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import CodeType
from typing import Any

import numpy as np

from backprop_doctor import rules
from backprop_doctor.anchors import anchor, definition
from backprop_doctor.errors import UsageError
from backprop_doctor.fillings import (
    LABELS,
    ONE_HOT,
    SAMPLES,
    Settings,
    Value,
    fillings,
    fresh,
    is_label,
    is_unlike_data,
    makings,
    networks,
    spelled,
)
from backprop_doctor.gradient_check import gradcheck
from backprop_doctor.gradient_report import GradientReport, GradientVerdict
from backprop_doctor.layer_check import check_layer
from backprop_doctor.modules import Modules, package_of
from backprop_doctor.program import Surroundings, frozen_randomness
from backprop_doctor.records import Evidence, FileReport, Finding, LineVerdict, Network, ParameterVerdict, Unchecked
from backprop_doctor.source import Project
from backprop_doctor.structures import as_array, has_numbers, leaves

__all__ = ["check_pairs"]

SECONDS = 6.0
SECONDS_EACH = 1.5
SECONDS_TO_RUN = 20.0
VIABLE = 20  # ways of calling that run, looked at closely
STRANGERS = 40  # pairs of functions whose names do not belong together
FORWARD = frozenset({"forward", "fwd", "fprop", "feedforward", "loss"})
BACKWARD = frozenset(
    {"backward", "backwards", "bwd", "back", "bprop", "backprop", "grad", "gradient", "derivative", "deriv", "prime",
     "d", "der"}
)  # fmt: skip
NO_ARGUMENTS = "no arguments were found with which it runs"
OTHER_SCALES = (0.1, 3.0)
SMALL_CONSTANT = 1e-2  # what an epsilon in a logarithm can do where probabilities become small
PROBLEMS = (Exception, SystemExit)


@dataclass(frozen=True)
class _Pair:
    """Two functions, or two methods of a class, of which one may be the backward pass of the other."""

    name: str
    forward: Any
    backward: Any
    owner: type | None = None
    related: bool = True  # by their names

    @property
    def words(self) -> str:
        return self.name if self.owner else f"{self.forward.__name__} and {self.backward.__name__}"


@dataclass(frozen=True)
class _Way:
    """A way of calling something, and what came of it."""

    values: tuple[Value, ...]
    report: GradientReport
    words: str
    code: CodeType | None
    name: str
    claims: dict[str, str] = field(default_factory=dict)
    is_loss: bool = False
    names: tuple[str, ...] = ()
    sure: bool = True  # that what is called the backward pass is one, and called as it wants to be

    @property
    def rights(self) -> int:
        return sum(_is_right(self, verdict) for verdict in self.report.verdicts)

    @property
    def passed(self) -> bool:
        """Whether every gradient is right, an average over the samples included."""
        return self.rights == len(self.report.verdicts) > 0

    @property
    def odd(self) -> bool:
        """Whether what is called a weight has samples in it."""
        return any(
            value.kind == "array" and not value.shared and is_unlike_data(name)
            for name, value in zip(self.names, self.values, strict=False)
        )

    @property
    def alike(self) -> bool:
        """Whether all arrays that go in have one shape."""
        return len({value.shape for value in self.values if value.kind == "array"}) == 1

    @property
    def samples(self) -> int:
        return sum(value.kind == "array" and not value.shared for value in self.values)


def check_pairs(
    source: Project, surroundings: Surroundings | None, *, seed: int = 0, judged: Sequence[LineVerdict] = ()
) -> FileReport | None:
    """The report on what a file defines, or None if it defines nothing of the kind.

    Parameters
    ----------
    source : Project
        A program that trains nothing.
    surroundings : function of (train, test, seconds) returning a context manager, optional
        What the program is confined to.
    seed : int
        Start of all randomness.
    judged : sequence of LineVerdict
        Lines of which more is known already: pairs that have one of them are left out.
    """
    with _executed(source, surroundings, seed) as namespace:
        session = _Session(source, namespace, seed)
        session.known = {(line.path, line.cell, line.line) for line in judged}
        session.judge()
    return session.report()


@dataclass
class _Plain:
    """The code of a program and of its modules, as it stands."""

    source: Project

    def module(self, path: str) -> CodeType:
        part = self.source.module(path)
        return compile(part.tree, part.name, "exec", dont_inherit=True)


@contextlib.contextmanager
def _executed(source: Project, surroundings: Surroundings | None, seed: int) -> Iterator[dict[str, Any]]:
    """What a program defines, for as long as the context lasts."""
    namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins, "__doc__": None}
    if not source.is_notebook:
        namespace |= {"__file__": source.path, "__package__": package_of(source), "__spec__": None}
    modules = Modules(_Plain(source))
    around = surroundings(97, 83, SECONDS_TO_RUN) if surroundings else contextlib.nullcontext()
    try:
        with around, modules, frozen_randomness(seed), np.errstate(all="ignore"):
            for part in source.main:
                with contextlib.suppress(*PROBLEMS):
                    exec(compile(part.tree, part.name, "exec", dont_inherit=True), namespace)
            yield namespace
    finally:
        modules.forget()


class _Session:
    """One file: what it defines, what was tried, what was found."""

    def __init__(self, source: Project, namespace: dict[str, Any], seed: int) -> None:
        self.source = source
        self.seed = seed
        own = {part.name for part in source.main}
        self.functions = {
            value.__name__: value
            for value in namespace.values()
            if inspect.isfunction(value) and value.__code__.co_filename in own and value.__name__ in namespace
        }
        self.classes = [
            value
            for name, value in namespace.items()
            if isinstance(value, type) and value.__name__ == name and value.__module__ == "__main__"
        ]
        self.ways: list[_Way] = []
        self.unchecked: list[Unchecked] = []
        self.known: set[tuple[str, int | None, int]] = set()
        self.until = time.thread_time() + SECONDS

    def judge(self) -> None:
        """Try everything."""
        paired: set[str] = set()
        subjects: list[tuple[_Pair, Callable[[], _Way | str]]] = []
        for pair in _pairs(self.functions):
            paired |= {pair.forward.__name__, pair.backward.__name__}
            subjects.append((pair, lambda pair=pair: self._layer(pair)))  # type: ignore[misc]
        for owner in self.classes:
            if any(owner in other.__mro__[1:] for other in self.classes):
                continue  # what others are made from is checked with them
            for pair in _methods(owner):
                subjects.append((pair, lambda pair=pair: self._layer(pair)))  # type: ignore[misc]
        for pair, attempt in subjects:
            if not self.known or not self._is_known(pair.backward):
                self._take(pair.words, attempt)
        for owner in self.classes:
            if not any(way.name == owner.__name__ for way in self.ways):
                for method in _own_methods(owner):
                    way = self._network(owner, method)
                    if way is not None:
                        self.ways.append(way)
        rest = [function for name, function in self.functions.items() if name not in paired]
        for function in rest:
            found = self._loss(function)
            if isinstance(found, _Way):
                self.ways.append(found)
                paired.add(function.__name__)
        self._strangers([function for function in rest if function.__name__ not in paired])

    def _is_known(self, function: Any) -> bool:
        code = _code(function)
        node = definition(self.source, code) if code else None
        if node is None:
            return False
        position = self.source.position(node)
        lines = range(position.line, position.end_line + 1)
        return any((position.path, position.cell, line) in self.known for line in lines)

    def _take(self, words: str, attempt: Callable[[], _Way | str]) -> None:
        if time.thread_time() > self.until:
            self.unchecked.append(Unchecked(words, f"the {SECONDS:g} s for such checks were over"))
            return
        way = attempt()
        if isinstance(way, _Way):
            self.ways.append(way)
        elif way:
            self.unchecked.append(Unchecked(words, way))

    # -- trying --------------------------------------------------------------------------------------------

    def _layer(self, pair: _Pair) -> _Way | str:
        """The best way of calling a pair, or why there is none."""
        keys = self._keys(pair.forward)
        if pair.owner is None and keys:
            return self._weights(pair, *keys)
        made = _required(pair.owner) if pair.owner else []
        names = _required(pair.forward)[1 if pair.owner else 0 :]
        return self._best(pair, made, names, lambda values, given: self._tried(pair, len(made), values, given))

    def _best(
        self,
        pair: _Pair,
        made: list[str],
        names: list[str],
        tried: Callable[[tuple[Value, ...], list[Any]], _Way | None],
    ) -> _Way | str:
        until = min(self.until, time.thread_time() + SECONDS_EACH)
        best: _Way | None = None
        viable, trouble, furthest = 0, NO_ARGUMENTS, (0, 0)
        for values in fillings([*made, *names], len(made)):
            if time.thread_time() > until or viable >= VIABLE:
                break
            generator = np.random.default_rng([self.seed, 29])
            given = [fresh(value, generator) for value in values]
            try:
                with np.errstate(all="ignore"):
                    way = tried(values, given)
            except NotImplementedError:
                return ""
            except UsageError as error:
                viable += 1
                trouble = str(error)
                continue
            except PROBLEMS as error:
                reached = _reached(error, pair)
                if not viable and reached > furthest:
                    furthest = reached
                    said = ", ".join(map(spelled, [*made, *names], given, values))
                    trouble = (
                        f"{NO_ARGUMENTS}; with {said} it stops at line {reached[1]}: {type(error).__name__}: {error}"
                    )
                continue
            if way is None:
                continue
            viable += 1
            if best is None or _is_better(way, best):
                best = way
            if best.passed:
                break
        return best or trouble

    def _tried(self, pair: _Pair, made: int, values: tuple[Value, ...], given: list[Any]) -> _Way | None:
        """One way of calling a pair; raises what the program raises."""
        if pair.owner is None:
            forward, backward = pair.forward, pair.backward
            layer: Any = (forward, backward)
        else:
            owner = pair.owner(*given[:made])
            forward, backward = getattr(owner, pair.forward.__name__), getattr(owner, pair.backward.__name__)
            layer = owner if (forward.__name__, backward.__name__) == ("forward", "backward") else (forward, backward)
        inputs, kinds = given[made:], values[made:]
        if not pair.related and not isinstance(forward(*_copies(inputs)), tuple):
            return None  # any function that reshapes would do
        if not _responds(forward, inputs, kinds, _required(pair.forward)[1 if pair.owner else 0 :]):
            return None
        inputs = [Settings(value.asked) if isinstance(value, Settings) else value for value in inputs]
        own = _required(pair.owner)[:made] if pair.owner else []
        names = [*own, *_required(pair.forward)[1 if pair.owner else 0 :]]
        report = _without_settings(check_layer(layer, *inputs, scales=(1.0,), seed=self.seed), names[made:], kinds)
        sure = not any(remark.startswith("called as") for remark in report.remarks)
        if sure and not report.passed:
            sure = _is_linear(pair, given[:made], inputs)
        for scale in OTHER_SCALES if report.passed else ():
            other = check_layer(layer, *inputs, scales=(scale,), seed=self.seed)
            if other.remarks == report.remarks:  # else it was understood in another way
                report = _joined(report, other, scale)
        said = [
            spelled(name, value, kind)
            for name, value, kind in zip(names, [*given[:made], *inputs], values, strict=True)
        ]
        if pair.owner is None:
            words = f"{pair.forward.__name__}({', '.join(said)}) and {pair.backward.__name__}"
        else:
            call = f"{pair.forward.__name__}({', '.join(said[made:])})"
            words = f"{pair.name}({', '.join(said[:made])}).{call} and {pair.backward.__name__}"
        way = _Way(values, report, words, _code(pair.backward), pair.name, names=tuple(names), sure=sure)
        return way if pair.related or 2 * way.rights > len(report.verdicts) else None

    def _keys(self, function: Any) -> tuple[str, list[str]] | None:
        """The argument of a function in which it looks for numbered weights, and under which keys."""
        code = _code(function)
        node = definition(self.source, code) if code else None
        if node is None:
            return None
        found: dict[str, dict[str, None]] = {}
        for part in ast.walk(node):
            if (
                isinstance(part, ast.Subscript)
                and isinstance(part.value, ast.Name)
                and isinstance(part.slice, ast.Constant)
                and re.fullmatch(r"[A-Za-z_]+\d+", str(part.slice.value))
            ):
                found.setdefault(part.value.id, {})[str(part.slice.value)] = None
        names = _required(function)
        return next(((name, list(keys)) for name, keys in found.items() if name in names and len(keys) > 1), None)

    def _weights(self, pair: _Pair, holder: str, keys: list[str]) -> _Way | str:
        """A pair that has its weights in a dictionary, of which the forward pass ends with the loss."""
        names = _required(pair.forward)
        best: _Way | None = None
        for number, (weights, x, labels) in enumerate(networks(keys)):
            generator = np.random.default_rng([self.seed, 37, number])
            held = {key: fresh(value, generator) for key, value in weights.items()}
            others = iter((x, labels))
            values = {name: next(others, labels) for name in names if name != holder}
            given = {name: fresh(value, generator) for name, value in values.items()}
            with contextlib.suppress(*PROBLEMS, UsageError), np.errstate(all="ignore"):
                way = self._tried_weights(pair, holder, held, given, values)
                if way is not None and (best is None or _is_better(way, best)):
                    best = way
                if best is not None and best.passed:
                    break
        return best or NO_ARGUMENTS

    def _tried_weights(
        self, pair: _Pair, holder: str, held: dict[str, Any], given: dict[str, Any], values: dict[str, Value]
    ) -> _Way | None:
        def forward(weights: Any) -> Any:
            return pair.forward(**{name: value.copy() for name, value in given.items()}, **{holder: weights})

        def backward(weights: Any) -> Any:
            result = forward(weights)
            known = {**given, holder: weights}
            free = [name for name in _required(pair.backward) if name not in known]
            rest = dict(zip(free, result[1:], strict=True))
            return pair.backward(
                **{name: rest[name] if name in rest else known[name] for name in _required(pair.backward)}
            )

        result = forward(held)
        if not isinstance(result, tuple) or np.size(result[0]) != 1 or not np.all(np.isfinite(result[0])):
            return None
        sizes = _sizes(list(given), list(given.values()))
        report = gradcheck(lambda weights: forward(weights)[0], held, backward, sizes=sizes, seed=self.seed)
        said = [spelled(name, value, values[name]) for name, value in given.items()]
        said.append(f"{holder} {{{', '.join(f'{key} {value.shape}' for key, value in held.items())}}}")
        words = f"{pair.forward.__name__}({', '.join(said)}) and {pair.backward.__name__}"
        claims = {verdict.name: f"d{verdict.name}" for verdict in report.verdicts}
        return _Way(tuple(values.values()), report, words, _code(pair.backward), pair.name, claims, True)

    def _loss(self, function: Any) -> _Way | str:
        """A function that returns a loss and its gradients."""
        names = _required(function)
        if not 2 <= len(names) <= 4:
            return ""
        pair = _Pair(function.__name__, function, function)
        return self._best(pair, [], names, lambda values, given: self._tried_loss(function, names, values, given))

    def _tried_loss(self, function: Any, names: list[str], values: tuple[Value, ...], given: list[Any]) -> _Way | None:
        labels = [i for i, value in enumerate(values) if value.kind in ("labels", "target")]
        if len(labels) != 1:
            return None
        result = function(*_copies(given))
        if not isinstance(result, (tuple, list)) or len(result) < 2 or not has_numbers(result[0]):
            return None
        if as_array(result[0]).size != 1 or not np.isfinite(float(as_array(result[0]).reshape(()))):
            return None
        other = _copies(given)
        other[labels[0]] = np.roll(other[labels[0]], 1, axis=int(np.argmax(np.shape(other[labels[0]]))))
        if np.array_equal(as_array(function(*other)[0]), as_array(result[0])):
            return None
        verdicts: list[GradientVerdict] = []
        sure = True
        claims: dict[str, str] = {}
        free = [i for i, value in enumerate(values) if value.kind == "array"]
        for number, claimed in enumerate(result[1:], 1):
            if not has_numbers(claimed) or not free:
                continue
            shape = np.shape(claimed)
            index = next((i for i in free if values[i].shape == shape), None)
            if index is None:
                continue
            if np.array_equal(as_array(function(*other)[number]), as_array(claimed)):
                continue  # what does not depend on the labels is no gradient of a loss: the output, perhaps
            free.remove(index)

            def loss(moved: Any, index: int = index, number: int = number) -> tuple[Any, Any]:
                arguments = _copies(given)
                arguments[index] = moved
                result = function(*arguments)
                return result[0], result[number]

            report = gradcheck(loss, given[index].copy(), sizes=_sizes(names, given), seed=self.seed)
            for verdict in report.verdicts:
                verdicts.append(_named(verdict, names[index]))
            claims[names[index]] = f"returned value {number + 1}"
            sure = sure and self._is_called_gradient(function, claims[names[index]])
        if not verdicts:
            return None
        said = ", ".join(map(spelled, names, given, values))
        words = f"{function.__name__}({said})"
        report = GradientReport(function.__name__, tuple(verdicts), 0.0, 0, self.seed)
        return _Way(values, report, words, _code(function), function.__name__, claims, True, tuple(names), sure)

    def _is_called_gradient(self, function: Any, claim: str) -> bool:
        """Whether the author calls a returned value a gradient: it may as well be the output, or probabilities."""
        code = _code(function)
        node = definition(self.source, code) if code else None
        made = anchor(node, claim) if node else None
        name = _target(made, "").lower() if made else ""
        return name.startswith("d") or "grad" in name

    def _network(self, owner: type, method: str) -> _Way | None:
        """A method that returns the loss of an object, and the gradients of what the object keeps in a dictionary."""
        defaults, required = _defaults(owner), _required(owner)
        until = min(self.until, time.thread_time() + SECONDS_EACH)
        if len(_arguments_of(getattr(owner, method))) < 3:
            return None
        for keywords, sample in makings(required, defaults):
            for labels in (LABELS, ONE_HOT):
                if time.thread_time() > until:
                    return None
                generator = np.random.default_rng([self.seed, 31])
                data, given = Value("array", (LABELS.shape[0], *sample)), fresh(labels, generator)
                x = fresh(data, generator)
                with contextlib.suppress(*PROBLEMS, UsageError), np.errstate(all="ignore"):
                    network = owner(**keywords)
                    call = getattr(network, method)
                    result = call(x.copy(), given.copy())
                    if not isinstance(result, (tuple, list)) or len(result) != 2 or np.size(result[0]) != 1:
                        continue
                    kept = _kept(network, result[1])
                    if kept is None:
                        continue
                    for key, value in kept.items():
                        if has_numbers(value):
                            kept[key] = 0.5 * generator.standard_normal(np.shape(value))
                    sizes = {"len(X)": len(x), "X.shape[1]": x.shape[1]}
                    report = gradcheck(_frozen(call, x, given), kept, sizes=sizes, seed=self.seed)
                    made = ", ".join(
                        f"{name}={value}" for name, value in keywords.items() if not isinstance(value, type)
                    )
                    words = f"{owner.__name__}({made}).{method}(X {x.shape}, labels {labels.shape})"
                    code = _code(getattr(owner, method))
                    claims = {verdict.name: str(verdict.name) for verdict in report.verdicts}
                    return _Way((data, labels), report, words, code, owner.__name__, claims, True)
        return None

    def _strangers(self, functions: list[Any]) -> None:
        """Pairs that no name tells: one that gives a value and a cache, and one that takes them."""
        tries = 0
        for i, forward in enumerate(functions):
            for backward in (*functions[i + 1 :], *functions[:i]):
                tries += 1
                if tries > STRANGERS or time.thread_time() > self.until:
                    return
                name = forward.__name__
                way = self._layer(_Pair(name, forward, backward, related=False))
                if isinstance(way, _Way):
                    self.ways.append(way)
                    break

    # -- saying --------------------------------------------------------------------------------------------

    def report(self) -> FileReport | None:
        """What was found, as the report of the file."""
        if not self.ways and not self.unchecked:
            return None
        parameters: list[ParameterVerdict] = []
        lines: list[LineVerdict] = []
        findings: list[Finding] = []
        for way in self.ways:
            for verdict in way.report.verdicts:
                told = _told(way, verdict)
                node = self._node(way, verdict)
                position = self.source.position(node) if node is not None else None
                line = position.line if position else 0
                name = f"{verdict.name} of {way.name}"
                parameters.append(
                    ParameterVerdict(
                        name=name,
                        line=line,
                        shape=verdict.shape,
                        axes=(),
                        gradient=way.claims.get(verdict.name) or verdict.claim or None,
                        verdict=told.verdict,
                        relative_error=verdict.relative_error,
                        factor=verdict.factor or ("1" if told.verdict == "right" else None),
                        reason=told.reason,
                        path=position.path if position else self.source.path,
                        cell=position.cell if position else None,
                    )
                )
                if told.verdict == "unknown":
                    self.unchecked.append(Unchecked(f"gradient of {name}", told.reason))
                if position is None:
                    continue
                if told.verdict != "unknown":
                    lines.append(
                        LineVerdict(
                            path=position.path,
                            line=line,
                            target=_target(node, verdict.name),
                            role="backward",
                            shape=verdict.shape,
                            axes=(),
                            verdict=told.verdict,
                            meaning="" if told.verdict == "right" else "BD300",
                            relative_error=verdict.relative_error,
                            cell=position.cell,
                        )
                    )
                if told.verdict == "wrong" or told.note:
                    findings.append(self._finding(way, verdict, told, node))
        errors = any(finding.severity == "error" for finding in findings)
        judged = any(p.verdict != "unknown" for p in parameters)
        return FileReport(
            path=self.source.path,
            verdict="faulty" if errors else "healthy" if judged else "unknown",
            ran=True,
            seconds=0.0,
            network=Network(parameters=tuple(parameters)),
            lines=tuple(_once(lines)),
            findings=tuple(findings),
            unchecked=tuple(self.unchecked),
            modules=tuple(self.source.modules),
            remarks=tuple(f"called as {way.words}" for way in self.ways),
        )

    def _node(self, way: _Way, verdict: GradientVerdict) -> Any:
        function = definition(self.source, way.code) if way.code else None
        if function is None:
            return None
        return anchor(function, way.claims.get(verdict.name) or verdict.claim)

    def _finding(self, way: _Way, verdict: GradientVerdict, told: _Told, node: Any) -> Finding:
        info = rules.find("BD201" if told.note else "BD300")
        error = "" if verdict.relative_error is None else f"error {verdict.relative_error:.2g}"
        evidence = Evidence(
            f"gradient of {verdict.name} against finite differences",
            f"factor {verdict.factor}" if verdict.factor else error or verdict.kind,
            "factor 1" if verdict.factor else "below 1e-5",
        )
        return Finding(
            code=info.code,
            name=info.name,
            severity="note" if told.note else "error",
            status="confirmed",
            position=self.source.position(node),
            message=f"the gradient of {verdict.name} in {way.name}: {told.reason}",
            label=f"not the gradient of {verdict.name}" if not told.note else f"{verdict.factor} times the gradient",
            why="for a small step along a direction d, the output moves by <gradient, d>: so central differences show",
            evidence=(evidence,),
        )


# -- what verdicts mean here -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Told:
    """A verdict in the light of the others of its pair."""

    verdict: Any
    reason: str
    note: bool = False


def _told(way: _Way, verdict: GradientVerdict) -> _Told:
    if verdict.verdict != "wrong":
        return _Told(verdict.verdict, verdict.reason)
    if _is_right(way, verdict):
        return _Told("right", verdict.reason, note=True)
    if not way.sure and not way.rights and verdict.kind != "stale":
        doubt = "nothing shows that it was called as it is meant to be: in no way that was tried it is right"
        return _Told("unknown", f"{doubt} ({verdict.reason})")
    return _Told("wrong", verdict.reason)


def _is_right(way: _Way, verdict: GradientVerdict) -> bool:
    """Whether a gradient is right, be it up to a convention: an average, or a factor that a whole loss has."""
    if verdict.verdict != "wrong":
        return verdict.verdict == "right"
    factor = verdict.factor_value or 0.0
    if verdict.kind != "factor" or factor <= 0:
        return False
    told = [v for v in way.report.verdicts if v.kind == "factor" or v.verdict == "right"]
    if any(abs(factor * n - 1) < 1e-6 for n in SAMPLES):
        return len({_rounded(v) for v in told if v.kind == "factor"}) == 1
    return way.is_loss and len({_rounded(v) for v in told}) == 1


def _target(node: Any, name: str) -> str:
    """What a statement binds, or whose gradient an expression is."""
    if isinstance(node, (ast.Assign, ast.AugAssign)):
        return ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
    return f"gradient of {name}"


def _once(lines: list[LineVerdict]) -> Iterator[LineVerdict]:
    """One verdict on each target of a line: wrong if any is."""
    found: dict[tuple[Any, ...], LineVerdict] = {}
    for verdict in lines:
        key = (verdict.path, verdict.cell, verdict.line, verdict.target)
        if key not in found or verdict.verdict == "wrong":
            found[key] = verdict
    return iter(found.values())


def _rounded(verdict: GradientVerdict) -> float:
    return float(f"{verdict.factor_value if verdict.kind == 'factor' and verdict.factor_value else 1.0:.5g}")


def _is_better(way: _Way, best: _Way) -> bool:
    """Whether a way of calling explains more than the best so far.

    Where data of several kinds are needed to make everything right, they have to be alike: else a bias with one
    row for each sample would make a sum over the samples that was forgotten look right.
    """
    for name, was, now in zip(best.names, best.values, way.values, strict=False):
        if was.kind == "array" != now.kind and any(
            v.name == name and v.verdict == "wrong" for v in best.report.verdicts
        ):
            return False  # a wrong gradient is not mended by asking for none
    if way.samples > best.samples and best.rights and not (way.alike and way.passed):
        return False
    wrongs = [sum(v.verdict == "wrong" for v in w.report.verdicts) for w in (way, best)]
    return (way.passed, way.rights, -wrongs[0], not way.odd) > (best.passed, best.rights, -wrongs[1], not best.odd)


def _joined(first: GradientReport, other: GradientReport, scale: float) -> GradientReport:
    """What is right at one size of the inputs, and clearly wrong at another, is wrong."""
    seen = {verdict.name: verdict for verdict in other.verdicts}
    verdicts = []
    for verdict in first.verdicts:
        there = seen.get(verdict.name, verdict)
        if there.verdict == "wrong" and (there.relative_error or 1.0) > SMALL_CONSTANT:
            verdict = replace(there, reason=f"with inputs {scale:g} times as large, {there.reason}")
        verdicts.append(verdict)
    stale = [
        verdict for name, verdict in seen.items() if name not in {v.name for v in verdicts} and verdict.kind == "stale"
    ]
    return replace(first, verdicts=(*verdicts, *stale))


def _without_settings(report: GradientReport, names: Sequence[str], values: Sequence[Value]) -> GradientReport:
    """Leave out what nobody expects a gradient of."""
    plain = {name for name, value in zip(names, values, strict=False) if value.kind != "array" and value.shape == ()}
    kept = tuple(v for v in report.verdicts if not (v.kind == "missing" and v.name in plain))
    return GradientReport(report.subject, kept, report.value, report.evaluations, report.seed, report.remarks)


# -- calling ---------------------------------------------------------------------------------------------


def _is_linear(pair: _Pair, made: list[Any], inputs: list[Any]) -> bool:
    """Whether a backward pass gives nothing when nothing comes back: one that is handed labels does not."""
    try:
        if pair.owner is None:
            result = pair.forward(*_copies(inputs))
            *outputs, cache = result if isinstance(result, (tuple, list)) else (result, result)
            returned = pair.backward(*[0.0 * as_array(output) for output in outputs], cache)
        else:
            owner = pair.owner(*_copies(made))
            result = getattr(owner, pair.forward.__name__)(*_copies(inputs))
            returned = getattr(owner, pair.backward.__name__)(0.0 * as_array(result))
    except PROBLEMS:
        return False
    arrays = [as_array(leaf.value) for leaf in leaves(returned, "")] if returned is not None else []
    return bool(arrays) and all(array.dtype.kind in "fiu" and not np.any(array) for array in arrays)


def _responds(forward: Any, inputs: list[Any], values: Sequence[Value], names: Sequence[str]) -> bool:
    """Whether a forward pass gives finite numbers that depend on what it is given; labels make a single number."""
    first = _first(forward(*_arguments(inputs)))
    if first is None or not np.all(np.isfinite(first)) or not first.size:
        return False
    if first.size > 1 and any(
        value.kind == "target" and not is_label(name) for name, value in zip(names, values, strict=True)
    ):
        return False
    for i, value in enumerate(values):
        if value.kind in ("array", "number") or value.integer:
            moved = _copies(inputs)
            moved[i] = moved[i][::-1] if value.kind != "number" else moved[i] + 0.1
            second = _first(forward(*_arguments(moved)))
            if second is not None and (second.shape != first.shape or not np.array_equal(first, second)):
                return True
    return False


def _reached(error: BaseException, pair: _Pair) -> tuple[int, int]:
    """How far a call came: in the forward or in the backward pass, and to which line."""
    found = (0, 0)
    frame = error.__traceback__
    while frame is not None:
        for number, function in enumerate((pair.forward, pair.backward), 1):
            if frame.tb_frame.f_code is _code(function):
                found = max(found, (number, frame.tb_lineno))
        frame = frame.tb_next
    return found


def _first(result: Any) -> Any:
    value = result[0] if isinstance(result, tuple) and result else result
    return as_array(value).astype(float) if has_numbers(value) else None


def _arguments(inputs: list[Any]) -> list[Any]:
    """Copies, but for settings: these learn what they are asked."""
    return [
        value if isinstance(value, Settings) else copied for value, copied in zip(inputs, _copies(inputs), strict=True)
    ]


def _frozen(call: Callable[..., Any], *given: Any) -> Callable[[], Any]:
    """A call without arguments, which hands over copies each time."""
    return lambda: call(*_copies(list(given)))


def _copies(given: list[Any]) -> list[Any]:
    return [value.copy() if isinstance(value, np.ndarray) else value for value in given]


def _sizes(names: list[str], given: list[Any]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for name, value in zip(names, given, strict=True):
        for axis, size in enumerate(np.shape(value)):
            sizes.setdefault(f"{name}.shape[{axis}]", size)
    return sizes


def _named(verdict: GradientVerdict, name: str) -> GradientVerdict:
    return replace(verdict, name=name)


def _required(function: Any) -> list[str]:
    """Names of the arguments that have to be given; labels that may be left out count as well."""
    if isinstance(function, type) and "__init__" not in vars(function) and function.__init__ is object.__init__:  # type: ignore[misc]
        return []
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []
    plain = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [p.name for p in plain if p.default is p.empty]


def _defaults(owner: type) -> dict[str, Any]:
    try:
        parameters = inspect.signature(owner).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _arguments_of(function: Any) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []


def _own_methods(owner: type) -> list[str]:
    return [name for name, value in vars(owner).items() if inspect.isfunction(value) and not name.startswith("_")]


def _kept(network: Any, gradients: Any) -> dict[str, Any] | None:
    """The dictionary of an object that holds what gradients were returned of."""
    if not isinstance(gradients, dict) or not gradients:
        return None
    for value in vars(network).values():
        if isinstance(value, dict) and value is not gradients and set(value) == set(gradients):
            return value
    return None


def _code(function: Any) -> CodeType | None:
    return getattr(inspect.unwrap(function), "__code__", None)


# -- what belongs together -------------------------------------------------------------------------------


def _pairs(functions: dict[str, Any]) -> Iterator[_Pair]:
    for backward in functions.values():
        forward = _partner(backward.__name__, functions)
        if forward is not None:
            yield _Pair(forward.__name__, forward, backward)


def _methods(owner: type) -> Iterator[_Pair]:
    methods = {
        name: getattr(owner, name)
        for kind in reversed(owner.__mro__[:-1])
        for name, value in vars(kind).items()
        if inspect.isfunction(value) and (not name.startswith("_") or name == "__call__")
    }
    if "forward" not in methods and "__call__" in methods and "backward" in methods:
        methods["forward"] = methods["__call__"]
    for backward in methods.values():
        forward = _partner(backward.__name__, methods)
        if forward is not None:
            yield _Pair(owner.__name__, forward, backward, owner)


def _partner(name: str, functions: dict[str, Any]) -> Any:
    """The function that another one is the backward pass of, by its name."""
    words = _words(name)
    if not set(words) & BACKWARD:
        whole = name.removeprefix("d")
        return functions.get(whole) if whole != name else None
    stem = [word for word in words if word not in BACKWARD]
    found = []
    for other, function in functions.items():
        others = _words(other)
        if other == name or set(others) & BACKWARD:
            continue
        rest = [word for word in others if word not in FORWARD]
        if rest == stem or (rest and stem[: len(rest)] == rest and set(others) & FORWARD):
            found.append((rest != stem, not set(others) & FORWARD, function))
    return min(found, key=lambda item: item[:2])[2] if found else None


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)]
