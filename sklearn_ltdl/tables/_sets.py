"""Embedded sets, by name: nothing is downloaded."""

EMBEDDED = ("diabetes", "breast_cancer", "iris", "wine", "digits", "parity", "multi_index", "sphere")
DEMONSTRATION = "multi_index"


def load_embedded(name):
    """Return the columns and the target of an embedded set."""
    from sklearn import datasets

    from sklearn_ltdl.datasets import make_multi_index, make_parity, make_sphere

    makers = {"parity": make_parity, "multi_index": make_multi_index, "sphere": make_sphere}
    if name in makers:
        return makers[name](random_state=0)
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True, as_frame=name != "digits")
    return X, y
