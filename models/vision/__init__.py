"""Pretrained vision networks that stand in front of an encoder-decoder in place of OFA's own ResNet.

Imported by captioners. ``table.py`` finds a network by name, folder or hub id.
"""
