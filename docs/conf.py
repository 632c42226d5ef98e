"""The documentation: ``sphinx-build docs docs/_build``, without a network; pages load nothing from elsewhere."""

import re
import warnings
from importlib.util import find_spec

from docutils import nodes
from sphinx.util.nodes import make_refnode

import sklearn_ltdl

project = "sklearn_ltdl"
author = "The sklearn_ltdl developers"
copyright = author
release = sklearn_ltdl.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
suppress_warnings = ["config.cache"]  # a function among the settings of the gallery
nitpick_ignore_regex = [("py:obj", r"[^.]*|(numpy|scipy|jax)\..*")]  # what has no page here is only code
templates_path = ["_templates"]
default_role = "obj"
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

autodoc_typehints = "none"
autodoc_inherit_docstrings = False
numpydoc_show_class_members = False

html_theme = "furo"
html_title = f"sklearn_ltdl {release}"
html_show_sourcelink = False


def warnings_are_errors(gallery_conf, fname, when):
    """Let an example fail that warns; `sphinx_gallery` runs it in this process."""
    warnings.simplefilter("error" if when == "before" else "ignore")


sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "parallel": 2,  # examples at a time
    "filename_pattern": "plot_" if find_spec("neural_tangents") else "plot_(?!convolutional)",  # what is run
    "gallery_dirs": "auto_examples",
    "backreferences_dir": "generated/backreferences",
    "doc_module": "sklearn_ltdl",
    "reset_modules": ("matplotlib", warnings_are_errors),
    "reset_modules_order": "both",
    "download_all_examples": False,
    "write_computation_times": False,
    "show_signature": False,
}


def resolve(app, env, node, content):
    """Find a name of ours without its module, and ``sklearn.module.Name``, whose page is named by it."""
    name = node.get("reftarget", "")
    if node.get("refdomain") != "py":
        return None
    if name.startswith("sklearn."):
        page = f"https://scikit-learn.org/stable/modules/generated/{name}.html"
        return nodes.reference("", "", content, internal=False, refuri=page)
    found = env.domains.python_domain.find_obj(env, None, None, name, None, 1)
    places = [entry for _, entry in found if not entry.aliased]
    if len(places) == 1:
        entry = places[0]
        return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content)
    return None


def keep_initials(app, what, name, obj, options, lines):
    """Keep the author of a reference, ``C. Williams``, from becoming item C of a list."""
    lines[:] = [re.sub(r"^(\.\. \[\S+\] [A-Z])\. ", r"\1\\. ", line) for line in lines]


def drop_last_blank(app, docname, source):
    """Take off the blank line that a doctest needs before the end of its block."""
    source[0] = source[0].replace("\n\n```\n", "\n```\n")


def setup(app):
    """Register what the settings above cannot say."""
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-docstring", keep_initials, priority=900)  # after numpydoc
    app.connect("source-read", drop_last_blank)
