"""OpenAI's endpoints: from a request's body to what is asked, and from outcomes to the response."""
