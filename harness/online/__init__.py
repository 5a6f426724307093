"""What weights and data sets share when they come from a server: how long it may take, whether it answers, and why it gave nothing."""
