"""Results as one page of HTML that needs no network: data as typed rows, a template, a script, plain SVG."""
