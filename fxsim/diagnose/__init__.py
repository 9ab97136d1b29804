"""Why a device differs: dumps and comparison."""
