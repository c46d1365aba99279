"""Adapters: changes to the weights of a model that PEFT has saved.

adapter      an adapter merged into a model: the sources of its weights
config       `adapter_config.json`
unsupported  methods and settings that cannot be merged as weights are read, with the reason
targets      which modules the config adapts, as PEFT matches their names
names        names of an adapter's tensors
parts        the tensors of an adapter by the model's modules
factors      the two matrices of a low-rank update, as they lie in a file
lora         LoRA: a product of two small matrices is added to a weight
dora         DoRA: the rows of that sum are scaled to trained lengths
experts      LoRA on the stacked experts of a layer
whole        weights that are replaced: whole modules, embeddings of another vocabulary
rows         a weight of which some rows are replaced
compare      whether two weights hold the same values
base_model   the model that an adapter says it was trained on, compared with the one given
recognize    what a folder is that is no adapter
recipes      commands that do with PEFT and transformers what is not done here
"""

from qdeploy.checkpoint.adapters.adapter import Adapter, merge_adapter
from qdeploy.checkpoint.adapters.config import CONFIG
from qdeploy.checkpoint.adapters.parts import Model
from qdeploy.checkpoint.adapters.recognize import WEIGHTS

__all__ = ["CONFIG", "WEIGHTS", "Adapter", "Model", "merge_adapter"]
