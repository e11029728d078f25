"""Publication of results: from the working folder into what the checkout commits."""
