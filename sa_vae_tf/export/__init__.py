"""A trained run as a SavedModel, which needs TensorFlow alone.

`text` and `image` make the functions of a run, `saved_model` writes any run's, `export` ties the two together. A kind
of data becomes exportable by a function from a loaded run to `Functions` and a line in `export.FUNCTIONS`.
"""
