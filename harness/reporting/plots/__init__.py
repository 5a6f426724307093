"""The plots, each a function from a ranking to a matplotlib figure; nothing here touches pyplot's global state."""
