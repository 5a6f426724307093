"""From a backbone to a fitted network: freeze plan, head, training, prediction."""
