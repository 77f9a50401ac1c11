"""Reports made by hand: the question's network with its faults, and a healthy one."""

from __future__ import annotations

from backprop_doctor.records import (
    DataRole,
    Edit,
    Evidence,
    FileReport,
    Finding,
    Fix,
    LineVerdict,
    Loss,
    Metric,
    Network,
    ParameterVerdict,
    Position,
    ProgramFix,
    Role,
    Severity,
    Unchecked,
    Verdict,
)

PATH = "net.py"

PROGRAM = """\
import numpy as np
import tensorflow as tf
(traindataX, traindataY), (testdataX, testdataY) = tf.keras.datasets.mnist.load_data()
x_test = testdataX.reshape(testdataX.shape[0], testdataX.shape[1]**2).astype('float32')
x_test = x_test / 255
y_test = np.eye(10)[testdataY]

def tanh(z):
    a = (np.exp(z)-np.exp(-z))/(np.exp(z)+np.exp(-z))
    return a

def softmax(z):
    smExp = np.exp(z - np.max(z, axis=0))
    out = smExp / np.sum(smExp, axis=0)
    return out

def neural_network(num_hid, epochs, learning_rate, X, Y):
    W1 = np.random.randn(784, num_hid) * 0.01
    W2 = np.random.randn(num_hid, 10) * 0.01
    b1 = np.zeros((1, num_hid))
    b2 = np.zeros((1, 10))
    correct = 0
    for x in range(1, epochs+1):
        Z1 = np.dot(X, W1) + b1
        A1 = tanh(Z1)
        Z2 = np.dot(A1, W2) + b2
        A2 = softmax(Z2)

        m = X.shape[1] #-> 784
        loss = - np.sum((Y * np.log(A2)), axis=0, keepdims=True)
        cost = np.sum(loss, axis=1) / m

        dZ2 = A2 - Y
        dW2 = (1/m)*np.dot(A1.T, dZ2)
        db2 = (1/m)*np.sum(dZ2, axis = 1, keepdims = True)
        dZ1 = np.multiply(np.dot(dZ2, W2.T), 1 - np.power(A1, 2))
        dW1 = (1/m)*np.dot(X.T, dZ1)
        db1 = (1/m)*np.sum(dZ1, axis = 1, keepdims = True)

        W1 = W1 - dW1*learning_rate
        b1 = b1 - db1*learning_rate
        W2 = W2 - dW2*learning_rate
        b2 = b2 - db2*learning_rate

        for i in range(np.shape(Y)[1]):
            guess = np.argmax(A2[i, :])
            ans = np.argmax(Y[i, :])
            print(str(x) + " " + str(i) + ". " +"guess: ", guess, "| ans: ", ans)
            if guess == ans:
                correct = correct + 1;
        accuracy = (correct/np.shape(Y)[0]) * 100
    return accuracy

neural_network(60, 100, 0.3, x_test, y_test)
"""

SIZES = {"samples": 97, "features": 784, "hidden": 60, "classes": 10, "1": 1}


def where(line: int, text: str) -> Position:
    """The place of a piece of text in a line of the program."""
    column = PROGRAM.splitlines()[line - 1].index(text) + 1
    return Position(PATH, line, column, line, column + len(text))


def found(
    code: str,
    name: str,
    line: int,
    text: str,
    message: str,
    *,
    severity: Severity = "error",
    label: str = "",
    why: str = "",
    evidence: tuple[Evidence, ...] = (),
    fix: Fix | None = None,
    symptoms: tuple[str, ...] = (),
) -> Finding:
    """A confirmed finding at a piece of text."""
    position = where(line, text)
    fix = fix or Fix()
    return Finding(code, name, severity, "confirmed", position, message, label, why, evidence, fix, symptoms)


def edited(line: int, text: str, replacement: str, proof: str) -> Fix:
    """A verified fix of one edit."""
    return Fix("verified", replacement, (Edit(where(line, text), replacement),), None, proof)


