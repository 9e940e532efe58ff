"""The open sets of the language: a folder a set, a file a choice; each choice answers every question about itself."""
