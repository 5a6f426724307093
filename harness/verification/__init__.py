"""The checks of `harness.verify`: each says what it checked and what does not match, and changes nothing."""