SOFTMAX = {
    "message": "A2 is (samples 97, classes 10) and the softmax runs over the samples: each column sums to 1",
    "why": "softmax of sample i divides exp(z_ic) by its sum over the classes c; over the samples, every image "
    "changes the probabilities of all others",
    "evidence": (
        Evidence("A2 summed over the classes of sample 93", "0.0883", "1 within 1e-6"),
        Evidence("rows of A2 changed by a change of image 0", "97", "1"),
    ),
}

FINDINGS = (
    found("BD102", "softmax-over-samples", 13, "axis=0", label="runs over the 97 samples",
          fix=edited(13, "axis=0", "axis=1, keepdims=True", "97 of 97 rows sum to 1 within 1e-15"), **SOFTMAX),
    found("BD102", "softmax-over-samples", 14, "axis=0", label="runs over the 97 samples",
          fix=edited(14, "axis=0", "axis=1, keepdims=True", "97 of 97 rows sum to 1 within 1e-15"), **SOFTMAX),
    found("BD101", "batch-size-from-feature-axis", 29, "X.shape[1]", label="784 features",
          message="m is 784, the number of features, and the sums over the samples are divided by it",
          why="the average over N samples is their sum divided by N = 97",
          evidence=(Evidence("dW1 over the gradient of the mean loss", "N/D = 0.124", "1 within 1e-5"),),
          symptoms=("on all 10000 images each step is 12.8 times too large",),
          fix=edited(29, "X.shape[1]", "X.shape[0]", "factor 1.000 for all parameters")),
    found("BD301", "bias-gradient-wrong-axis", 35, "axis = 1", label="sums over the classes",
          message="db2 is (samples 97, 1); b2 is (1, classes 10), and grew to (97, 10) after one step",
          why="every sample adds its own row of dZ2 to the gradient of b2: sum over the samples",
          fix=edited(35, "axis = 1", "axis = 0", "factor 1.000 at 10 of 10 entries, error 3e-9")),
    found("BD301", "bias-gradient-wrong-axis", 38, "axis = 1", label="sums over the hidden units",
          message="db1 is (samples 97, 1); b1 is (1, hidden 60), and grew to (97, 60) after one step",
          why="every sample adds its own row of dZ1 to the gradient of b1: sum over the samples",
          fix=edited(38, "axis = 1", "axis = 0", "factor 1.000 at 60 of 60 entries, error 2e-9")),
    found("BD503", "accuracy-counter-not-reset", 22, "correct = 0", label="set once, before the epochs",
          message="correct is never set back: the hits of earlier epochs are counted again",
          evidence=(Evidence("accuracy of a perfect network in epoch 100", "10.0 %", "100 %"),)),
    found("BD502", "accuracy-loop-bounds", 45, "np.shape(Y)[1]", label="10 classes",
          message="the accuracy looks at 10 of the 97 samples and divides by 97",
          evidence=(Evidence("accuracy of a perfect network in epoch 1", "10.3 %", "100 %"),),
          fix=edited(45, "np.shape(Y)[1]", "np.shape(Y)[0]", "a perfect network scores 100 %")),
    found("BD701", "exp-overflow", 9, "(np.exp(z)-np.exp(-z))/(np.exp(z)+np.exp(-z))", severity="warning",
          label="nan from z = 710 on", message="the quotient is nan when Z1 is large: exp(710) is infinite",
          evidence=(Evidence("output with Z1 at +-1000", "nan", "finite"),),
          fix=Fix("offered", "np.tanh(z)")),
    found("BD506", "evaluated-on-training-data", 45, "np.shape(Y)[1]", severity="warning",
          message="the accuracy is taken on the images the network was trained on"),
    found("BD207", "loss-summed-per-class", 30, "np.sum((Y * np.log(A2)), axis=0, keepdims=True)",
          severity="note", message="loss is (1, classes 10): one number a class, not one a sample"),
)  # fmt: skip


def judged(line: int, target: str, role: Role, axes: str, verdict: Verdict = "right", meaning: str = "") -> LineVerdict:
    """A line of the chart; ``axes`` are names separated by spaces."""
    names = tuple(axes.split())
    shape = tuple(SIZES[name] for name in names)
    return LineVerdict(PATH, line, target, role, shape, names, verdict, meaning)


