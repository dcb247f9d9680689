#!/usr/bin/env bash
# PyAV drops a video's last frames where an HTTP server names no length and ends by closing the connection.
#
# One would guess that a closed connection is the end of the file: HTTP allows it (RFC 9112, section 6.3, the last
# case), and servers that make a video while they send it do so. FFmpeg takes a missing length for one of 2^64 - 1
# bytes, so every such answer "ends prematurely" for it: an I/O error in place of an end of file. PyAV raises that out
# of `decode()` before it flushes the decoder, so the frames which the decoder still holds (two of 30 here, with
# B-frames) never come, although all packets did. Whoever catches the error and takes what came has lost them;
# `codec_context.decode(None)` by hand still gives them. The same bytes with a length or in chunks end well. No thread
# about this was found at github.com/PyAV-Org/PyAV. Seen with PyAV 18.1.0 (FFmpeg 8.1.2), in MPEG-TS and Matroska.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
"${PYTHON:-python3.11}" -m venv venv
venv/bin/python -m pip install -q av==18.1.0 numpy==2.4.6
venv/bin/python - <<'PY'
import http.server
import io
import threading

import av
import numpy as np

COUNT = 30


def encoded(form: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuv420p"
        for number in range(COUNT):
            grey = np.full((48, 64, 3), 5 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        _, ending, form = self.path.split("/")
        data = videos[form]
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        if ending == "length":
            self.send_header("Content-Length", str(len(data)))
        elif ending == "chunks":
            self.send_header("Transfer-Encoding", "chunked")
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def read(url: str) -> tuple[int, str, int]:
    """How many frames came, what ended them, and how many a flush by hand gives after that."""
    frames = 0
    with av.open(url, timeout=30) as container:
        try:
            for _ in container.decode(video=0):
                frames += 1
        except OSError as error:
            return frames, str(error.strerror), len(container.streams.video[0].codec_context.decode(None))
    return frames, "end of file", 0


videos = {form: encoded(form) for form in ("mpegts", "matroska")}
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("PyAV", av.__version__, "with FFmpeg", av.ffmpeg_version_info)
for form in videos:
    seen = {}
    for ending in ("length", "chunks", "close"):
        seen[ending] = read(f"http://127.0.0.1:{server.server_port}/{ending}/{form}")
        print(f"{form}, {ending}: {seen[ending][0]} of {COUNT} frames, {seen[ending][1]}, {seen[ending][2]} by a flush")
    assert seen["length"] == seen["chunks"] == (COUNT, "end of file", 0)
    frames, ended_by, flushed = seen["close"]
    assert ended_by == "Input/output error" and frames < COUNT, "a closed connection is the end of the file now"
    assert frames + flushed == COUNT
server.shutdown()
PY
