"""Pages of what a store holds: each one self-contained HTML text, with no address outside itself.

1. Values come in and text goes out; nothing is read, written or fetched here.
2. Text becomes HTML in one function, ``markup.escape``. All else is made of ``markup.tag``.
3. A page carries its own style and script and forbids every other (Content-Security-Policy with
   their hashes), so that even markup that slipped through could neither run nor call out.
4. All of a page can be read without its script, without colour and on paper.
"""