LINES = (
    judged(9, "a", "forward", "samples hidden"),
    judged(13, "smExp", "forward", "samples classes", "wrong", "BD102"),
    judged(14, "out", "forward", "samples classes", "wrong", "BD102"),
    judged(24, "Z1", "forward", "samples hidden"),
    judged(25, "A1", "forward", "samples hidden"),
    judged(26, "Z2", "forward", "samples classes"),
    judged(27, "A2", "forward", "samples classes", "wrong", "BD102"),
    judged(29, "m", "loss", "", "wrong", "BD101"),
    judged(30, "loss", "loss", "1 classes"),
    judged(31, "cost", "loss", "1"),
    judged(33, "dZ2", "backward", "samples classes", meaning="gradient of Z2 in a cross-entropy after softmax"),
    judged(34, "dW2", "backward", "hidden classes", meaning="gradient of W2, times 1/D"),
    judged(35, "db2", "backward", "samples 1", "wrong", "BD301"),
    judged(36, "dZ1", "backward", "samples hidden", meaning="gradient of Z1"),
    judged(37, "dW1", "backward", "features hidden", meaning="gradient of W1, times 1/D"),
    judged(38, "db1", "backward", "samples 1", "wrong", "BD301"),
    judged(40, "W1", "update", "features hidden", meaning="step against the gradient"),
    judged(41, "b1", "update", "samples hidden", "wrong", "BD301"),
    judged(42, "W2", "update", "hidden classes", meaning="step against the gradient"),
    judged(43, "b2", "update", "samples classes", "wrong", "BD301"),
    judged(46, "guess", "metric", "", "unknown", "an index has no derivative"),
    judged(50, "correct", "metric", "", "wrong", "BD503"),
    judged(51, "accuracy", "metric", "", "wrong", "BD502"),
)

NETWORK = Network(
    parameters=(
        ParameterVerdict("W1", 18, (784, 60), ("features", "hidden"), "dW1", "right", 3.1e-9, "1/D",
                         "given dZ1 as gradient of Z1", PATH),
        ParameterVerdict("W2", 19, (60, 10), ("hidden", "classes"), "dW2", "right", 2.8e-12, "1/D",
                         "given dZ2 as gradient of Z2", PATH),
        ParameterVerdict("b1", 20, (1, 60), ("1", "hidden"), "db1", "wrong", None, None, "BD301 at line 38", PATH),
        ParameterVerdict("b2", 21, (1, 10), ("1", "classes"), "db2", "wrong", None, None, "BD301 at line 35", PATH),
    ),
    inputs=DataRole("X", (97, 784), ("samples", "features"), 17),
    labels=DataRole("Y", (97, 10), ("samples", "classes"), 17),
    output=DataRole("A2", (97, 10), ("samples", "classes"), 27),
    loss=Loss("cost", 31, "declared", "cross-entropy, summed over the samples, times 1/D"),
    metric=Metric("accuracy", 51, 0.0103, 0.0812),
)  # fmt: skip

FAULTY = FileReport(
    path=PATH,
    verdict="faulty",
    ran=True,
    seconds=0.93,
    network=NETWORK,
    lines=LINES,
    findings=FINDINGS,
    fix=ProgramFix(
        "verified",
        "--- net.py\n+++ net.py\n",
        0.0812,
        0.894,
        tuple(edit for finding in FINDINGS if finding.fix.status == "verified" for edit in finding.fix.edits),
        proof="run again on other images from another seed: no errors left, 4 of 4 gradients right, "
        "error at most 9e-12",
    ),
    unchecked=(Unchecked("line 46", "guess is an index and has no derivative"),),
    remarks=("tensorflow is not installed: its MNIST loader was answered with the packaged MNIST",),
)

HEALTHY = FileReport(
    path="healthy.py",
    verdict="healthy",
    ran=True,
    seconds=0.8,
    network=Network(parameters=NETWORK.parameters[:2]),
)

NOT_RUN = FileReport(
    path="broken.py",
    verdict="unknown",
    ran=False,
    seconds=0.1,
    unchecked=(Unchecked("the program", "broken.py:3:7: syntax error: '(' was never closed"),),
)
