"""The model's side: where it is, how it is dialed, with which identity, and where its turns are."""
