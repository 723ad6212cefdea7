"""Semi-amortized variational autoencoders (Kim et al., ICML 2018) in TensorFlow 2 and Keras 3."""
