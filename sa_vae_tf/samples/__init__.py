"""Text and images from a trained run."""
