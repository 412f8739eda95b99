"""What the product is about: records and rules, without I/O."""
