"""How it is trained: optimizer, learning rate, batch size, objective, averaging."""
