"""BD300 gradient-wrong: a value used as a gradient is not the derivative it stands for.

What it does
------------
Finds a line of the backward pass whose value is not the derivative it is used
as, and for which no other rule has a name.

Why it is wrong
---------------
If the loss L depends on a value v of the forward pass, then for a small step
h along any direction d of v's shape

    L(v + h d) - L(v) = h * sum(G * d) + terms in h**2,    G = dL/dv

There is only one G with this property. Example: Z2 = A1 @ W2 with A1 of shape
(N, H) and dZ2 of shape (N, C) gives dW2 = A1.T @ dZ2 of shape (H, C). Another
array of shape (N, H) in the place of A1 has the same shapes and another
direction. Training often goes on, more slowly or to a worse end, so that a
loss that falls proves nothing.

Example (samples first)
-----------------------
The weight gradient is built with the squares of A1, while the layer's input
is A1::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W1, b1 = 0.3 * rng.normal(size=(20, 16)), np.zeros((1, 16))
    W2, b2 = 0.3 * rng.normal(size=(16, 3)), np.zeros((1, 3))
    for step in range(12):
        Z1 = X @ W1 + b1
        A1 = np.tanh(Z1)
        Z2 = A1 @ W2 + b2
        E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        A2 = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / len(X)
        dZ2 = (A2 - Y) / len(X)
        dW2 = (A1**2).T @ dZ2
        db2 = dZ2.sum(axis=0, keepdims=True)
        dZ1 = (dZ2 @ W2.T) * (1 - A1**2)
        dW1 = X.T @ dZ1
        db1 = dZ1.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * dW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * dW2
        b2 = b2 - 0.5 * db2
        print(step, loss)

Use instead (samples first)
---------------------------
The gradient of a weight is the layer's own input times its delta::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W1, b1 = 0.3 * rng.normal(size=(20, 16)), np.zeros((1, 16))
    W2, b2 = 0.3 * rng.normal(size=(16, 3)), np.zeros((1, 3))
    for step in range(12):
        Z1 = X @ W1 + b1
        A1 = np.tanh(Z1)
        Z2 = A1 @ W2 + b2
        E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        A2 = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / len(X)
        dZ2 = (A2 - Y) / len(X)
        dW2 = A1.T @ dZ2
        db2 = dZ2.sum(axis=0, keepdims=True)
        dZ1 = (dZ2 @ W2.T) * (1 - A1**2)
        dW1 = X.T @ dZ1
        db1 = dZ1.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * dW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * dW2
        b2 = b2 - 0.5 * db2
        print(step, loss)

How it is detected
------------------
Each value of the backward pass is judged on what it was given: with the
program's own delta of a later value, the right delta of an earlier one is
measured by central differences along three random directions (every entry,
for arrays of up to three). A relative error above 1e-3 is wrong, one below
1e-5 is right, and in between is doubt, which is not reported. So a wrong line
does not put its blame on right lines that follow it. Weights are replaced by
random ones and biases moved away from zero, because small weights hide
faults.

Fix safety
----------
What is proposed is worked out with the values of the run and makes the line
the derivative: one of the arrays it is made from alone (a factor or a summand
too many), the product of two arrays that the function has at hand, or an
error times the slope of the activation. Nothing is proposed where a value is
cut off at a limit, nor where an array would be read no more: that was done on
purpose. The changed program is examined again from another seed, and the fix
is called verified only if the finding is gone and no error is new.

Known limits
------------
- It speaks last: if a rule with a more exact name explains the value, that
  one is reported instead.
- Silent where at most half of the values in the backward pass can be
  understood; then the doctor is lost, and says what it could not check.
- A gradient that is right up to a constant factor is not wrong in this sense,
  nor is that of a parameter which is cut off at a limit, as by np.clip.
- A gradient can be exact for a loss that is wrong itself (BD101, BD102).
- At a kink (ReLU at 0) the measured derivative depends on the side; a shorter
  step is tried before anything is said.

References
----------
- Rumelhart, Hinton and Williams (1986), Learning representations by
  back-propagating errors, Nature 323, 533-536.
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  5.3: backpropagation, and central differences as a check.
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  6.5: backpropagation and other differentiation algorithms.
"""

from __future__ import annotations

from collections.abc import Iterator

from backprop_doctor.case import Case, Sighting
from backprop_doctor.records import Evidence
from backprop_doctor.rules._lines import wrong_lines
from backprop_doctor.rules._rewrites import rewritten

SEVERITY = "error"
LAST_RESORT = 2


def examine(case: Case) -> Iterator[Sighting]:
    """Report wrong adjoints and gradients that no more precise rule explains."""
    for line in case.once(wrong_lines):
        link = line.link
        b, of = link.value, link.of
        basis = f" (given {link.upstream.name})" if link.upstream else " (given the loss)"
        if not link.paired:
            # What comes closest by its numbers is not what the line was made from.
            basis = ""
        node = case.place(link)
        better = None if link.shifted or node is not case.home(b) else rewritten(line)
        scattered = f"{b.name} is another multiple of the gradient at each point: a number that it is made of is wrong"
        yield Sighting(
            node=node,
            message=scattered if link.scattered else f"{b.name} is not the gradient of {of.name}{basis}",
            label=f"not the gradient of {of.name}",
            why=f"along random directions the loss changes by <gradient, direction>; {b.name} gives other numbers",
            evidence=(
                Evidence(
                    f"{b.name} against finite differences of {of.name}",
                    f"error {link.fit.residual:.2g}",
                    "below 1e-5",
                ),
                *([better.evidence] if better else ()),
            ),
            fix=better.text if better else "",
            edits=better.edits if better else (),
            objects=(b.object,),
        )
