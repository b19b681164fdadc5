"""Views: each translates a request, makes one domain call and answers with a page."""
