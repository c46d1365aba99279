"""What several test files share: made-up checkpoints, a scripted runtime, the real command."""
