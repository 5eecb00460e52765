"""Three questions asked of the place on which a label rests: is it anomalous, is it necessary, does it suffice?"""
