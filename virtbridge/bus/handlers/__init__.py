"""What answers the contract's methods: one class per interface. Plain values go in and out, and the router
does everything around them.
"""
