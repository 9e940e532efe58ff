"""Questions about specs: where a value comes from, and what differs between two of them."""
