"""What an adapter is and does: numbers, tables and pictures of its parts."""
