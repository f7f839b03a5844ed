"""What `headforge doctor` checks."""
