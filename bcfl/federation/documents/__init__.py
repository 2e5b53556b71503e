"""Write the summary of a training as a document: a page that stands alone, Markdown, tables, JSON."""
