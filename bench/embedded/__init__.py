"""The embedded profile's own data and models, and the scripts that made them."""
