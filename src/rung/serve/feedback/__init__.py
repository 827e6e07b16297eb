"""What askers say of answers: taken by the API, kept with what was asked and retrieved, written as rows for the next climb."""
