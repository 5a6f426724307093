"""What `harness.verify` checks: each check says what it looked at and what of it does not match, and changes nothing."""
