"""Small stand-ins for large things, for tests and for trying the recipes quickly."""
