"""BD209 printed-loss-not-descended: the loss shown is not the one the gradients descend.

What it does
------------
Notes that the loss the program computes and shows is another one than its
gradients belong to.

Why it is wrong
---------------
It is a question of words more than a fault. N samples, C classes, Z and A of
shape (N, C), A the softmax of Z. With cross-entropy, averaged over N,

    dZ = (A - Y) / N

With the squared error, averaged over N, and a sample's row a and target y,

    dz = 2 * (a * (a - y) - a * (a @ (a - y))) / N

A program that prints the squared error and uses the first line descends
cross-entropy. For both the best output is A = Y, so it learns; but the number
shown is not the one made smaller, may rise while training goes well, and a
gradient check against it fails.

Example (samples first)
-----------------------
The loss is a squared error, and dZ is that of cross-entropy::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))  # samples in rows
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W, b = np.zeros((20, 3)), np.zeros((1, 3))
    for step in range(12):
        Z = X @ W + b
        E = np.exp(Z - Z.max(axis=1, keepdims=True))
        A = E / E.sum(axis=1, keepdims=True)
        loss = np.sum((A - Y) ** 2) / len(X)
        dZ = (A - Y) / len(X)
        dW = X.T @ dZ
        db = dZ.sum(axis=0, keepdims=True)
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

Use instead (samples first)
---------------------------
Show the loss that dZ belongs to::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))  # samples in rows
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W, b = np.zeros((20, 3)), np.zeros((1, 3))
    for step in range(12):
        Z = X @ W + b
        E = np.exp(Z - Z.max(axis=1, keepdims=True))
        A = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A + 1e-12)) / len(X)
        dZ = (A - Y) / len(X)
        dW = X.T @ dZ
        db = dZ.sum(axis=0, keepdims=True)
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

How it is detected
------------------
The gradients are compared with numeric derivatives of the loss the program
computes, and none fits. Then they are compared with the derivatives of usual
losses of output and labels: cross-entropy, binary cross-entropy and squared
error. The rule fires if one of these explains the gradient of every
parameter, each up to a constant.

Fix safety
----------
No edit is proposed. Changing the loss shown is harmless; changing the
gradients changes what is trained.

Known limits
------------
- Only the three losses above are tried. With a penalty on the weights none of
  them fits exactly.
- If a gradient is wrong, nothing can be said about the loss it belongs to,
  and the rule is silent.

References
----------
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  5.2: output units and the error function that matches them.
- Nielsen (2015), Neural Networks and Deep Learning, Determination Press,
  chapter 3: cross-entropy against quadratic cost.
"""

from __future__ import annotations

from collections.abc import Iterator

from backprop_doctor.case import Case, Sighting
from backprop_doctor.records import Evidence

SEVERITY = "note"
LAST_RESORT = 1


def examine(case: Case) -> Iterator[Sighting]:
    """A declared loss that fits no gradient, while one of the usual losses fits all of them."""
    judgement = case.judgement
    declared, implied = judgement.declared, judgement.implied
    if declared is None or judgement.declared_fits or not implied:
        return
    gradients = [case.gradient(p) for p in case.roles.parameters]
    if not all(g is not None and g.right and case.total_factor(g) is not None for g in gradients):
        return
    if any(case.chain(g)[-1].given == "canonical" for g in gradients if g):
        return
    yield Sighting(
        node=case.home(declared),
        message=f"{declared.name} is computed, and the gradients descend {implied}: both are smallest in the same "
        "place, the number shown is not the one minimised",
        label=f"the gradients descend {implied}",
        evidence=(Evidence("loss whose derivative fits every gradient", implied, declared.name),),
        objects=(declared.object,),
    )
