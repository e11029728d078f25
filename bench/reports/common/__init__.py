"""Parts that all reports share: text, terminal tables, figures, the line on the origin of rows."""
