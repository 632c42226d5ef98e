"""Analyses that are shown with the verdict but do not decide it, as plain data; tables are dicts of lists."""

import numpy as np

from sklearn_ltdl.diagnostics import regime_report, scale_path
from sklearn_ltdl.networks import LazyNetClassifier, LazyNetRegressor
from sklearn_ltdl.running._journal import conforms
from sklearn_ltdl.study._folds import smaller
from sklearn_ltdl.study._importance import importance_part
from sklearn_ltdl.study._jobs import is_stopped, rows_of, seconds, timed
from sklearn_ltdl.study._models import RICH_SCALE
from sklearn_ltdl.study._observed import is_left_out, left_out, predicted_classes, predicted_numbers, suspects
from sklearn_ltdl.study._scores import losses_of, prediction_of
from sklearn_ltdl.study._stages import stage_part
from sklearn_ltdl.study._verdict import HeldOut, draw_contrasts
from sklearn_ltdl.tables._pipeline import make_table_pipeline

SHARES = (1 / 8, 1 / 4, 1 / 2)  # of the training rows, in the learning curves of the contrasts
FEWEST_ROWS = 20  # training rows in a learning curve
PATH_ROWS = 1000  # at most this many rows train, and at most this many are predicted, along the scales
DIAGNOSTICS = ("mean_gap", "linearization_gap", "prediction_gap", "displacement", "kernel_change")  # are shown
SCALES = (0.01, 0.1, 1.0, 10.0, 100.0)


def regime_of(model, data, train, test):
    """Return the regime report of a fitted pipeline of a network, on rows that it has not seen."""
    report = regime_report(model, rows_of(data.X, test), data.y[test])
    return {
        "verdict": report.verdict,
        "sentence": report.sentence,
        "scale": float(model[-1].scale),
        "n_rows": int(report.n_rows),
        "score": report.score,
        "diagnostics": {name: None if value is None else float(value) for name, value in report.diagnostics.items()},
        "spectrum_before": np.asarray(report.spectrum_before).tolist(),
        "spectrum_after": np.asarray(report.spectrum_after).tolist(),
    }


def agop_of(model, data, train, test):
    """Return the spectrum of the average gradient outer product of a fitted pipeline of an RFM."""
    machine = model[-1]
    eigenvalues = np.maximum(np.linalg.eigvalsh(machine.agop_)[::-1], 0.0)
    order = np.argsort(-machine.feature_importances_, kind="stable")
    return {
        "n_rounds": int(machine.n_rounds_),
        "eigenvalues": (eigenvalues / max(eigenvalues.sum(), np.finfo(float).tiny)).tolist(),
        "columns": model[:-1].get_feature_names_out()[order].astype(str).tolist(),
        "importances": machine.feature_importances_[order].tolist(),
    }


def _is_regime(explained):
    """Return whether plain values have the form of a result of `regime_of`."""
    form = {
        "verdict": str, "sentence": str, "scale": float, "n_rows": int, "score": str,
        "diagnostics": {str: (float, None)}, "spectrum_before": [float, ...], "spectrum_after": [float, ...],
    }  # fmt: skip
    return conforms(explained, form) and explained["diagnostics"].keys() >= set(DIAGNOSTICS)


def _is_agop(explained):
    """Return whether plain values have the form of a result of `agop_of`."""
    form = {"n_rounds": int, "eigenvalues": [float, ...], "columns": [str, ...], "importances": [float, ...]}
    if not conforms(explained, form):
        return False
    return 1 <= len(explained["columns"]) == len(explained["importances"]) == len(explained["eigenvalues"])


EXPLAIN = {"rich": regime_of, "rfm": agop_of, "ntk": left_out}
EXPLAINED = {"rich": _is_regime, "rfm": _is_agop, "ntk": is_left_out}  # the form of each


def path_along_scale(data, seed, train, test):
    """Return the scores and displacements of the network of the comparison at several scales, on some rows."""
    return timed(_path, data, seed, train, test)


def is_path(result):
    """Return whether plain values have the form of a result of `path_along_scale`, or of a job that was stopped."""
    columns = [float] * len(SCALES)
    form = {
        "n_train": int, "score": str, "scale": columns, "scores": columns, "losses": columns, "displacements": columns,
        "kernel_changes": columns, "converged": [bool] * len(SCALES), "linearized_score": float,
        "linearized_loss": float, "rich_scale": float, "failure": None, "fit_seconds": seconds,
    }  # fmt: skip
    return conforms(result, form) or is_stopped(result)


