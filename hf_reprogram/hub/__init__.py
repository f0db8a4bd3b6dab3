"""Model cards and what the Hub needs to know."""
