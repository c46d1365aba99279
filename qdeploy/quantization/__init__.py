"""What a quantized weight is: its precision, and its codes, scales and zero points."""
