"""Makes the two embedded models: data generator, tokenizer, training, evaluation, model card."""

from pathlib import Path

# Where the shipped artifacts live; every command of this package writes there at the end.
MODELS = Path(__file__).resolve().parents[2] / "qdeploy" / "models"
