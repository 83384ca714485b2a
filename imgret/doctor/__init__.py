"""`imgret doctor`: what a computation rests on, looked at one thing at a time, and golden vectors to prove the whole.

Whatever may crash or hang is done in a child process (`child`): importing packages (`imports`), using them side by
side (`runtimes`), describing pictures (`golden`). The rest (`machine`) is the standard library.
"""
