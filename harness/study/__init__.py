"""Rows, predictions and the table of one study."""
