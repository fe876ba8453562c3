"""What each provider calls things: routes, where usage stands in an answer, the shape of an error."""
