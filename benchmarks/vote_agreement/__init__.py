"""Whether the vote should ask that suspicious frames agree, and in what: real footage, patches that flicker."""
