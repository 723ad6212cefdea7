"""Time and memory of training, sampling and evaluation, beside what the arithmetic alone would take."""
