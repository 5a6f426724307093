"""What `harness.verify` checks: each check yields what does not match, and changes nothing."""
