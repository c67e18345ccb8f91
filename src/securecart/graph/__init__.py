"""LadybugDB behind Neptune's door: the graph of one machine, a process of its own.

The process owns the database's file and answers openCypher over HTTP/1.1 as Neptune does, so that the shop has one client for
both. `door` answers, `file` runs statements, `shapes` gives results and errors the form that Neptune gives them, `schema.cypher`
declares the tables that LadybugDB needs and Neptune does not.
"""
