"""How often is the right start of a network noted as wrong, and a wrong one not noted?

MLPs of scikit-learn on four of its data sets, of three shapes, by three solvers and two penalties, from two seeds. Each
is looked at with its own start and with that of another seed; those too small to be judged are never noted.

    python benchmarks/wrong_start.py
"""

import argparse
import itertools
import os
import warnings

from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import scale

from sklearn_ltdl.diagnostics._trained import WRONG_START, trained_network


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one set")
    quick = parser.parse_args().quick
    warnings.simplefilter("ignore", ConvergenceWarning)
    print(f"load {os.getloadavg()[0]:.1f}")
    sets = {"digits": load_digits, "breast cancer": load_breast_cancer, "wine": load_wine, "diabetes": load_diabetes}
    false, noted, n = 0, 0, 0
    for name, load in itertools.islice(sets.items(), 2, 3) if quick else sets.items():
        X, y = load(return_X_y=True)
        X, y = scale(X)[:400], scale(y)[:400] if name == "diabetes" else y[:400]
        kind = MLPRegressor if name == "diabetes" else MLPClassifier
        for layers, solver, alpha, seed in itertools.product(
            ((10,), (100,), (50, 50)), ("adam", "sgd", "lbfgs"), (1e-4, 1.0), (0, 1)
        ):
            network = kind(hidden_layer_sizes=layers, solver=solver, alpha=alpha, random_state=seed).fit(X, y)
            right = WRONG_START in trained_network(network, X[::8], y[::8])[3]
            network.set_params(random_state=seed + 100)
            wrong = WRONG_START in trained_network(network, X[::8], y[::8])[3]
            n, false, noted = n + 1, false + right, noted + wrong
            if right or not wrong:
                print(f"{name}, {layers}, {solver}, alpha {alpha:g}: right start noted {right}, wrong start {wrong}")
    print(f"{n} networks: right start noted {false} times, wrong start {noted} times")


if __name__ == "__main__":
    main()
