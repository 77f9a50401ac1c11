"""BD315 recurrent-path-dropped: a gradient leaves out what comes back from the next step in time.

What it does
------------
Finds a value of the backward pass that is the gradient of a state as far
as it goes, and leaves out another way in which that state reaches the
outputs: the next step in time, or a connection around a layer.

Why it is wrong
---------------
A state h[t] makes the output y[t] and, through the recurrent weights, the
next state h[t+1].  Its gradient is the sum over both: dh[t] (H, 1) =
Why.T @ dy[t] + Whh.T @ dz[t+1].  Without the second term the network
learns only what the present step can tell, and nothing through time.

Example
-------
The present step alone::

    import numpy as np

    rng = np.random.default_rng(3)
    Wxh, Why = rng.normal(size=(5, 3)), rng.normal(size=(2, 5))
    Whh = rng.normal(size=(5, 5)) * 0.3
    xs = rng.normal(size=(6, 3, 1))
    ts = rng.normal(size=(6, 2, 1))
    for step in range(20):
        hs, ys, loss = {-1: np.zeros((5, 1))}, {}, 0.0
        for t in range(6):
            hs[t] = np.tanh(Wxh @ xs[t] + Whh @ hs[t - 1])
            ys[t] = Why @ hs[t]
            loss += 0.5 * np.sum((ys[t] - ts[t]) ** 2)
        dWxh, dWhh = np.zeros_like(Wxh), np.zeros_like(Whh)
        dWhy = np.zeros_like(Why)
        for t in reversed(range(6)):
            dy = ys[t] - ts[t]
            dWhy += dy @ hs[t].T
            dh = Why.T @ dy
            dz = (1 - hs[t] ** 2) * dh
            dWxh += dz @ xs[t].T
            dWhh += dz @ hs[t - 1].T
        Wxh, Whh = Wxh - 0.01 * dWxh, Whh - 0.01 * dWhh
        Why = Why - 0.01 * dWhy
        print(step, loss)

Use instead
-----------
The present step and the next one::

    import numpy as np

    rng = np.random.default_rng(3)
    Wxh, Why = rng.normal(size=(5, 3)), rng.normal(size=(2, 5))
    Whh = rng.normal(size=(5, 5)) * 0.3
    xs = rng.normal(size=(6, 3, 1))
    ts = rng.normal(size=(6, 2, 1))
    for step in range(20):
        hs, ys, loss = {-1: np.zeros((5, 1))}, {}, 0.0
        for t in range(6):
            hs[t] = np.tanh(Wxh @ xs[t] + Whh @ hs[t - 1])
            ys[t] = Why @ hs[t]
            loss += 0.5 * np.sum((ys[t] - ts[t]) ** 2)
        dWxh, dWhh = np.zeros_like(Wxh), np.zeros_like(Whh)
        dWhy = np.zeros_like(Why)
        dnext = np.zeros((5, 1))
        for t in reversed(range(6)):
            dy = ys[t] - ts[t]
            dWhy += dy @ hs[t].T
            dh = Why.T @ dy + dnext
            dz = (1 - hs[t] ** 2) * dh
            dWxh += dz @ xs[t].T
            dWhh += dz @ hs[t - 1].T
            dnext = Whh.T @ dz
        Wxh, Whh = Wxh - 0.01 * dWxh, Whh - 0.01 * dWhh
        Why = Why - 0.01 * dWhy
        print(step, loss)

How it is detected
------------------
The gradient of a parameter that is read several times is not the
derivative of the loss, although each of its parts is right for the
reading it belongs to, given the program's own delta.  A delta is then
blamed if it is right for one later value, and the outputs still move when
that value is held and the state is moved.

Fix safety
----------
No edit is proposed: the missing term may have to be computed first.

Known limits
------------
- Found on the way from a parameter that is read more than once.
- A truncated sum over time that is meant (a fixed number of steps back)
  is not told apart from one that is forgotten.

References
----------
- Werbos (1990), Backpropagation through time: what it does and how to do
  it, Proceedings of the IEEE 78, 1550-1560.
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press,
  section 10.2.2: computing the gradient in a recurrent neural network.
"""

from __future__ import annotations

from collections.abc import Iterator

from backprop_doctor.case import Case, Sighting
from backprop_doctor.records import Evidence

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """Values that are right for one later value only, on the way to a gradient that is not right as a whole."""
    for claim in case.wrong_adjoints:
        if not claim.partial or claim.upstream is None or claim.through is None:
            continue
        b, of, through = claim.value, claim.of, claim.through
        yield Sighting(
            node=case.home(b),
            message=f"{b.name} is the gradient of {of.name} by way of {through.name} alone; {of.name} reaches the "
            "outputs another way too",
            label="leaves a path out",
            why=f"the gradient of {of.name} is the sum over all that is made from it, the next step in time included",
            evidence=(
                Evidence(f"{b.name} by way of {through.name}", f"error {claim.fit.residual:.1e}", "below 1e-5"),
                Evidence(f"outputs when {of.name} is moved and {through.name} is held", "move", "stay"),
            ),
            objects=(b.object,),
        )
