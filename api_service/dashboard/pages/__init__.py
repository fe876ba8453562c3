"""One module a page or small group of pages: what it reads, and which template shows that."""