def _path(data, seed, train, test):
    rng = np.random.default_rng(seed)
    train, test = (np.sort(rng.permutation(rows)[:PATH_ROWS]) for rows in (train, test))
    network = (LazyNetRegressor if data.task == "regression" else LazyNetClassifier)(random_state=seed)
    path = scale_path(
        rows_of(data.X, train),
        data.y[train],
        SCALES,
        estimator=make_table_pipeline(network),
        X_test=rows_of(data.X, test),
        y_test=data.y[test],
        sample_weight=None if data.weight is None else data.weight[train],
        sample_weight_test=None if data.weight is None else data.weight[test],
    )
    columns = ("scores", "losses", "displacements", "kernel_changes", "converged")
    return {
        "n_train": len(train),
        "score": path.score,
        "scale": path.scales.tolist(),
        **{name: getattr(path, name).tolist() for name in columns},
        "linearized_score": float(path.linearized_score),
        "linearized_loss": float(path.linearized_loss),
        "rich_scale": RICH_SCALE,
    }


def smaller_splits(splits, target, seed):
    """Return the splits of the learning curves: the splits of the first repeat, with shares of their training rows."""
    rng = np.random.default_rng(seed)
    found = []
    for share in SHARES:
        some = [smaller(split, share, target, rng) for split in splits if split.repeat == 0]
        if all(split is not None and len(split.train) >= FEWEST_ROWS for split in some):
            found += some
    return found


def differences(splits, losses_of, families, weight, cluster, margin, whole):
    """Return the learning curve of each contrast, over the number of training rows.

    Parameters
    ----------
    splits : dict of Split
        Splits with shares of the training rows, by number.
    losses_of : callable (name, list of numbers) -> ndarray of shape (n_predictions,) or None
    families : dict of str
    weight, cluster : ndarray of shape (n_rows,)
    margin : float
    whole : tuple of (int, dict of Contrast or None)
        The number of training rows and the contrasts of the verdict.

    Returns
    -------
    table : dict of lists
        Columns contrast, n_train, candidate, reference, difference, low and high.
    """
    found = []
    for share in sorted({split.share for split in splits.values()}):
        chosen = [k for k, split in splits.items() if split.share == share]
        losses = {name: loss for name in families if (loss := losses_of(name, chosen)) is not None}
        if "dummy" in losses:
            some = [splits[k] for k in chosen]
            contrasts = draw_contrasts(losses, families, HeldOut.of(some, weight, cluster), margin)
            found.append((int(np.mean([len(split.train) for split in some])), contrasts))
    return curves_of([*found, whole])


def curves_of(found):
    """Return pairs of a number of training rows and contrasts as a dict of lists, as `differences` does."""
    names = ("contrast", "n_train", "candidate", "reference", "difference", "low", "high")
    table = {name: [] for name in names}
    for n_train, contrasts in found:
        for name, contrast in contrasts.items():
            if contrast is not None:
                values = (name, n_train, *(getattr(contrast, column) for column in names[2:]))
                for column, value in zip(names, values):
                    table[column].append(value)
    return table


def of_networks(plan, results, judged):
    """Return the parts of the evidence on what the models learned, and on their learning curves."""
    evidence = {"stages": None, "differences": None, "scale_path": None, "regime": None, "agop": None}
    if plan.settings["stages"] is not None:
        sizes = plan.settings["stages"]
        evidence["stages"] = stage_part(sizes, judged.verdicts)
        found = [part.contrasts for part in (*judged.earlier, judged)]
        evidence["differences"] = curves_of(list(zip(sizes, found)))
    for part, identifier in {"regime": ("rich", 0, 0), "agop": ("rfm", 0, 0)}.items():
        evidence[part] = results[identifier].get("explained") if identifier in results else None
    if ("scale_path", 0, 0) in results:
        evidence["scale_path"] = results["scale_path", 0, 0]
        smaller = [k for k, split in enumerate(plan.splits) if split.share < 1]
        n_train = int(np.mean([len(plan.splits[k].train) for k in judged.main]))
        evidence["differences"] = differences(
            {k: plan.splits[k] for k in smaller},
            lambda name, chosen: losses_of(plan, results, name, chosen),
            judged.families,
            plan.weight,
            plan.cluster,
            judged.settings["margin"],
            (n_train, judged.contrasts),
        )
    return evidence


def of_rows(plan, results, judged):
    """Return the parts of the evidence on single rows and columns, of the recommended and of the linear model."""
    evidence = {"predicted": [], "importance": None, "suspects": None}
    data, classes, model = plan.data, judged.settings["classes"], judged.verdict.recommendation.model
    splits = [plan.splits[k] for k in judged.main]
    for name in dict.fromkeys((model, "linear")):
        if name in judged.losses and judged.families[name] != "dummy":
            predictions = [prediction_of(plan, results, name, k) for k in judged.main]
            if classes is None:
                part = predicted_numbers(data.y, splits, predictions, plan.seed)
            else:
                part = predicted_classes(data.y, classes, splits, predictions)
            evidence["predicted"].append({"method": name, **part})
    if ("importance", 0, 0) in results:
        columns = [column["name"] for column in judged.settings["columns"] if column["kind"] != "left out"]
        evidence["importance"] = importance_part(results["importance", 0, 0], model, columns)
    if ("ntk", 0, 0) in results:
        found = results["ntk", 0, 0].get("explained")
        evidence["suspects"] = found and suspects(found, data.y, classes, plan.splits[0], plan.labels)
    return evidence
