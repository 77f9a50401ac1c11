"""What the faulty programs of the rules were meant to be, by hand: old text and new, one after another.

A fix need not be written the same way, but the program it makes has to come to the same numbers.
"""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["CORRECTIONS", "corrected"]

COMMENT = re.compile(r" +# (expect|warn|note):.*")


def corrected(path: Path) -> str | None:
    """The program that a fixture was meant to be; None where that is not written down."""
    changes = CORRECTIONS.get(f"{path.parent.name}/{path.stem}")
    text = COMMENT.sub("", path.read_text(encoding="utf-8"))
    for old, new in changes or ():
        assert text.count(old) == 1, f"{path}: {old!r} is there {text.count(old)} times"
        text = text.replace(old, new)
    return text if changes else None


CORRECTIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "accumulator_not_reset/bad_features_first": (("gW2 = gW2 + dZ2 @ A1.T", "gW2 = dZ2 @ A1.T"),),
    "accumulator_not_reset/bad_one_by_one": (
        ("dV, dv = 0 * V, 0 * v\n", ""),
        ("    dU, du = 0 * U, 0 * u\n", "    dU, du = 0 * U, 0 * u\n    dV, dv = 0 * V, 0 * v\n"),
    ),
    "accumulator_not_reset/bad_samples_first": (
        ("gW2 += A1.T @ dZ2", "gW2 = A1.T @ dZ2"),
        ("gW1 += X.T @ dZ1", "gW1 = X.T @ dZ1"),
    ),
    "accuracy_counter_not_reset/bad_features_first": (
        ("correct = 0\n", ""),
        ("for epoch in range(25):\n", "for epoch in range(25):\n    correct = 0\n"),
    ),
    "accuracy_counter_not_reset/bad_one_output": (
        ("\nright = 0", ""),
        ("    right += np.sum((p_test", "    right = 0\n    right += np.sum((p_test"),
    ),
    "accuracy_counter_not_reset/bad_samples_first": (
        ("hits = 0\n", ""),
        ("for epoch in range(30):\n", "for epoch in range(30):\n    hits = 0\n"),
    ),
    "accuracy_counter_not_reset/bad_vectors": (
        ("right = 0\n", ""),
        ("for epoch in range(15):\n", "for epoch in range(15):\n    right = 0\n"),
    ),
    "accuracy_denominator/bad_class_count": (("score = hits / net.p.shape[1]", "score = hits / len(y_test)"),),
    "accuracy_denominator/bad_constant_features_first": (
        ("accuracy = 100 * correct / 1000", "accuracy = 100 * correct / test_Y.shape[1]"),
    ),
    "accuracy_denominator/bad_one_by_one": (("right / len(training)", "right / len(held_out)"),),
    "accuracy_denominator/bad_one_output": (("== y_test) / len(X)", "== y_test) / len(X_test)"),),
    "accuracy_denominator/bad_other_set": (("accuracy = correct / len(X_train)", "accuracy = correct / len(Y_test)"),),
    "accuracy_denominator/bad_shares_of_batches": (("shares / 40", "shares / 4"),),
    "accuracy_denominator/bad_whole_division": (
        ("accuracy = correct // len(X_test) * 100", "accuracy = correct / len(X_test) * 100"),
    ),
    "accuracy_loop_bounds/bad_features_first": (("for k in range(len(A2)):", "for k in range(A2.shape[1]):"),),
    "accuracy_loop_bounds/bad_half": (("range(len(X_test) // 2)", "range(len(X_test))"),),
    "accuracy_loop_bounds/bad_samples_first": (("for i in range(Y_test.shape[1]):", "for i in range(len(Y_test)):"),),
    "accuracy_overwritten_or_elementwise/bad_elementwise": (
        (
            "accuracy = (np.round(P) == Y_test).mean()",
            "accuracy = (np.argmax(P, axis=1) == np.argmax(Y_test, axis=1)).mean()",
        ),
    ),
    "accuracy_overwritten_or_elementwise/bad_one_by_one": (("right = int(", "right += int("),),
    "accuracy_overwritten_or_elementwise/bad_overwritten": (
        (
            "correct = int(np.argmax(P[i]) == np.argmax(Y_test[i]))",
            "correct += int(np.argmax(P[i]) == np.argmax(Y_test[i]))",
        ),
    ),
    "accuracy_overwritten_or_elementwise/bad_plus_on_the_wrong_side": (
        ("correct =+ float(hit)", "correct += float(hit)"),
    ),
    "activation_applied_twice_forward/bad_features_first": (("A2 = softmax(P)", "A2 = P"),),
    "activation_applied_twice_forward/bad_samples_first": (("A2 = softmax(softmax(Z2))", "A2 = softmax(Z2)"),),
    "activation_applied_twice_forward/bad_sigmoid": (
        ("p = sigmoid(sigmoid(hidden @ W2 + b2))", "p = sigmoid(hidden @ W2 + b2)"),
    ),
    "activation_derivative_missing/bad_class": (
        ("d1 = np.dot(d2, self.W2.T)", "d1 = np.dot(d2, self.W2.T) * (1 - self.h**2)"),
    ),
    "activation_derivative_missing/bad_features_first": (("dZ1 = W2.T @ dZ2", "dZ1 = W2.T @ dZ2 * (1 - A1**2)"),),
    "activation_derivative_missing/bad_samples_first": (("dZ1 = dZ2 @ W2.T", "dZ1 = dZ2 @ W2.T * (1 - A1**2)"),),
    "activation_derivative_missing/bad_two_losses": (
        (
            "np.dot(self.to_output.T, output_errors)",
            "np.dot(self.to_output.T, output_errors * outputs * (1.0 - outputs))",
        ),
    ),
    "activation_derivative_wrong_argument/bad_layers": (("1 - self.x**2", "1 - np.tanh(self.x) ** 2"),),
    "activation_derivative_wrong_argument/bad_samples_first": (("(1 - Z1**2)", "(1 - A1**2)"),),
    "activation_derivative_wrong_argument/bad_vectors": (
        ("* slope(activations[1])", "* activations[1] * (1 - activations[1])"),
    ),
    "activation_derivative_wrong_function/bad_always_true": (
        ("d1 = (d2 @ W2.T) * (h1 >= 0)", "d1 = (d2 @ W2.T) * ((z1 > 0))"),
    ),
    "activation_derivative_wrong_function/bad_class": (
        ("d1 = (d2 @ self.w2.T) * (self.a1 * (1 + self.a1))", "d1 = (d2 @ self.w2.T) * ((self.a1 * (1 - self.a1)))"),
    ),
    "activation_derivative_wrong_function/bad_features_first": (
        ("dZ1 = (W2.T @ dZ2) * A1 * (1 - A1)", "dZ1 = W2.T @ dZ2 * (1 - A1**2)"),
    ),
    "activation_derivative_wrong_function/bad_samples_first": (
        ("dZ1 = (dZ2 @ W2.T) * (A1 * (1 - A1))", "dZ1 = (dZ2 @ W2.T) * ((1 - A1**2))"),
    ),
    "aliased_arrays/bad_features_first": (("before = W", "before = W.copy()"),),
    "aliased_arrays/bad_list_of_one_array": (
        ("store = [np.zeros((9,))] * 2", "store = [np.zeros((9,)) for _ in range(2)]"),
    ),
    "aliased_arrays/bad_samples_first": (("before = W", "before = W.copy()"),),
    "argmax_axis/bad_features_first": (
        ("guesses = scores.argmax(axis=1)", "guesses = scores.argmax(axis=0)"),
        ("answers = test_Y.argmax(axis=1)", "answers = test_Y.argmax(axis=0)"),
    ),
    "argmax_axis/bad_over_samples": (
        (
            "accuracy = np.mean(np.argmax(P, axis=0) == np.argmax(Y_test, axis=0))",
            "accuracy = np.mean(np.argmax(P, axis=1) == np.argmax(Y_test, axis=1))",
        ),
    ),
    "argmax_axis/bad_without_axis": (
        ("hit = np.argmax(P) == np.argmax(Y_test)", "hit = np.argmax(P, axis=1) == np.argmax(Y_test, axis=1)"),
    ),
    "batch_averaging_missing_or_twice/bad_class": (("rate * delta2.sum(axis=0)", "rate * delta2.sum(axis=0) / n"),),
    "batch_averaging_missing_or_twice/bad_features_first": (("dZ1.mean(axis=1", "dZ1.sum(axis=1"),),
    "batch_averaging_missing_or_twice/bad_layers": (("self.x.T @ grad / len(self.x)", "self.x.T @ grad"),),
    "batch_averaging_missing_or_twice/bad_samples_first": (("(1 - A1**2) / m", "(1 - A1**2)"),),
    "batch_averaging_missing_or_twice/bad_stray_numbers": (
        ("np.dot(A1.T, dZ2) * 2", "np.dot(A1.T, dZ2)"),
        ("4.0 / m", "1.0 / m"),
    ),
    "batch_averaging_missing_or_twice/bad_two_of_four": (
        ("rate * delta2.sum(axis=0)", "rate * delta2.sum(axis=0) / n"),
        ("rate * delta1.sum(axis=0)", "rate * delta1.sum(axis=0) / n"),
    ),
    "batch_size_from_feature_axis/bad_class": (("n = x.shape[1]", "n = x.shape[0]"),),
    "batch_size_from_feature_axis/bad_features_first": (("m = X.shape[0]", "m = X.shape[1]"),),
    "batch_size_from_feature_axis/bad_samples_first": (("m = X.shape[1]", "m = X.shape[0]"),),
    "bias_column_not_dropped/bad_features_first": (("dZ1 = dH[:-1] * (1 - A1**2)", "dZ1 = dH[1:] * (1 - A1**2)"),),
    "bias_column_not_dropped/bad_ones_last": (("dZ1 = dH[:, 1:] * (1 - A1**2)", "dZ1 = dH[:, :-1] * (1 - A1**2)"),),
    "bias_column_not_dropped/bad_samples_first": (("dZ1 = dH[:, :-1] * (1 - A1**2)", "dZ1 = dH[:, 1:] * (1 - A1**2)"),),
    "bias_gradient_no_axis/bad_class": (("grad = np.sum(d1)", "grad = np.sum(d1, axis=0, keepdims=True)"),),
    "bias_gradient_no_axis/bad_features_first": (("db1 = np.sum(dZ1)", "db1 = np.sum(dZ1, axis=1, keepdims=True)"),),
    "bias_gradient_no_axis/bad_in_the_update": (("b1 -= 0.4 * np.sum(delta1)", "b1 -= 0.4 * delta1.sum(axis=0)"),),
    "bias_gradient_no_axis/bad_one_map_for_each_filter": (
        ("bias -= 0.01 * d_maps.sum()", "bias -= 0.01 * d_maps.sum(axis=0)"),
    ),
    "bias_gradient_no_axis/bad_samples_first": (("db1 = dZ1.sum()", "db1 = dZ1.sum(axis=0, keepdims=True)"),),
    "bias_gradient_no_axis/bad_sum_is_nothing": (("np.sum(dZ2)", "np.sum(dZ2, axis=1, keepdims=True)"),),
    "bias_gradient_wrong_axis/bad_class": (
        ("grad = np.sum(d1, axis=1, keepdims=True)", "grad = np.sum(d1, axis=0, keepdims=True)"),
    ),
    "bias_gradient_wrong_axis/bad_features_first": (
        ("db1 = dZ1.sum(axis=0, keepdims=True)", "db1 = dZ1.sum(axis=1, keepdims=True)"),
    ),
    "bias_gradient_wrong_axis/bad_samples_first": (
        ("db1 = dZ1.sum(axis=1, keepdims=True)", "db1 = dZ1.sum(axis=0, keepdims=True)"),
    ),
    "bias_gradient_wrong_reduction/bad_features_first": (('"b2": dZ2,', '"b2": np.sum(dZ2, axis=1, keepdims=True),'),),
    "bias_gradient_wrong_reduction/bad_in_the_step": (
        ("self.b1 = self.b1 - rate * delta1", "self.b1 = self.b1 - rate * delta1.sum(axis=0)"),
    ),
    "bias_gradient_wrong_reduction/bad_last_sample": (
        ("self.bias_grad = grad[-1]", "self.bias_grad = grad.sum(axis=0)"),
    ),
    "bias_gradient_wrong_reduction/bad_samples_first": (
        ("db1 = dZ1 / m", "db1 = np.sum(dZ1, axis=0, keepdims=True) / m"),
    ),
    "cross_entropy_sign_or_branch/bad_features_first": (
        (
            "cost = -np.mean((1 - y) * np.log(q) + y * np.log(1 - q))",
            "cost = -np.mean((1 - y) * np.log(1 - q) + y * np.log(q))",
        ),
    ),
    "cross_entropy_sign_or_branch/bad_samples_first": (
        (
            "cost = np.mean(-y * np.log(q) + (1 - y) * np.log(1 - q))",
            "cost = np.mean(-y * np.log(q) - (1 - y) * np.log(1 - q))",
        ),
    ),
    "cross_entropy_sign_or_branch/bad_summed": (
        (
            "cost = np.sum(y * np.log(q) - (1 - y) * np.log(1 - q))",
            "cost = np.sum(-y * np.log(q) - (1 - y) * np.log(1 - q))",
        ),
    ),
    "dropout_mask_not_reused/bad_features_first": (
        ("dZ1 = (W2.T @ dZ2) * (1 - A1**2)", "dZ1 = (W2.T @ dZ2 * mask) * (1 - A1**2)"),
    ),
    "dropout_mask_not_reused/bad_inverted_in_place": (
        ("dZ1 = dZ2 @ W2.T * (Z1 > 0)", "dZ1 = dZ2 @ W2.T * mask * (Z1 > 0)"),
    ),
    "dropout_mask_not_reused/bad_samples_first": (
        ("dZ1 = (dZ2 @ W2.T) * (1 - A1**2)", "dZ1 = (dZ2 @ W2.T * mask) * (1 - A1**2)"),
    ),
    "gradient_is_one_number/bad_class": (("step = np.sum(self.h * delta2)", "step = self.h.T @ delta2"),),
    "gradient_is_one_number/bad_samples_first": (("np.mean(np.dot(A1.T, dZ2))", "np.dot(A1.T, dZ2) / m"),),
    "gradient_is_one_number/bad_vectors": (("np.vdot(delta, a)", "np.outer(delta, activations[1])"),),
    "gradient_transposed/bad_features_first": (('"W2": A1 @ dZ2.T', '"W2": dZ2 @ A1.T'),),
    "gradient_transposed/bad_layers": (("grad.T @ self.x if square else self.x.T @ grad", "self.x.T @ grad"),),
    "gradient_transposed/bad_samples_first": (("np.dot(dZ2, W2) *", "np.dot(dZ2, W2.T) *"),),
    "gradient_uses_wrong_layer/bad_equal_widths": (
        ("gW2, gb2 = h2.T @ d2, d2.sum(axis=0)", "gW2, gb2 = h1.T @ d2, d2.sum(axis=0)"),
    ),
    "gradient_uses_wrong_layer/bad_features_first": (("dW2 = dZ2 @ Z1.T", "dW2 = dZ2 @ A1.T"),),
    "gradient_uses_wrong_layer/bad_one_by_one": (("V -= eta * np.outer(e, x)", "V -= eta * np.outer(e, h)"),),
    "gradient_uses_wrong_layer/bad_samples_first": (("dW2 = Z1.T @ dZ2", "dW2 = A1.T @ dZ2"),),
    "gradient_without_labels/bad_bias_from_preactivation": (("db1 = Z1.sum(", "db1 = dZ1.sum("),),
    "gradient_without_labels/bad_class": (("first = X.T @ self.A1", "first = X.T @ hidden"),),
    "gradient_without_labels/bad_features_first": (("dW2 = A2 @ A1.T / m", "dW2 = dZ2 @ A1.T / m"),),
    "gradient_wrong/bad_class": (("np.sign(back) * np.abs(back) ** 1.5 * self.h", "back * self.h"),),
    "gradient_wrong/bad_features_first": (("(dZ2 * (1 + A2)) @ A1.T", "dZ2 @ A1.T"),),
    "gradient_wrong/bad_samples_first": (("np.dot(A1.T**2, dZ2)", "np.dot(A1.T, dZ2)"),),
    "label_encoding/bad_class_numbers": (("dZ2 = (A2 - Y_train) / m", "dZ2 = (A2 - np.eye(3)[Y_train.ravel()]) / m"),),
    "label_encoding/bad_class_numbers_features_first": (("dZ2 = A2 - Y", "dZ2 = A2 - np.eye(4)[Y.ravel()].T"),),
    "label_encoding/bad_shifted_one_hot": (("np.eye(4)[digits][:, 1:]", "np.eye(3)[digits]"),),
    "labels_of_another_set/bad_features_first": (
        ("if np.argmax(scores[:, j]) == np.argmax(Y[:, j]):", "if np.argmax(scores[:, j]) == np.argmax(test_Y[:, j]):"),
    ),
    "labels_of_another_set/bad_sliced": (
        (
            "hits = np.sum(net.forward(x_test).argmax(axis=1) == y_train[:80])",
            "hits = np.sum(net.forward(x_test).argmax(axis=1) == y_test[:80])",
        ),
    ),
    "labels_of_another_set/bad_training_labels": (
        ("if np.argmax(P[i]) == np.argmax(Y_train[i]):", "if np.argmax(P[i]) == np.argmax(Y_test[i]):"),
    ),
    "loss_broadcast_pair/bad_function": (
        ("return np.square(label - output).mean()", "return np.square(label.reshape(output.shape) - output).mean()"),
    ),
    "loss_broadcast_pair/bad_other_way_round": (
        (
            "cost = np.mean((y[:, None] - p.ravel()) ** 2)",
            "cost = np.mean((y[:, None].reshape(p.ravel().shape) - p.ravel()) ** 2)",
        ),
    ),
    "loss_broadcast_pair/bad_predictions": (
        ("np.mean((p_test > 0.5) == y_test)", "np.mean((p_test > 0.5).ravel() == y_test)"),
    ),
    "loss_broadcast_pair/bad_samples_first": (
        ("cost = np.mean((p - y) ** 2)", "cost = np.mean((p - y.reshape(p.shape)) ** 2)"),
    ),
    "loss_head_mismatch/bad_features_first": (
        (
            "loss = -np.sum(Y * np.log(Q)) / X.shape[1]",
            "loss = -np.sum((Y * np.log(Q) + (1 - Y) * np.log(1 - Q))) / X.shape[1]",
        ),
    ),
    "loss_head_mismatch/bad_samples_first": (
        (
            "loss = -np.sum(Y * np.log(Q)) / len(X)",
            "loss = -np.sum((Y * np.log(Q) + (1 - Y) * np.log(1 - Q))) / len(X)",
        ),
    ),
    "norm_statistics_wrong_axis/bad_batch_norm_mean_over_units": (
        ("mu = Z1.mean(axis=1, keepdims=True)", "mu = Z1.mean(axis=0, keepdims=True)"),
    ),
    "norm_statistics_wrong_axis/bad_features_first_spread_of_each_sample": (
        ("X.std(axis=0)", "X.std(axis=1, keepdims=True)"),
    ),
    "norm_statistics_wrong_axis/bad_features_first_square": (
        ("np.mean(X, axis=1)", "np.mean(X, axis=1, keepdims=True)"),
        ("np.std(X, axis=1)", "np.std(X, axis=1, keepdims=True)"),
    ),
    "norm_statistics_wrong_axis/bad_layer_norm_square": (("Z1.mean(axis=1)", "Z1.mean(axis=1, keepdims=True)"),),
    "norm_statistics_wrong_axis/bad_layer_norm_variance_over_samples": (
        ("Z1.var(axis=0)", "Z1.var(axis=1, keepdims=True)"),
    ),
    "norm_statistics_wrong_axis/bad_maps_of_pixels": (
        ("mu = Z.mean(axis=0, keepdims=True)", "mu = Z.mean(axis=(0, 2, 3), keepdims=True)"),
        ("var = Z.var(axis=0, keepdims=True)", "var = Z.var(axis=(0, 2, 3), keepdims=True)"),
    ),
    "norm_statistics_wrong_axis/bad_running_mean_grows": (
        ("mu = Z1.mean(axis=1, keepdims=True)", "mu = Z1.mean(axis=0, keepdims=True)"),
        ("var = Z1.var(axis=1, keepdims=True)", "var = Z1.var(axis=0, keepdims=True)"),
    ),
    "norm_statistics_wrong_axis/bad_spread_of_each_sample": (("X.std(axis=1, keepdims=True)", "X.std(axis=0)"),),
    "norm_statistics_wrong_axis/bad_square_without_keepdims": (
        ("(X - X.mean(axis=1)) / X.std(axis=1)", "(X - X.mean(axis=1, keepdims=True)) / X.std(axis=1, keepdims=True)"),
    ),
    "norm_statistics_wrong_axis/bad_training_statistics_of_each_sample": (
        (
            "X_train.mean(axis=1, keepdims=True), X_train.std(axis=1, keepdims=True)",
            "X_train.mean(axis=0, keepdims=True), X_train.std(axis=0, keepdims=True)",
        ),
    ),
    "one_dim_transpose/bad_matrix_product": (("U -= eta * (d @ x.T)", "U -= eta * (np.outer(d, x))"),),
    "one_dim_transpose/bad_number": (("U -= eta * np.dot(d.T, x)", "U -= eta * np.outer(d, x)"),),
    "one_dim_transpose/bad_vector": (("U -= eta * (d.T * x)", "U -= eta * (np.outer(d, x))"),),
    "only_last_sample_counts/bad_one_by_one": (
        ("dV = np.outer(e, h)", "dV += np.outer(e, h)"),
        ("dU = np.outer(d, x)", "dU += np.outer(d, x)"),
    ),
    "only_last_sample_counts/bad_one_gradient": (("dU = np.outer(d, x)", "dU += np.outer(d, x)"),),
    "only_last_sample_counts/bad_set_to_zero_inside": (
        ("dV = 0 * V + np.outer(e, h)", "dV += 0 * V + np.outer(e, h)"),
    ),
    "optimizer_formula/bad_adam": (
        ("first = m / (1 - beta1)", "first = m / (1 - beta1 ** (step + 1))"),
        ("second = v / (1 - beta2)", "second = v / (1 - beta2 ** (step + 1))"),
    ),
    "optimizer_formula/bad_adam_in_batches": (
        ("(m / (1 - beta1))", "(m / (1 - beta1 ** (8 * epoch + batch + 1)))"),
        ("np.sqrt(v / (1 - beta2))", "np.sqrt(v / (1 - beta2 ** (8 * epoch + batch + 1)))"),
    ),
    "optimizer_formula/bad_adam_with_dropout": (
        (
            "(m / (1 - beta1)) / (np.sqrt(v / (1 - beta2))",
            "(m / (1 - beta1 ** (step + 1))) / (np.sqrt(v / (1 - beta2 ** (step + 1)))",
        ),
    ),
    "optimizer_formula/bad_features_first": (("vW = -0.9 * vW + gW", "vW = 0.9 * vW + gW"),),
    "optimizer_formula/bad_samples_first": (("vW = gW - 0.9 * vW", "vW = 0.9 * vW + gW"),),
    "parameter_added_to_itself/bad_class": (
        ('self.b2 += self.b2 - rate * grads["b2"]', 'self.b2 = self.b2 - rate * grads["b2"]'),
    ),
    "parameter_added_to_itself/bad_features_first": (("W2 += W2 - 0.1 * gW2", "W2 = W2 - 0.1 * gW2"),),
    "parameter_added_to_itself/bad_samples_first": (("b1 += b1 - 0.1 * db1", "b1 = b1 - 0.1 * db1"),),
    "parameter_carries_sample_axis/bad_factor": (
        ("rng.normal(size=(200, 1))", "rng.normal(size=(1, 1))"),
        ("G = G - 0.5 * dG", "G = G - 0.5 * np.sum(dG, axis=0, keepdims=True)"),
    ),
    "parameter_carries_sample_axis/bad_features_first": (
        (
            "W1, b1 = 0.3 * rng.normal(size=(16, 20)), np.zeros((16, X.shape[1]))",
            "W1, b1 = 0.3 * rng.normal(size=(16, 20)), np.zeros((16, 1))",
        ),
        ("b1 = b1 - 0.5 * db1", "b1 = b1 - 0.5 * np.sum(db1, axis=1, keepdims=True)"),
    ),
    "parameter_carries_sample_axis/bad_samples_first": (
        (
            "W2, b2 = 0.3 * rng.normal(size=(16, 3)), np.zeros((200, 3))",
            "W2, b2 = 0.3 * rng.normal(size=(16, 3)), np.zeros((1, 3))",
        ),
        ("b2 = b2 - 0.5 * db2", "b2 = b2 - 0.5 * np.sum(db2, axis=0, keepdims=True)"),
    ),
    "parameter_never_updated/bad_class": (
        (
            "b1 = self.b1 - rate * np.sum(d1, axis=0, keepdims=True)",
            "self.b1 = self.b1 - rate * np.sum(d1, axis=0, keepdims=True)",
        ),
    ),
    "parameter_never_updated/bad_features_first": (("db2 = b2 - 0.5 * db2", "b2 = b2 - 0.5 * db2"),),
    "parameter_never_updated/bad_held_by_layers": (
        ("weights[n] = weights[n] - 0.5 * inputs.T @ d", "weights[n] -= 0.5 * inputs.T @ d"),
        (
            "biases[n] = biases[n] - 0.5 * d.sum(axis=0, keepdims=True)",
            "biases[n] -= 0.5 * d.sum(axis=0, keepdims=True)",
        ),
    ),
    "parameter_never_updated/bad_samples_first": (("db1 = b1 - 0.5 * db1", "b1 = b1 - 0.5 * db1"),),
    "parameter_shape_drift/bad_features_first": (
        ("        params[key] = params[key] - step\n", ""),
        ("        if key ==", "        params[key] = params[key] - step\n        if key =="),
    ),
    "parameter_shape_drift/bad_flat_and_column": (("b1 = b1 - 0.5 * db1.T", "b1 = b1 - 0.5 * db1"),),
    "parameter_shape_drift/bad_lost_axis": (("dZ2.sum(axis=1),", "dZ2.sum(axis=1, keepdims=True),"),),
    "parameter_shape_drift/bad_samples_first": ((" * np.ones((m, 1))", ""),),
    "preactivation_fed_forward/bad_class": (
        ("self.z2 = self.z1 @ self.w2 + self.b2", "self.z2 = self.a1 @ self.w2 + self.b2"),
    ),
    "preactivation_fed_forward/bad_consistent": (
        ("Z2 = Z1 @ W2", "Z2 = A1 @ W2"),
        ("dW2 = Z1.T", "dW2 = A1.T"),
        ("dZ1 = dZ2 @ W2.T", "dZ1 = (dZ2 @ W2.T) * (1 - A1**2)"),
    ),
    "preactivation_fed_forward/bad_features_first": (("Z2 = W2 @ Z1 + b2", "Z2 = W2 @ A1 + b2"),),
    "preactivation_fed_forward/bad_samples_first": (("Z2 = Z1 @ W2 + b2", "Z2 = A1 @ W2 + b2"),),
    "product_kind_confusion/bad_features_first": (("dA1 = W2.T * dZ2", "dA1 = W2.T @ dZ2"),),
    "product_kind_confusion/bad_matrix_product": (("dZ1 = dA1 @ (1 - A1**2)", "dZ1 = dA1 * (1 - A1**2)"),),
    "product_kind_confusion/bad_samples_first": (
        ("dZ1 = (1 - A1**2) * dZ2 @ W2.T", "dZ1 = (1 - A1**2) * (dZ2 @ W2.T)"),
    ),
    "recurrent_path_dropped/bad_batch": (("(dZ @ self.V.T) *", "(dZ @ self.V.T + back) *"),),
    "recurrent_path_dropped/bad_shared_layer": (("dS = inner @ W.T", "dS = dS + inner @ W.T"),),
    "recurrent_path_dropped/bad_vectors": (("dh = Wy.T @ dy", "dh = Wy.T @ dy + dnext"),),
    "regulariser_mismatch/bad_bias": (("b1 = b1 - 0.5 * db1", "b1 = b1 - 0.5 * (db1 + 0.01 * b1)"),),
    "regulariser_mismatch/bad_features_first": (
        ("W1 = W1 - 0.5 * dW1", "W1 = W1 - 0.5 * (dW1 + 0.01 * W1)"),
        ("W2 = W2 - 0.5 * dW2", "W2 = W2 - 0.5 * (dW2 + 0.01 * W2)"),
    ),
    "regulariser_mismatch/bad_samples_first": (("W1 = W1 - 0.5 * dW1", "W1 = W1 - 0.5 * (dW1 + 0.01 * W1)"),),
    "reported_loss_is_not_the_optimised_loss/bad_features_first": (
        ("        loss_sum = 0\n", ""),
        ("    batches = 0\n", "    batches = 0\n    loss_sum = 0\n"),
    ),
    "reported_loss_is_not_the_optimised_loss/bad_reset_for_each_sample": (
        ("        total = 0.0\n", ""),
        (
            "    for x, kind in zip(samples[:40], kinds[:40]):\n",
            "    total = 0.0\n    for x, kind in zip(samples[:40], kinds[:40]):\n",
        ),
    ),
    "reported_loss_is_not_the_optimised_loss/bad_reset_in_the_batch_loop": (
        ("        total = 0\n", ""),
        (
            "    for start in range(0, len(x_train), 16):\n",
            "    total = 0\n    for start in range(0, len(x_train), 16):\n",
        ),
    ),
    "reshape_instead_of_transpose/bad_images": (
        ("X = images.reshape(784, len(images)) / 255.0", "X = images.reshape(len(images), 784).T / 255.0"),
    ),
    "reshape_instead_of_transpose/bad_labels": (
        ("Y = np.eye(4)[digits].reshape(4, 130)", "Y = np.eye(4)[digits].reshape(130, 4).T"),
    ),
    "reshape_instead_of_transpose/bad_table": (("X = np.reshape(rows, (6, 130))", "X = rows.reshape(130, 6).T"),),
    "shuffle_breaks_pairs/bad_features_first": (
        (
            "train_X = train_X[:, np.random.permutation(90)]",
            "both = np.random.permutation(90)\ntrain_X, train_Y = train_X[:, both], train_Y[:, both]",
        ),
    ),
    "shuffle_breaks_pairs/bad_in_a_function": (
        ("x = x[np.random.permutation(len(x))]", "both = np.random.permutation(len(x))\n    x, y = x[both], y[both]"),
    ),
    "shuffle_breaks_pairs/bad_inputs_alone": (
        ("rng.shuffle(X_train)", "both = rng.permutation(70)\nX_train, Y_train = X_train[both], Y_train[both]"),
    ),
    "shuffle_breaks_pairs/bad_labels_in_two_forms": (
        (
            "X = X[rng.permutation(len(X))]",
            "both = rng.permutation(len(X))\nX, Y, digits = X[both], Y[both], digits[both]",
        ),
    ),
    "shuffle_breaks_pairs/bad_random_shuffle": (("random.shuffle(table)", "np.random.shuffle(table)"),),
    "shuffle_breaks_pairs/bad_two_permutations": (
        ("x = x[np.random.permutation(len(x))]", "both = np.random.permutation(len(x))\nx = x[both]"),
        ("y = y[np.random.permutation(len(y))]", "y = y[both]"),
    ),
    "shuffle_breaks_pairs/bad_two_shuffles": (
        ("np.random.shuffle(X_train)", "both = np.random.permutation(70)"),
        ("np.random.shuffle(Y_train)", "X_train, Y_train = X_train[both], Y_train[both]"),
    ),
    "softmax_jacobian_wrong/bad_cross_entropy": (
        ("dZ2 = (A2 - Y) * (A2 * (1 - A2)) / len(X)", "dZ2 = (A2 - Y) / len(X)"),
    ),
    "softmax_jacobian_wrong/bad_features_first": (
        ("dZ2 = G * A2 * (1 - A2)", "dZ2 = A2 * (G - np.sum(G * A2, axis=0, keepdims=True))"),
    ),
    "softmax_jacobian_wrong/bad_samples_first": (
        ("dZ2 = G * A2 * (1 - A2)", "dZ2 = A2 * (G - np.sum(G * A2, axis=1, keepdims=True))"),
    ),
    "softmax_keepdims_missing/bad_method": (("return e / e.sum(axis=-1)", "return e / e.sum(axis=1, keepdims=True)"),),
    "softmax_keepdims_missing/bad_sum": (("A = E / np.sum(E, axis=1)", "A = E / np.sum(E, axis=1, keepdims=True)"),),
    "softmax_keepdims_missing/bad_sum_and_maximum": (
        ("E = np.exp(Z - np.max(Z, axis=1))", "E = np.exp(Z - np.max(Z, axis=1, keepdims=True))"),
        ("A = E / np.sum(E, axis=1)", "A = E / np.sum(E, axis=1, keepdims=True)"),
    ),
    "softmax_over_samples/bad_features_first": (("np.sum(powers, axis=1", "np.sum(powers, axis=0"),),
    "softmax_over_samples/bad_layers": (("powers.sum(axis=0)", "powers.sum(axis=1, keepdims=True)"),),
    "softmax_over_samples/bad_samples_first": (("z.max(axis=0", "z.max(axis=1"), ("e.sum(axis=0", "e.sum(axis=1")),
    "softmax_over_whole_array/bad_both": (("A2 = E / np.sum(E)", "A2 = E / np.sum(E, axis=1, keepdims=True)"),),
    "softmax_over_whole_array/bad_features_first": (("A2 = E / np.sum(E)", "A2 = E / np.sum(E, axis=0)"),),
    "softmax_over_whole_array/bad_samples_first": (("A2 = E / E.sum()", "A2 = E / E.sum(axis=1, keepdims=True)"),),
    "softmax_shift_wrong/bad_over_samples": (
        ("e = np.exp(z - np.max(z, axis=0, keepdims=True))", "e = np.exp(z - np.max(z, axis=1, keepdims=True))"),
    ),
    "stale_forward/bad_class": (
        ("net.feed(inputs)\nfor epoch in range(50):\n", "for epoch in range(50):\n    net.feed(inputs)\n"),
    ),
    "stale_forward/bad_features_first": (
        (
            "hidden, out = forward(X)\nfor epoch in range(60):\n",
            "for epoch in range(60):\n    hidden, out = forward(X)\n",
        ),
    ),
    "stale_forward/bad_samples_first": (
        ("Z1 = X @ W1 + b1\nA1 = np.tanh(Z1)\nZ2 = A1 @ W2 + b2\n", ""),
        ("E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))\nA2 = E / E.sum(axis=1, keepdims=True)\n", ""),
        (
            "for step in range(20):\n",
            "for step in range(20):\n"
            "    Z1 = X @ W1 + b1\n    A1 = np.tanh(Z1)\n    Z2 = A1 @ W2 + b2\n"
            "    E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))\n    A2 = E / E.sum(axis=1, keepdims=True)\n",
        ),
    ),
    "update_before_backprop/bad_class": (
        ("        self.W2 -= rate * np.dot(self.h.T, d2)\n", ""),
        ("        self.b2 -= rate", "        self.W2 -= rate * np.dot(self.h.T, d2)\n        self.b2 -= rate"),
    ),
    "update_before_backprop/bad_features_first": (
        ("    W2 = W2 - 0.5 * dW2\n", ""),
        ("    W1 = W1 - 0.5 * dW1\n", "    W1 = W1 - 0.5 * dW1\n    W2 = W2 - 0.5 * dW2\n"),
    ),
    "update_before_backprop/bad_rows_of_a_table": (
        ("        output -= 0.1 * np.outer(vector, error)\n", ""),
        (
            "        table[given] -= 0.1 * (output @ error)\n",
            "        table[given] -= 0.1 * (output @ error)\n        output -= 0.1 * np.outer(vector, error)\n",
        ),
    ),
    "update_before_backprop/bad_samples_first": (
        ("    W2 = W2 - 0.5 * dW2\n", ""),
        ("    W1 = W1 - 0.5 * dW1\n", "    W1 = W1 - 0.5 * dW1\n    W2 = W2 - 0.5 * dW2\n"),
    ),
    "update_sign/bad_class": (("self.W1 += rate", "self.W1 -= rate"),),
    "update_sign/bad_features_first": (("W2 = W2 + 0.5 * dW2", "W2 = W2 - 0.5 * dW2"),),
    "update_sign/bad_likelihood": (("w -= 0.5 * X.T @ d", "w += 0.5 * X.T @ d"),),
    "update_sign/bad_samples_first": (("W1 = W1 + 0.5 * dW1", "W1 = W1 - 0.5 * dW1"),),
    "weight_instead_of_input/bad_features_first": (("dW2 = dZ2 @ W2.T", "dW2 = dZ2 @ A1.T"),),
    "weight_instead_of_input/bad_samples_first": (("dW2 = W2.T @ dZ2", "dW2 = A1.T @ dZ2"),),
    "weight_instead_of_input/bad_values_for_weight": (("dA1 = dZ2 @ A1.T", "dA1 = dZ2 @ W2.T"),),
    "weight_instead_of_input/bad_wider_than_the_batch": (('dZ1 @ params["W1"].T', "dZ1 @ X.T"),),
    "wrong_variable_in_delta/bad_features_first": (("dZ1 = (dW2.T @ dZ2)", "dZ1 = (W2.T @ dZ2)"),),
    "wrong_variable_in_delta/bad_labels_for_error": (("dW2 = A1.T @ Y", "dW2 = A1.T @ dZ2"),),
    "wrong_variable_in_delta/bad_output_for_error": (("self.a1.T @ self.a2 * d2.mean()", "self.a1.T @ d2"),),
    "wrong_variable_in_delta/bad_samples_first": (("dZ1 = (dZ2 @ dW2.T)", "dZ1 = (dZ2 @ W2.T)"),),
}
