"""A live SB3 model: its parameters, optimizers and the causes of its zeros."""
