"""The one YAML file: its options, its text with places, and the way from one to the other."""
