"""An INDEX in parts: ordinary indexes that share what was learnt, made and searched one by one, ranked as one.

files.py is what the folder holds, build.py how it comes to be. `part.build_part` makes one part and
`searcher.PartSearcher` searches one: both need a folder and nothing else, so an engine may run them wherever that
folder is seen.
"""
