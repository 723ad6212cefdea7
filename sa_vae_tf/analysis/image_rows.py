"""The rows of Table 3, and the paper's figures."""

from __future__ import annotations

from sa_vae_tf.analysis.rows import PaperFigures, Row, refining_rows
from sa_vae_tf.errors import UserError
from sa_vae_tf.training.config import Config

PAPER = {
    "Gated PixelCNN": PaperFigures(90.59, None),
    "VAE": PaperFigures(90.43, 0.98),
    "SVI 10": PaperFigures(90.65, 0.02),
    "SVI 20": PaperFigures(90.51, 0.06),
    "SVI 40": PaperFigures(90.44, 0.27),
    "SVI 80": PaperFigures(90.27, 1.65),
    "VAE+SVI 10": PaperFigures(90.26, 1.69),
    "VAE+SVI 20": PaperFigures(90.19, 2.40),
    "VAE+SVI+KL 10": PaperFigures(90.24, 2.42),
    "VAE+SVI+KL 20": PaperFigures(90.21, 2.83),
    "SA-VAE 10": PaperFigures(90.20, 1.83),
    "SA-VAE 20": PaperFigures(90.05, 2.78),
}


def rows(base: Config) -> dict[str, Row]:
    """Returns all rows by name; see `refining_rows` for their numbers of steps.

    Raises:
      UserError: if the settings are not of images, or there is no half of their number of steps.
    """
    if base.data != "image":
        raise UserError(f"--data={base.data}: Table 3 is of images; expected --data=image")
    found = [
        Row("Gated PixelCNN", {"method": "lm"}),
        Row("VAE", {"method": "vae"}),
        *refining_rows(base.svi_steps, [2, 4]),
    ]
    return {row.name: row for row in found}
