"""Reading an answer's tokens: text, tags, thinking, tool calls and stop texts told apart.

spans       text, and the tokens that it comes from
lexemes     tokens become text and tags
stop_texts  texts that end an answer
calls       a tool call: what all syntaxes have in common
json_call   a call in JSON, as Hermes and Qwen write it
xml_call    a call in tags, as Qwen3-Coder writes it
answer      all of that together: an answer's pieces
"""
