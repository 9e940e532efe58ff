"""The language written out for others: a JSON Schema for editors, Markdown for people. Nothing is listed by hand."""
