"""Published numbers as a test: other people's scores through our functions and views, held to what they printed.

The files are those of the folder of real data; nothing of them is kept, neither in the project nor in the database.
"""
