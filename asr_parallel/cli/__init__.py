"""The command line: one program, a verb a stage. Each file here only parses options and calls the package."""
