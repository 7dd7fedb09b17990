"""Detection of truncated audio files by the length in their headers; libsndfile reads most of them as shorter ones.

Chunked formats (wav, RF64, W64, AIFF, 8SVX, CAF), AU and SPHERE state the length of their samples. Ogg marks its last
page. AVR, IRCAM, MAT5, MPC2K, PAF, PVF, SDS and XI are not checked: they state no length or are rarely used.
"""

import struct
from pathlib import Path
from typing import BinaryIO

OGG_LAST_PAGE = 4  # the flag of a stream's last page (RFC 3533, section 6)


def check_length(path: Path, file: BinaryIO) -> None:
    """Compare the size of an open audio file with the length in its header.

    Raises:
        ValueError: shorter than stated, or a SPHERE file compressed by shorten.
    """
    head = file.read(1024)
    size = path.stat().st_size
    if head.startswith(b"NIST_1A"):
        declared = _end_by_sphere(path, head, size)
    elif head.startswith(b"OggS"):
        return _check_ogg(path, file)
    elif head[:4] in (b".snd", b"dns."):
        declared = _end_by_au(head)
    else:
        start, declared = find_samples(file, head, size)
        declared = size if is_stream_length(declared - start) else declared
    if size < declared:
        raise ValueError(f"{path}: truncated: {size} bytes where its header promises {declared}")


def is_stream_length(size: int) -> bool:
    """Return True for the lengths that programs write when they write to a pipe and cannot update the header.

    sox writes 0x7FFFF000 (in AIFF 0x7F000000), arecord 0x80000000 and ffmpeg 0xFFFFFFFF, each with or without the
    header; others write 0, and in 64 bits -1.
    """
    return size <= 0 or any(abs(size - given) <= 4096 for given in (0x7F000000, 1 << 31, 1 << 32))


def wav_stream(file: BinaryIO) -> tuple[int, bytes] | None:
    """Return offset and correct bytes of the length field if an open wav file was written to a pipe, else None."""
    head = file.read(1024)
    size = file.seek(0, 2)
    if head[:4] not in (b"RIFF", b"RIFX") or head[8:12] != b"WAVE":
        return None
    start, end = find_samples(file, head, size)
    number = "<I" if head[:4] == b"RIFF" else ">I"
    (riff,) = struct.unpack_from(number, head, 4)
    empty = start == end and riff + 8 == size  # no samples, and the header says so
    if not start or empty or end == size or not is_stream_length(end - start):
        return None
    return start - 4, struct.pack(number, size - start)


def find_samples(file: BinaryIO, head: bytes, size: int) -> tuple[int, int]:
    """Return start and end of the samples according to the header of a chunked format; (0, 0) if unknown."""
    magic, kind = head[:4], head[8:12]
    names: tuple[bytes, ...] = (b"data",)
    long_size = 0  # length of the samples in RF64, which may exceed the 32 bits of the chunk
    if magic in (b"RIFF", b"RIFX", b"RF64", b"BW64") and kind == b"WAVE":
        position, header, align = 12, (">" if magic == b"RIFX" else "<") + "4sI", 2
    elif magic == b"FORM" and kind in (b"AIFF", b"AIFC", b"8SVX", b"16SV"):
        position, header, align, names = 12, ">4sI", 2, (b"SSND", b"BODY")
    elif magic == b"riff" and head[24:28] == b"wave":
        position, header, align = 40, "<4s12xq", 8
    elif magic == b"caff":
        position, header, align = 8, ">4sq", 1
    else:
        return 0, 0
    while position < size:
        file.seek(position)
        chunk = file.read(struct.calcsize(header))
        if len(chunk) < struct.calcsize(header):
            break
        name, length = struct.unpack(header, chunk)
        start = file.tell()
        if name == b"ds64":
            long_size = struct.unpack("<8xq", file.read(16).ljust(16, b"\0"))[0]
        if magic == b"riff":
            length -= len(chunk)  # Wave64 counts the chunk's header
        if name in names:
            return start, start + (long_size or length)
        position = start + -(-max(length, 0) // align) * align
    return 0, 0


def _end_by_au(head: bytes) -> int:
    offset, length = struct.unpack_from((">" if head[:1] == b"." else "<") + "2I", head.ljust(12, b"\0"), 4)
    return 0 if is_stream_length(length) else offset + length


def _end_by_sphere(path: Path, head: bytes, actual: int) -> int:
    lines = [line.split(maxsplit=2) for line in head.decode("latin-1").splitlines()]
    fields = {line[0]: line[2] for line in lines if len(line) == 3}
    if "shorten" in fields.get("sample_coding", ""):
        raise ValueError(
            f"{path}: compressed by shorten, which is not read here; unpack it first with sph2pipe (or shorten -x)"
        )
    try:
        samples, size = int(fields["sample_count"]), int(fields["sample_n_bytes"])
        channels, offset = int(fields["channel_count"]), int(lines[1][0])
    except (KeyError, ValueError, IndexError):
        return 0  # libsndfile reports the error in such a header
    # Release 1 of the discs counts the samples of both channels together
    return offset + samples * size * channels if actual != offset + samples * size else 0


def _check_ogg(path: Path, file: BinaryIO) -> None:
    """Check that the last page is complete and marked as the last."""
    position, last = 0, False
    while True:
        file.seek(position)
        page = file.read(27)
        if len(page) < 27 or page[:4] != b"OggS":
            break
        last = bool(page[5] & OGG_LAST_PAGE)
        position += 27 + page[26] + sum(file.read(page[26]))
    if not last or path.stat().st_size < position:
        raise ValueError(f"{path}: truncated: an Ogg stream without its last page")
