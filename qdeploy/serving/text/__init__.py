"""What generates: chats and completions, of text or of token ids.

text_routes         chats and completions
token_routes        completions by token ids
generate_fields     the fields that all of them have in common
chat_request, completion_request, token_request     those of each, and what they ask for
frame               what the parts of one answer have in common
chat_reply, completion_reply, token_reply           their JSON
token_logprobs      log-probabilities in it
"""
