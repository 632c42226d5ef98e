"""How well the leave-one-out margins of the NTK find flipped labels, beside a cross-validated forest.

    OMP_NUM_THREADS=1 python benchmarks/flipped_labels.py --share 0.05

For each table it prints the area under the ROC curve of both orders of the rows, the number of rows whose own class has
a probability below 5 %, and the number expected by chance if no label is wrong.
"""

import argparse
from itertools import islice

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from sklearn_ltdl.study._folds import Split
from sklearn_ltdl.study._jobs import Data, fit_and_predict
from sklearn_ltdl.study._models import METHODS
from sklearn_ltdl.study._observed import left_out, suspects

DRAWS = 2  # of the flips


def tables():
    """Yield names with the columns and codes of the classes."""
    yield "breast cancer", *load_breast_cancer(return_X_y=True)
    yield "wine", *load_wine(return_X_y=True)
    X, y = load_digits(return_X_y=True)
    yield "digits, 600 rows", X[:600], y[:600]
    clean = {"n_samples": 500, "n_informative": 5, "flip_y": 0}
    yield (
        "synthetic, 4 classes",
        *make_classification(**clean, n_features=10, n_classes=4, class_sep=1.5, random_state=0),
    )
    yield "synthetic, 2 classes", *make_classification(**clean, n_features=20, random_state=1)


def flipped(y, share, seed):
    """Return labels of which a share is replaced by another class, and which."""
    rng, n, n_classes = np.random.default_rng(seed), len(y), y.max() + 1
    wrong = np.zeros(n, bool)
    wrong[rng.choice(n, round(share * n), replace=False)] = True
    return np.where(wrong, (y + rng.integers(1, n_classes, n)) % n_classes, y), wrong


def ntk(X, y, seed):
    """Return the lead of another class over the own one, row by row, and the part of the evidence."""
    n, n_classes = len(y), int(y.max()) + 1
    train, test = next(StratifiedKFold(5, shuffle=True, random_state=seed).split(X, y))
    data = Data(X, y, None, "classification", n_classes)
    found = fit_and_predict(data, METHODS["ntk"], seed, train, test, left_out)["explained"]
    lead = np.empty(n)
    lead[np.concatenate([train, test])] = np.subtract(found["other"], found["given"])
    names = [str(code) for code in range(n_classes)]
    return lead, suspects(found, y, names, Split(0, 0, train, test), [str(row) for row in range(n)])


def forest(X, y, seed):
    """Return the lead of another class over the own one, row by row."""
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    chance = cross_val_predict(RandomForestClassifier(random_state=seed), X, y, cv=folds, method="predict_proba")
    own = np.arange(len(y)), y
    given = chance[own]
    chance[own] = -1.0
    return chance.max(axis=1) - given


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=0.05, help="of the labels that are flipped (default: 0.05)")
    parser.add_argument("--quick", action="store_true", help="one draw for one table")
    options = parser.parse_args()
    print(f"{'table':<22} {'AUC ntk':>8} {'forest':>8} {'flipped':>8} {'found':>6} {'by chance':>9}")
    for name, X, y in islice(tables(), 1 if options.quick else None):
        rows = []
        for seed in range(1 if options.quick else DRAWS):
            labels, wrong = flipped(y, options.share, seed)
            lead, part = ntk(X, labels, seed)
            areas = [np.nan, np.nan]
            if wrong.any():
                areas = [roc_auc_score(wrong, order) for order in (lead, forest(X, labels, seed))]
            rows.append([*areas, wrong.sum(), part["found"], part["expected"]])
        area, other, n_wrong, found, expected = np.mean(rows, axis=0)
        print(f"{name:<22} {area:>8.3f} {other:>8.3f} {n_wrong:>8.0f} {found:>6.1f} {expected:>9.1f}", flush=True)


if __name__ == "__main__":
    main()
