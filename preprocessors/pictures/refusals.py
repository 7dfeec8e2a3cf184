"""Why a file is no picture, in words that say what to do."""

from __future__ import annotations

import errno
import importlib
import importlib.util
import stat
from pathlib import Path

HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
AVIF_BRANDS = (b"avif", b"avis")
HEIC_PLUGIN = "pillow_heif"
CONVERT = "convert it to JPEG or PNG"
STARTS = {
    b"<?xml": f"it is XML, perhaps SVG; {CONVERT}",
    b"<svg": f"it is SVG, which has no pixels; {CONVERT}",
    b"<!doctype html": "it is a web page: the download failed; fetch it again",
    b"<html": "it is a web page: the download failed; fetch it again",
    b"%pdf": f"it is PDF; {CONVERT}",
    b"%!ps": f"it is PostScript; {CONVERT}",
    b"\xff\x0a": f"it is JPEG XL, which Pillow does not read; {CONVERT}",
    b"\0\0\0\x0cjxl ": f"it is JPEG XL, which Pillow does not read; {CONVERT}",
    b"pk\3\4": "it is a zip archive; unpack it",
    b"version https://git-lfs": "it is a pointer of Git LFS; fetch the file itself (git lfs pull)",
}
"""What a file is by its first bytes, in lower case."""
HEAD_BYTES = 64
RUN_BY_OTHERS = ("EPS",)
"""Formats that Pillow hands to another program (Ghostscript), which runs what stands in the file."""
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def fault_of_place(path: Path) -> str | None:
    """Why what lies at a path could not be opened; None where the system's own words are as good."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return "it is a symbolic link that leads in a circle" if error.errno == errno.ELOOP else None
    return fault_of_mode(mode)


def fault_of_mode(mode: int) -> str | None:
    """What lies there that is no file, by its ``st_mode``; None if it is one."""
    kind = KINDS.get(stat.S_IFMT(mode))
    return f"it is {kind}, no file" if kind else None


def fault_of_content(head: bytes) -> str | None:
    """What a file that Pillow does not know is, and the remedy, by its first bytes; None if they say nothing."""
    if not head:
        return "the file is empty"
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in AVIF_BRANDS:
            return f"it is AVIF, and this Pillow was built without it; install Pillow from its wheels, or {CONVERT}"
        if brand in HEIC_BRANDS and importlib.util.find_spec(HEIC_PLUGIN) is None:
            return f"it is HEIC, which Pillow reads with a plugin: pip install pillow-heif, or {CONVERT}"
        if brand not in HEIC_BRANDS:
            return f"it is a video or another file of the MP4 family; {CONVERT}"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    known = next((said for begin, said in STARTS.items() if start.startswith(begin) or head.startswith(begin)), None)
    is_text = head.isascii() and head.decode("ascii").replace("\n", "").replace("\r", "").isprintable()
    return known or ("it is a text file" if is_text else None)


def add_heic_plugin(head: bytes) -> bool:
    """Have Pillow read HEIC, if a file is HEIC and the plugin is installed; whether it can now."""
    if head[4:8] != b"ftyp" or head[8:12] not in HEIC_BRANDS or importlib.util.find_spec(HEIC_PLUGIN) is None:
        return False
    importlib.import_module(HEIC_PLUGIN).register_heif_opener()
    return True
