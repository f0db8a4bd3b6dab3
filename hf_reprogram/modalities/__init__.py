"""Kinds of target data: texts, images, tables."""
