"""Quality of four-bit weights: qdeploy and its peers on one model, in one run.

    python -m benchmarks.quality MODEL --calibration-ids FILE --work FOLDER --json FILE
        [--nncf-python PYTHON] [--autoround-python PYTHON] [--bundle NAME=FOLDER ...]
        [--group-size 128] [--symmetric] [--recipe default] [--text FILE ...]
        [--ratio R] [--alike NAME=FOLDER ...] [--only NAME ...]

Every contender quantizes the same matrices of the same checkpoint, the linear layers of its decoder
layers, to four bits in groups of the same size with a float16 scale each (and a zero point of four
bits where asymmetric). Embedding, lm_head, norms and routers stay as the checkpoint has them. So
all are of equal size, and the table says how many bytes it is. Contenders that look at data get the
same token ids. Each result becomes float32 weights, and one forward judges them all: qdeploy's own
in NumPy, against the float checkpoint, on held-out text (`qdeploy eval`'s prose and tasks).
Divergence is the mean KL in nats a token, with a 95% interval from resampled passages (bootstrap),
which is of the choice of texts alone; differences to a contender are of the same passages.

    qdeploy              `qdeploy export`, without data
    NAME                 `--bundle NAME=FOLDER`: a bundle in the format safetensors, e.g. of
                         `qdeploy export MODEL --profile FILE --calibrate -o FOLDER`
    nncf                 NNCF's `compress_weights`, without data
    nncf-awq-se          with AWQ and scale estimation
    nncf-awq-se-gptq     with AWQ, scale estimation and GPTQ
    autoround            AutoRound (signed gradient descent) by its `--recipe`

`--ratio R` adds contenders with several precisions, whose sizes differ: a share R of the weights
has four bits and the rest eight (NNCF's `INT8_ASYM`), as each of NNCF's sensitivity metrics
chooses. `--bundle` takes a bundle of `qdeploy export --average-bits B` as well.

    nncf-METRIC[-...]    NNCF's choice by METRIC (`mixed.METRICS`), rounded as above
    NAME                 `--alike NAME=FOLDER`: `qdeploy export`, without data, each weight in the
                         precision that it has in the bundle FOLDER

Peers run in environments of their own, given by their interpreters; one that is not given is left
out. What is made stays in FOLDER, and is taken again where model, groups and ids are the same.

    pip install "qdeploy[optimum]"                  # --nncf-python python
    python -m venv autoround                        # --autoround-python autoround/bin/python
    autoround/bin/pip install torch auto-round      # a torch for CPUs is enough

MODEL is a checkpoint's folder or an embedded model, e.g. qwen3-nano. A third model with trained
weights comes with `python -m benchmarks.quality.smollm2 FOLDER`; its groups are of 64. FILE of
token ids has one JSON list a line, all of the same length, e.g. from
`python -m benchmarks.quality.windows MODEL FILE TEXT...`.

    __main__    the run, its table and its JSON
    contenders  what is compared, and how each one's weights are made
    mixed       contenders with several precisions
    peer        runs a peer in its environment
    peers/      the programs that run there
    weights     the weights of a result, with what all keep of the checkpoint
    measure     divergence of each passage, means and intervals
    smollm2     a third model; gguf_file reads its weights
    windows     token ids for calibration from texts
"""
