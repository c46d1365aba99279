"""Is a bundle what transformers makes of its checkpoint? What `qdeploy verify --against` checks.

`evaluate` reads a checkpoint with the code that exported it, so both may misread it alike. Here the
other side is transformers' own loading, PEFT's merge and `apply_chat_template`.

libraries           the other side's libraries, and without their progress bars
text                rendered chats, token ids and stop tokens
stored              names and dtypes of a checkpoint's tensors, read without qdeploy's reader
dequantized         float weights of a checkpoint that is quantized already
peft_adapter        an adapter as PEFT merges it
transformers_model  the model as transformers loads it, in float32
float_model         the float reference against it, layer by layer
bundle              the bundle on a device against it
verification        all of these, in their order
outcome             one row for each comparison
"""
