"""What derivatives cannot see: one relation per file, each a question put to the program by running it."""
