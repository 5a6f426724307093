"""Text for people: untrusted words made harmless, counts, commands, streams, cells."""
