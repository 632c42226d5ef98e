"""Embedded sets, by name: nothing is downloaded."""

from functools import partial

from sklearn import datasets

from sklearn_ltdl.datasets import make_multi_index, make_parity, make_sphere

EMBEDDED = {
    "diabetes": partial(datasets.load_diabetes, return_X_y=True),
    "breast_cancer": partial(datasets.load_breast_cancer, return_X_y=True),
    "iris": partial(datasets.load_iris, return_X_y=True),
    "wine": partial(datasets.load_wine, return_X_y=True),
    "digits": partial(datasets.load_digits, return_X_y=True),
    "parity": partial(make_parity, random_state=0),
    "multi_index": partial(make_multi_index, random_state=0),
    "sphere": partial(make_sphere, random_state=0),
}

DEMONSTRATION = "multi_index"
