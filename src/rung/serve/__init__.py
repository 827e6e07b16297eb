"""Task folders answered over HTTP, in the shape of OpenAI's API."""
