"""What people read, made fit to be shown: words of others, counts, commands, streams, cells."""
