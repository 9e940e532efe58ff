"""Training throughput of a generated program beside `transformers` Trainer and litgpt, same shapes, in one run."""
