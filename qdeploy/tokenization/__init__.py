"""Text to token ids and back, as transformers makes them of the same files.

text_files           which files decide that, and where they are
tokenizer            the tokenizer, the chat template and the special tokens of a model
tokenizer_file       `tokenizer.json`, amended by the other files
tokenizer_class      what transformers' class of a tokenizer makes of its files
slow_tokenizer       a tokenizer from `vocab.json` and `merges.txt`
built_steps          the steps that classes build around a vocabulary
added_tokens         tokens that are split off before anything else
special_tokens       tokens that settings name
clean_up             spaces before punctuation
detokenizer          text from a stream of token ids
messages             messages as in OpenAI's API, as templates take them
chat_template        which template is used, and a chat rendered by it
template_environment what templates find: filters, functions, a sandbox
prompts              what an embedding model puts before a text
pair_prompt          how a reranker is asked
stop_tokens          the tokens that end an answer
generation_settings  which settings of `generate` a model has, and in which file
generation_config    their values
generation_warnings  what they ask for and do not get
adapter_text         the tokenizer and the template that an adapter brings
bundle_text          the textual files of a bundle
check                checks all of this before an export
vocabulary           the check of a tokenizer, in little memory
unread_files         files beside newer ones, compared with those
"""
