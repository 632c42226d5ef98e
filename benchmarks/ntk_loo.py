"""Is choosing alpha by closed-form leave-one-out cheaper than a grid search over folds, and is the model as good?

On each table the same kernel and the same penalties are given to `NTKKernelRegressor(alpha='loo')` and to
`GridSearchCV(KernelRidge)` with 5 folds and one job, the latter as a Gram matrix, since it calls a function once an
entry. The two run in turn, `--repeats` times; the medians of the processor time of fit and predict, kernel included,
are printed with the R2 on rows that neither has seen. Run with OMP_NUM_THREADS=1.
"""

import argparse
import time

import numpy as np
from sklearn.datasets import load_diabetes, make_friedman1
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.preprocessing import scale

from sklearn_ltdl import NTKKernelRegressor
from sklearn_ltdl.ntk import ntk_kernel


def tables():
    X, y = load_diabetes(return_X_y=True)
    yield "diabetes", scale(X), scale(y)
    for n in (1000, 2000):
        X, y = make_friedman1(n_samples=n + 1000, n_features=20, noise=2.0, random_state=0)
        yield f"friedman {n}", scale(X), scale(y)


def leave_one_out(X, y, new, alphas):
    model = NTKKernelRegressor().fit(X, y)
    return model.predict(new), model.alpha_


def folds_of_a_matrix(X, y, new, alphas):
    search = GridSearchCV(KernelRidge(kernel="precomputed"), {"alpha": len(X) * alphas}, cv=5).fit(ntk_kernel(X), y)
    return search.predict(ntk_kernel(new, X)), search.best_params_["alpha"] / len(X)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    print(f"{'table':16}{'method':32}{'CPU s':>8}{'ratio':>8}{'R2':>8}{'alpha':>10}")
    for name, X, y in tables():
        test_size = 1000 if len(X) > 1000 else 0.3
        X, new, y, y_new = train_test_split(X, y, test_size=test_size, random_state=0)
        alphas = NTKKernelRegressor().fit(X, y).alphas_
        methods = [leave_one_out, folds_of_a_matrix]
        seconds, results = {m: [] for m in methods}, {}
        for _ in range(repeats):
            for method in methods:
                start = time.process_time()
                results[method] = method(X, y, new, alphas)
                seconds[method].append(time.process_time() - start)
        for method in methods:
            median, (prediction, alpha) = np.median(seconds[method]), results[method]
            ratio = median / np.median(seconds[leave_one_out])
            label = {leave_one_out: "alpha='loo'", folds_of_a_matrix: "GridSearchCV(KernelRidge)"}[method]
            print(f"{name:16}{label:32}{median:8.2f}{ratio:8.1f}{r2_score(y_new, prediction):8.3f}{alpha:10.1e}")


if __name__ == "__main__":
    main()
