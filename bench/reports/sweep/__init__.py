"""Report of a sweep: tables, figures and claims."""
