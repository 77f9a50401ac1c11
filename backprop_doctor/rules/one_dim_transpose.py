"""BD111 one-dim-transpose: the transpose of a vector of one axis is the vector itself, and the product is a number.

What it does
------------
Finds a gradient of a matrix that is a number or a vector, because .T was
expected to make a column of a one-dimensional array.

Why it is wrong
---------------
For one sample, the gradient of U of shape (H, D) is the outer product of
the delta d, (H,), and the input x, (D,):

    np.outer(d, x)                (H, D)
    np.dot(d.T, x)                a number, if H = D

d.T is d: with one axis there is nothing to exchange. The number is
subtracted from every entry of U, by broadcasting. d.T * x is a vector, and
is subtracted from every row.

Example (samples first)
-----------------------
The step of U is one number for all of it::

    import numpy as np

    rng = np.random.default_rng(5)
    data = rng.normal(size=(60, 6))
    wanted = np.tanh(data @ rng.normal(size=(6, 4)))
    U, u = 0.4 * rng.normal(size=(6, 6)), np.zeros(6)
    V, v = 0.4 * rng.normal(size=(4, 6)), np.zeros(4)
    eta = 0.05
    for epoch in range(10):
        total = 0.0
        for x, t in zip(data, wanted):
            s = np.dot(U, x) + u
            h = np.tanh(s)
            y = np.dot(V, h) + v
            total += 0.5 * np.sum((y - t) ** 2)
            e = y - t
            d = np.dot(V.T, e) * (1 - h * h)
            V -= eta * np.outer(e, h)
            v -= eta * e
            U -= eta * np.dot(d.T, x)
            u -= eta * d
        print(epoch, total / len(data))

Use instead (samples first)
---------------------------
The outer product::

    import numpy as np

    rng = np.random.default_rng(5)
    data = rng.normal(size=(60, 6))
    wanted = np.tanh(data @ rng.normal(size=(6, 4)))
    U, u = 0.4 * rng.normal(size=(6, 6)), np.zeros(6)
    V, v = 0.4 * rng.normal(size=(4, 6)), np.zeros(4)
    eta = 0.05
    for epoch in range(10):
        total = 0.0
        for x, t in zip(data, wanted):
            s = np.dot(U, x) + u
            h = np.tanh(s)
            y = np.dot(V, h) + v
            total += 0.5 * np.sum((y - t) ** 2)
            e = y - t
            d = np.dot(V.T, e) * (1 - h * h)
            V -= eta * np.outer(e, h)
            v -= eta * e
            U -= eta * np.outer(d, x)
            u -= eta * d
        print(epoch, total / len(data))

How it is detected
------------------
Where a parameter of two axes has no gradient of its shape, the lines that
make its step are searched for a .T of an array with one axis. The outer
product of that array and the one it is multiplied by is compared with the
derivative of the loss, given the deltas of the program: it has to fit
within 1e-5.

Fix safety
----------
The product is replaced by np.outer of both. The changed program is examined
again from another seed, and the fix is called verified only if the finding
is gone and no error is new.

Known limits
------------
- Vectors of unequal length do not multiply, and the program breaks by
  itself.
- Programs that take one sample at a time; with a batch, arrays have two
  axes.

References
----------
- NumPy reference, ndarray.T and numpy.outer:
  https://numpy.org/doc/stable/reference/generated/numpy.outer.html
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.adjoints import Adjoint
from backprop_doctor.case import Case, Sighting
from backprop_doctor.gradients import Fit
from backprop_doctor.program import Event
from backprop_doctor.records import Evidence
from backprop_doctor.roles import Parameter
from backprop_doctor.rules._lines import Line

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """Parameters of two axes whose step is made with the transpose of a vector."""
    for parameter in case.roles.parameters:
        if sum(n > 1 for n in parameter.shape) < 2 or case.gradient(parameter) is not None:
            continue
        for operand in case.judgement.operands[parameter.object]:
            line = Line(case, Adjoint(operand, parameter, Fit(0.0, float("inf")), "none"))
            found = next((s for e in _turned(case, line) if (s := _sighting(line, parameter, e)) is not None), None)
            if found is not None:
                yield found
                break


def _turned(case: Case, line: Line) -> list[Event]:
    """Transposes of arrays with one axis in the line."""
    return [
        e
        for e in line.reads
        if isinstance(node := case.site(e.key).node, ast.Attribute) and node.attr == "T" and np.ndim(e.value) == 1
    ]


def _sighting(line: Line, parameter: Parameter, event: Event) -> Sighting | None:
    case = line.case
    parent = case.program.sites[event.site].parent
    made = [e for e in case.made_at(parent) if e.index > event.index] if parent is not None else []
    if not made:
        return None
    product = made[0]
    operands = [e for e in case.children(product) if np.ndim(e.value) == 1]
    if len(operands) != 2:
        return None
    one, two = (np.asarray(case.value(e.key), np.float64) for e in operands)
    texts = [case.text(case.site(e.key).node).removesuffix(".T") for e in operands]
    for array, pair in ((np.outer(one, two), texts), (np.outer(two, one), texts[::-1])):
        fit = line.fits(array)
        if fit.right:
            node = case.site(product.key).node
            formula = f"np.outer({', '.join(pair)})"
            shape = np.shape(product.value)
            return Sighting(
                node=node,
                message=f"{case.text(case.site(event.key).node)} has one axis and is not transposed: "
                f"{case.text(node)} is {case.describe(shape)}, and {parameter.name} is {parameter.shape}",
                label=f"{shape} for {parameter.shape}",
                why="the gradient of a matrix is the outer product of delta and input",
                evidence=(
                    Evidence(f"shape of {case.text(node)}", str(shape), str(parameter.shape)),
                    Evidence(f"{formula} as gradient of {parameter.name}", f"error {fit.residual:.1e}", "below 1e-5"),
                ),
                fix=formula,
                edits=(case.edit(node, formula),),
                objects=(line.value.object, product.object),
            )
    return None
