"""The bus face: contract, routing, objects, signals, replies. The only place with a D-Bus library
(transport.py).
"""
