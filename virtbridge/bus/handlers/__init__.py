"""What answers the contract's methods: a class per interface. Plain values in and out; the router does the
rest.
"""
