"""The demo's model and recordings, shipped inside the package."""
