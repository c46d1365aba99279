"""The token sequences that a model is calibrated on.

mix            how much of each origin
sequences      texts cut into sequences of tokens
own_text       text that the model writes itself
turns          what the chat template writes around its turns
one_position   the model at one position of many sequences
cache          their keys and values
held_weights   weights in memory, where they are small
sampling       tokens drawn from logits
user_texts     the user's file
general_texts  the project's texts
text_records   texts and chats in a file
encoding       records as tokens
even           even choices
"""
