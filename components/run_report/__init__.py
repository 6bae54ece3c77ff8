"""RunReport: what a run did, as a page, as Markdown and as numbers."""
