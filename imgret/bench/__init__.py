"""`imgret bench`: what extraction costs on this machine, step by step, and the flags that follow from it."""
