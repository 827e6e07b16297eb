"""Raw text: a tokenizer trained on it, its tokens on disk, windows for training, and how well a model predicts it."""
