"""Checks files that only define things: pairs of a forward and a backward pass, layers, and losses with gradients.

What belongs together is guessed from names first, then by trying.  Arguments are filled by trying shapes; a way of
calling counts in which most gradients are right, so that only what is wrong in every sensible way is called wrong.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from backprop_doctor.guards import Interrupted
from backprop_doctor.pairs.definitions import Definitions, executed
from backprop_doctor.pairs.examples import is_weights
from backprop_doctor.pairs.findings import file_report
from backprop_doctor.pairs.layers import layer_ways
from backprop_doctor.pairs.losses import loss_way, network_way, numbered_weights, weights_way
from backprop_doctor.pairs.partners import Pair, named_pairs, strangers
from backprop_doctor.pairs.ways import Way
from backprop_doctor.pairs.worded_weights import example_way
from backprop_doctor.program import Surroundings
from backprop_doctor.records import FileReport, LineVerdict, Unchecked
from backprop_doctor.source import Project

__all__ = ["check_pairs"]

SECONDS = 5.0
SECONDS_OF_STRANGERS = 2.0
SECONDS_A_STRANGER = 0.3


def check_pairs(
    source: Project,
    surroundings: Surroundings | None,
    *,
    seed: int = 0,
    judged: Sequence[LineVerdict] = (),
    whole: bool = True,
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
    whole : bool
        Whether nothing but that is in the file: no training that could not be judged.
    """
    with executed(source, surroundings, seed) as defined:
        session = _Session(defined, seed)
        session.known = {(line.path, line.cell, line.line) for line in judged}
        try:
            session.judge()
        except Interrupted as error:
            session.unchecked.append(Unchecked("what else is defined", str(error)))
    return file_report(source, session.ways, session.unchecked, whole=whole)


class _Session:
    """One file: what was tried, and what came of it."""

    def __init__(self, defined: Definitions, seed: int) -> None:
        self.defined = defined
        self.seed = seed
        self.ways: list[Way] = []
        self.unchecked: list[Unchecked] = []
        self.known: set[tuple[str, int | None, int]] = set()
        self.until = time.thread_time() + SECONDS

    def judge(self) -> None:
        """Try everything: pairs that go by their names, networks, losses, and what is left with what is left."""
        paired: set[str] = set()
        for pair in named_pairs(self.defined):
            if pair.owner is None:
                paired |= {pair.forward.__name__, pair.backward.__name__}
            if not self._is_known(pair):
                self._take(pair.words, self._pair(pair))
        for owner in self.defined.classes:
            if not any(way.subject == owner.__name__ for way in self.ways):
                self._take(owner.__name__, network_way(owner, seed=self.seed, until=self.until))
        rest = [function for name, function in self.defined.functions.items() if name not in paired]
        for function in rest:
            found = loss_way(function, self.defined, seed=self.seed, until=self.until)
            self._take(function.__name__, found)
            if found:
                paired.add(function.__name__)
        self._strangers([function for function in rest if function.__name__ not in paired])

    def _pair(self, pair: Pair) -> list[Way] | Way | str:
        if time.thread_time() > self.until:
            return f"the {SECONDS:g} s for such checks were over"
        numbered = numbered_weights(pair.forward, self.defined) if pair.owner is None else None
        if numbered:
            return weights_way(pair, self.defined, *numbered, seed=self.seed)
        example = self.defined.example(pair.forward) if pair.owner is None and not pair.flag else None
        worded = example is not None and any(map(is_weights, example.values()))
        found = example_way(pair, example, seed=self.seed) if example and worded else None
        if found:
            return found
        ways = layer_ways(pair, self.defined, seed=self.seed, until=self.until)
        # What cannot be called with what is made up can be called as the program does.
        found = example_way(pair, example, seed=self.seed) if example and not worded and isinstance(ways, str) else None
        return found or ways

    def _take(self, words: str, found: list[Way] | Way | str) -> None:
        """Keep ways of calling, or the reason why there is none."""
        if isinstance(found, str):
            self.unchecked += [Unchecked(words, found)] if found else []
        else:
            self.ways += found if isinstance(found, list) else [found]

    def _strangers(self, functions: list[object]) -> None:
        done: set[str] = set()
        end = min(self.until, time.thread_time() + SECONDS_OF_STRANGERS)
        for pair in strangers(functions):
            if pair.name in done or time.thread_time() > end:
                continue
            until = min(end, time.thread_time() + SECONDS_A_STRANGER)
            found = layer_ways(pair, self.defined, seed=self.seed, until=until)
            if isinstance(found, list):
                self.ways += found
                done.add(pair.name)

    def _is_known(self, pair: Pair) -> bool:
        node = self.defined.syntax(pair.backward) if self.known else None
        if node is None:
            return False
        position = self.defined.source.position(node)
        lines = range(position.line, position.end_line + 1)
        return any((position.path, position.cell, line) in self.known for line in lines)
