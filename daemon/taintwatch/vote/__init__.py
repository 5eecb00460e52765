"""From verdicts to a decision: policies that combine, minimum hold and cool-down, and one voter for all cameras."""
