"""What a fitted model is worth (quality) and what it costs (parameters, multiply-adds, time, memory)."""
