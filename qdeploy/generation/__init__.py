"""Generation: prompts, the tokens of an answer, reasoning and content apart, latencies."""
