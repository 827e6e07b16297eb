"""Who may ask what, how often, and what is turned away unread."""
