"""A trained run as a SavedModel, which needs TensorFlow alone.

`text` makes the functions of a run on text, `saved_model` writes any run's functions, `export` ties the two together. A
kind of data becomes exportable by a function from a loaded run to `Functions` and a line in `export.FUNCTIONS`.
"""
