"""Does the standard deviation of a network's kernel machine rank the network's errors?

Rank correlation of the absolute error of one scikit-learn MLP on new rows with: the posterior standard deviation of
ridge with its tangent kernel after training, and before; the spread of four networks; the mean distance to the five
nearest rows of training. Mean of five splits of 400 and 400 rows; diabetes, 221 and 221.

    python benchmarks/kernel_std.py
"""

import argparse
import os
import warnings
from itertools import islice

import numpy as np
from scipy.stats import spearmanr
from sklearn.datasets import load_diabetes, make_friedman1, make_friedman2, make_friedman3
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neighbors import NearestNeighbors
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler

from sklearn_ltdl import explain_as_kernel

SPLITS = 5


def sets():
    """Yield names, rows and standardised targets."""
    for name, make in (("friedman1", make_friedman1), ("friedman2", make_friedman2), ("friedman3", make_friedman3)):
        yield name, *make(800, noise=0.1, random_state=0)
    yield "diabetes", *load_diabetes(return_X_y=True)


def correlations(X, y, seed):
    """Return the R2 of the network and the four rank correlations."""
    X, X_new, y, y_new = train_test_split(X, y, test_size=0.5, random_state=seed)
    scaler, centre, spread = StandardScaler().fit(X), y.mean(), y.std()
    X, X_new, y, y_new = scaler.transform(X), scaler.transform(X_new), (y - centre) / spread, (y_new - centre) / spread
    networks = [
        MLPRegressor(hidden_layer_sizes=(128, 128), max_iter=60, random_state=4 * seed + k).fit(
            X, y
        )  # early, as one stops in practice
        for k in range(4)
    ]
    error = np.abs(y_new - networks[0].predict(X_new))
    ranking = [
        explain_as_kernel(networks[0], X, y, kernel=kernel).predict(X_new, return_std=True)[1]
        for kernel in ("after", "before")
    ]
    ranking.append(np.std([network.predict(X_new) for network in networks], axis=0))
    ranking.append(NearestNeighbors(n_neighbors=5).fit(X).kneighbors(X_new)[0].mean(axis=1))
    return networks[0].score(X_new, y_new), *(spearmanr(error, score).statistic for score in ranking)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one split of one set")
    quick = parser.parse_args().quick
    warnings.simplefilter("ignore", ConvergenceWarning)
    print(f"load {os.getloadavg()[0]:.1f}")
    print(f"{'':<12} {'R2':>7} {'after':>7} {'before':>7} {'four':>7} {'near':>7}")
    for name, X, y in islice(sets(), 1 if quick else None):
        means = np.mean([correlations(X, y, seed) for seed in range(1 if quick else SPLITS)], axis=0)
        print(f"{name:<12} " + " ".join(f"{value:>7.2f}" for value in means))


if __name__ == "__main__":
    main()
