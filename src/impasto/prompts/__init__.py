"""What the words mean: a prompt's grammar, its tokens in chunks, and the contexts that they give."""
