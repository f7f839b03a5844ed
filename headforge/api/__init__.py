"""The API of `import headforge`: one thin function per notebook task, without mathematics."""
