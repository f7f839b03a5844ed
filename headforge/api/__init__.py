"""What `import headforge` offers: one thin function for each thing done in a notebook, and no maths."""
