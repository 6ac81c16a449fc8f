"""Independent judges of the product's answers: plain Python, sharing no code with what they judge."""
