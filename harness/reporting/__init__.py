"""From a ranking to what people read: six sections, pictures, one HTML page, the same in Markdown. Needs no torch."""
