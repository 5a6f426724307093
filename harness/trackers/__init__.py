"""Experiment trackers: rows of a study as runs in MLflow, TensorBoard and Weights & Biases. Torch-free; each library is imported when asked for."""
