"""Pages for people: one self-contained HTML file about a result, or about a batch."""
