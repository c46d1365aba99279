"""Generation: a prompt, its tokens, reasoning apart from content, and latency."""
