"""The rows of Table 2, which Figure 2 draws some of, and the paper's figures."""

from __future__ import annotations

from sa_vae_tf.analysis.rows import PaperFigures, Row, refining_rows
from sa_vae_tf.errors import UserError
from sa_vae_tf.training.config import Config

# What --hvp=authors needs to be the authors' arithmetic.
AUTHORS = {"svi_clip_norm": 5.0, "bound_weights": "final"}
# The CNN rows are those of Yang et al. (2017), which the paper quotes.
PAPER = {
    "LM": PaperFigures(329.1, None, 61.6),
    "CNN-LM": PaperFigures(335.4, None, 66.6),
    "VAE": PaperFigures(330.2, 0.01, 62.5),
    "VAE+INIT": PaperFigures(330.5, 0.37, 62.7),
    "VAE+WORD-DROP 25%": PaperFigures(334.2, 1.44, 65.6),
    "VAE+WORD-DROP 50%": PaperFigures(345.0, 5.29, 75.2),
    "CNN-VAE": PaperFigures(333.9, 6.7, 65.4),
    "CNN-VAE+INIT": PaperFigures(332.1, 10.0, 63.9),
    "SVI 10": PaperFigures(331.4, 0.16, 63.4),
    "SVI 20": PaperFigures(330.8, 0.41, 62.9),
    "SVI 40": PaperFigures(329.8, 1.01, 62.2),
    "VAE+SVI 10": PaperFigures(331.2, 7.85, 63.3),
    "VAE+SVI 20": PaperFigures(330.5, 7.80, 62.7),
    "VAE+SVI+KL 10": PaperFigures(330.3, 7.95, 62.5),
    "VAE+SVI+KL 20": PaperFigures(330.1, 7.81, 62.3),
    "SA-VAE 10": PaperFigures(327.6, 5.13, 60.5),
    "SA-VAE 20": PaperFigures(327.5, 7.19, 60.4),
    # The arithmetic that the paper's figures were made with.
    "SA-VAE 20 authors": PaperFigures(327.5, 7.19, 60.4),
}


def rows(base: Config) -> dict[str, Row]:
    """Returns all rows by name; see `refining_rows` for their numbers of steps.

    Raises:
      UserError: if the settings are not of text, or there is no half of their number of steps.
    """
    if base.data != "text":
        raise UserError(f"--data={base.data}: Table 2 and Figure 2 are of text; expected --data=text")
    steps = base.svi_steps
    found = [
        Row("LM", {"method": "lm"}),
        Row("CNN-LM", {"method": "lm", "decoder": "cnn"}),
        Row("VAE", {"method": "vae"}),
        Row("VAE+INIT", {"method": "vae", "encoder_init": "LM"}),
        Row("VAE+WORD-DROP 25%", {"method": "vae", "word_dropout": 0.25}),
        Row("VAE+WORD-DROP 50%", {"method": "vae", "word_dropout": 0.5}),
        Row("CNN-VAE", {"method": "vae", "decoder": "cnn"}),
        Row("CNN-VAE+INIT", {"method": "vae", "decoder": "cnn", "encoder_init": "LM"}),
        *refining_rows(steps, [2]),
        Row(f"SA-VAE {steps} finite_difference", {"method": "sa_vae", "hvp": "finite_difference"}),
        Row(f"SA-VAE {steps} authors", {"method": "sa_vae", "hvp": "authors", **AUTHORS}),
    ]
    return {row.name: row for row in found}
