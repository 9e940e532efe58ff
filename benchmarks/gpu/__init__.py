"""What a machine with one Hopper GPU is asked: training of 1 B models, and decoding of a 7 B one."""
