"""What the relay tells about its calls while it runs: metrics, and spans where they are asked for."""
