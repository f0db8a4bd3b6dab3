"""Inspection of an adapter: numbers, tables and pictures of its transform and mapping."""
