"""Runs under a probe: what they keep, where they stop, and how two of them compare."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backprop_doctor.instrument import instrument
from backprop_doctor.program import Key, Probe, Program, is_same
from backprop_doctor.source import open_project

LOOP = """\
import numpy as np
import pytest
w = np.ones(3)
for step in range(5):
    out = np.zeros(3)
    for i in range(3):
        out[i] = w[i] * step
    w = w - 0.1 * out
"""


def program(folder: Path, text: str = LOOP) -> Program:
    path = folder / "net.py"
    path.write_text(text, encoding="utf-8")
    return Program(instrument(open_project(str(path))))


def bound(net: Program, target: str, occurrence: int) -> Key:
    return next(site.id for site in net.sites if site.target == target and site.kind == "operation"), occurrence


def test_a_brief_run_stops_when_all_that_is_kept_has_passed(tmp_path: Path) -> None:
    net = program(tmp_path)
    key = bound(net, "w", 1)
    brief = net.run(Probe(keep=frozenset({key}), brief=True))
    whole = net.run(Probe(keep=frozenset({key})))
    assert (brief.ended, whole.ended) == ("stopped", "finished")
    assert is_same(brief.value(key), whole.value(key))
    np.testing.assert_allclose(brief.value(key), [0.9, 0.9, 0.9])


def test_an_undisturbed_run_leaves_every_event_unchanged(tmp_path: Path) -> None:
    net = program(tmp_path)
    base = net.run(Probe())
    assert net.unchanged(Probe(), base) == {e.key for e in base.events if e.object != -1}


def test_what_depends_on_a_changed_value_is_not_unchanged(tmp_path: Path) -> None:
    net = program(tmp_path)
    base = net.run(Probe())
    same = net.unchanged(Probe(actions={bound(net, "w", 1): lambda value: value + 1}), base)
    assert bound(net, "w", 0) in same
    assert not {bound(net, "w", n) for n in (1, 2, 3, 4)} & same


def test_large_arrays_that_agree_in_their_first_row_only_differ() -> None:
    one = np.zeros((100, 100))
    other = one.copy()
    other[99, 99] = 1.0
    assert not is_same(one, other)
    other[99, 99] = one[99, 99] = np.nan
    assert is_same(one, other)


def test_a_record_that_takes_too_much_memory_ends_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backprop_doctor.program.RECORD_BYTES", 100)
    net = program(tmp_path)
    trace = net.run(Probe())
    assert (trace.ended, trace.full) == ("stopped", True)
    assert net.unchanged(Probe(), trace) == {e.key for e in trace.events if e.object != -1}
