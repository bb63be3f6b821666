"""What interpreter.py is made of, by idea."""
