"""Readers of the document formats: bytes of one file to blocks of text with their headings, lines or pages."""
