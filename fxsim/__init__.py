"""fxsim."""
