"""Models on disk: found, fetched, converted, checked, opened, with their tokenizer, chat template and adapters."""
