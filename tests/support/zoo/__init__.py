"""The zoo: small variants of the checkpoints that people have, one case each.

Each is written by a function, exported, and compared with transformers by `qdeploy verify`. The zoo
grows by one case for every report of a checkpoint that was refused without cause or came out wrong.

case           what a case is
base           small models that the cases are variants of
names          the same model under other names, and tensors that no model reads
disagreements  a fact that stands in two places which disagree
chats          tokenizers, chat templates and stop tokens
templates      chat templates of those
adapters       adapters as PEFT and trainers save them
encodings      weights as each method stores them
quantized      checkpoints that are quantized already
small_floats   quantized to floats of four bits, and settings in other files
encoders       models that embed or rerank
"""

from tests.support.zoo import (
    adapters,
    chats,
    disagreements,
    encoders,
    names,
    quantized,
    small_floats,
)

CASES = {
    "names": names.CASES,
    "disagreements": disagreements.CASES,
    "chats": chats.CASES,
    "adapters": adapters.CASES,
    "quantized": quantized.CASES,
    "small floats": small_floats.CASES,
    "encoders": encoders.CASES,
}
