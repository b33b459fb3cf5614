"""What changes a model from outside: adapters and embeddings, their files, and what can be done with them."""
