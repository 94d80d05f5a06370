"""Records by key, indexes over them, and reads on demand shared by all who ask. Asyncio at most: no
libvirt, no bus.
"""
