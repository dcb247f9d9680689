"""The service of `pptsm serve`: a video or a tensor over HTTP in, the answers of `pptsm predict` out.

The way of a request: a place in the queue (`limits`), its body into a temporary file (`upload`), opened in a process
that can be killed (`decoders`), the network in one thread of this process, which leaves the others free while it
computes. The network runs for one request at a time, as in `pptsm predict`, so that its answers are the same in every
digit: with other requests in its batch they would not be.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

from pptsm.data.transforms import normalise
from pptsm.params.choices import Sampling
from pptsm.runtime.errors import UserError
from pptsm.serving import pages, protocol
from pptsm.serving.decoders import Decoded, Decoders, decode_video
from pptsm.serving.doubts import Doubts
from pptsm.serving.guard import Guard
from pptsm.serving.limits import Limits, Places, Refused
from pptsm.serving.metrics import Metrics
from pptsm.serving.predictor import Predictor
from pptsm.serving.upload import Body, Upload, receive_file, receive_raw
from pptsm.video.types import Part, Seconds, VideoError

CLIENT_LEFT = 499  # nginx's code for it; nobody reads the answer
MULTIPART = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary", "description": "One video."}},
                }
            }
        },
    }
}
TENSOR = {
    "requestBody": {
        "required": True,
        "description": "Also with the extension for binary tensor data.",
        "content": {"application/json": {"schema": {"type": "object", "required": ["inputs"]}}},
    }
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The request is malformed."},
    413: {"description": "Too many bytes."},
    422: {"description": "An option is none, or the video cannot be decoded or is too large or too long."},
    503: {"description": "Too many requests are under way; `Retry-After` says when to send it again."},
}

Result = TypeVar("Result")


class Options(BaseModel):
    """What may be asked of a video, beside the file."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    top_k: int = Field(5, ge=1, description="How many classes.")
    start: float | None = Field(None, ge=0, description="Look at a part of the video: from this second")
    end: float | None = Field(None, ge=0, description="to this one.")
    sampling: Literal["uniform", "dense"] | None = Field(None, description="Instead of the model's own.")
    coverage: float | None = Field(
        None, gt=0, lt=1, description="Also all classes that may be, so that this share of sets has the right one."
    )
    frames: bool = Field(False, description="Also the frames that the network saw, as data URIs of JPEGs.")

    def part(self) -> Part:
        """The part of the video.

        Raises:
            Refused: (422) it is none.
        """
        if self.start is None and self.end is None:
            return None
        if self.start is None or self.end is None or self.start >= self.end:
            raise Refused(422, f"start ({self.start}) and end ({self.end}) go together, the start first.")
        return Seconds(self.start, self.end)


@dataclass(frozen=True)
class Settings:
    """How a service is started.

    Attributes:
        name: of the model, in addresses.
        limits: on requests.
        token: that they must have; None: none.
        decoders: how many processes decode.
        folder: for uploads, while they are worked on.
    """

    name: str
    limits: Limits
    token: str | None
    decoders: int
    folder: Path


class Service:
    """A network, the processes that decode for it, and what is under way."""

    def __init__(self, predictor: Predictor, settings: Settings) -> None:
        self.predictor = predictor
        self.settings = settings
        self.places = Places(settings.decoders + settings.limits.waiting)
        self.decoders = Decoders(settings.decoders, settings.limits.decode_sec)
        self.metrics = Metrics(lambda: self.places.taken, lambda: self.decoders.ended)
        self.ready = False
        self._network = ThreadPoolExecutor(1, thread_name_prefix="network")

    @asynccontextmanager
    async def running(self, _: FastAPI) -> AsyncIterator[None]:
        """Start everything, so that the first request waits for nothing; and end it."""
        clip = np.zeros((1, *self.predictor.metadata.clip.shape), np.float32)
        try:
            await asyncio.gather(self.decoders.start(), self._computed(self._logits, clip))
            self.ready = True
            yield
        finally:
            self.ready = False
            await self.decoders.stop()
            self._network.shutdown()

    async def predict(self, request: Request, options: Options) -> dict[str, Any]:
        """The answer to a video.

        Raises:
            Refused: there is none.
            ClientDisconnect: nobody waits for it any more.
        """
        said, limits = self.predictor.metadata, self.settings.limits
        part, sampling = options.part(), options.sampling or self.predictor.sampling
        try:
            doubts = Doubts.of(said, sampling, options.coverage)
        except UserError as error:
            raise Refused(422, str(error)) from None
        with self.places.one(), ExitStack() as at_the_end:
            upload = await self._received(request, limits.bytes, at_the_end)
            work = partial(
                self.decoders.run, decode_video, upload.path, said.clip, sampling, part, limits, options.frames
            )
            with self.metrics.step("decode"):
                decoded = await while_connected(request, work)
            with self.metrics.step("network"):
                answer = await self._computed(self._answer, decoded, sampling, options.top_k, doubts)
        answer = {"file": upload.name} | answer
        if said.warning:
            answer["warning"] = said.warning
        return answer | ({"frames": decoded.pictures} if options.frames else {})

    async def infer(self, request: Request) -> Response:
        """The answer to a tensor.

        Raises:
            Refused: there is none.
            ClientDisconnect: nobody waits for it any more.
        """
        said, limits = self.predictor.metadata, self.settings.limits
        values, header = int(np.prod(said.clip.shape)), request.headers.get(protocol.HEADER_LENGTH)
        if header is not None and not (header.isdecimal() and len(header) < 20):
            raise Refused(400, f"the header {protocol.HEADER_LENGTH} is {header[:100]!r}, and should be a number.")
        with self.places.one(), ExitStack() as at_the_end:
            path = self._temporary(at_the_end)
            with self.metrics.step("receive"):
                await receive_raw(self._body(request, limits.tensor_bytes(values)), path)
            arguments = (path, said.clip.shape, limits.most_clips(values), None if header is None else int(header))
            work = partial(self.decoders.run, protocol.read_inference, *arguments)
            with self.metrics.step("decode"):
                try:
                    asked = await while_connected(request, work)
                except UserError as error:
                    raise Refused(400, str(error)) from None
            with self.metrics.step("network"):
                logits_NK = await self._computed(self._logits, asked.clips)
        content, header_bytes = protocol.response(self.settings.name, said.revision, asked, logits_NK)
        if header_bytes is None:
            return Response(content, media_type="application/json")
        return Response(
            content, media_type="application/octet-stream", headers={protocol.HEADER_LENGTH: str(header_bytes)}
        )

    def _temporary(self, at_the_end: ExitStack) -> Path:
        """A path for a file that is gone at the end. (A folder for each took a millisecond to make and remove.)"""
        path = self.settings.folder / secrets.token_hex(8)
        at_the_end.callback(path.unlink, missing_ok=True)
        return path

    def _body(self, request: Request, most_bytes: int) -> Body:
        return Body(request.stream(), request.headers.get("content-length"), most_bytes)

    async def _received(self, request: Request, most_bytes: int, at_the_end: ExitStack) -> Upload:
        path = self._temporary(at_the_end)
        with self.metrics.step("receive"):
            body = self._body(request, most_bytes)
            upload = await receive_file(body, request.headers.get("content-type", ""), path)
        at_the_end.callback(upload.path.unlink, missing_ok=True)
        return upload

    async def _computed(self, work: Callable[..., Result], *arguments: Any) -> Result:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._network, work, *arguments)
        except UserError as error:  # it is no fault of the client's
            raise Refused(500, str(error)) from None

    def _answer(self, decoded: Decoded, sampling: Sampling, top_k: int, doubts: Doubts) -> dict[str, Any]:
        predictor = self.predictor
        views = normalise(decoded.pixels).reshape(-1, *predictor.metadata.clip.shape)
        self.metrics.clips.inc(len(views))
        top, logits = predictor.ranked(views, top_k)
        how = {"sampling": sampling, "runtime": predictor.runtime, "precision": predictor.precision}
        return how | {"top": [vars(guess) for guess in top]} | doubts.values(logits)

    def _logits(self, clips: Any) -> Any:
        self.metrics.clips.inc(len(clips))
        return self.predictor.logits(clips)


async def while_connected(request: Request, work: Callable[[], Awaitable[Result]]) -> Result:
    """Do a work, unless the client leaves meanwhile.

    Raises:
        ClientDisconnect: it has left.
    """
    job = asyncio.ensure_future(work())
    left = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({job, left}, return_when=asyncio.FIRST_COMPLETED)
        if not job.done():
            raise ClientDisconnect
        return job.result()
    finally:
        for task in (job, left):
            task.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def build_app(predictor: Predictor, settings: Settings) -> Guard:
    """The service as an ASGI application."""
    service = Service(predictor, settings)
    app = FastAPI(
        title="pptsm",
        version=version_of("pptsm"),
        description="Video action recognition with one exported network.",
        docs_url=None,  # FastAPI's page loads scripts from elsewhere, which a closed network does not have
        redoc_url=None,
        lifespan=service.running,
    )
    _answer_errors(app)
    _answer_videos(app, service)
    _answer_protocol(app, service)
    _answer_people(app, service)
    count = lambda route, status: service.metrics.requests.labels(route, str(status)).inc()  # noqa: E731
    return Guard(app, settings.token, count)


def _answer_errors(app: FastAPI) -> None:
    """Each refusal is {"error": a sentence}."""

    def refusal(status: int, sentence: str, headers: Any = None) -> JSONResponse:
        return JSONResponse({"error": sentence}, status, headers)

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        return refusal(error.status, str(error), error.headers)

    @app.exception_handler(VideoError)
    async def undecodable(_: Request, error: VideoError) -> JSONResponse:
        return refusal(422, str(error))

    @app.exception_handler(ClientDisconnect)
    async def left(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=CLIENT_LEFT)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        found = "; ".join(f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}" for each in error.errors()[:3])
        return refusal(422, f"an option cannot be used: {found}.")

    @app.exception_handler(StarletteHTTPException)
    async def unknown(request: Request, error: HTTPException) -> JSONResponse:
        sentences = {404: "there is nothing at this address", 405: "this address takes another method"}
        sentence = sentences.get(error.status_code, str(error.detail))
        return refusal(error.status_code, f"{sentence}: {request.method} {request.url.path[:200]}.", error.headers)

    @app.exception_handler(Exception)
    async def broken(_: Request, __: Exception) -> JSONResponse:
        return refusal(500, "the service failed on this request; its log says more.")


def _answer_videos(app: FastAPI, service: Service) -> None:
    @app.post("/predict", openapi_extra=MULTIPART, responses=REFUSALS)
    async def predict(request: Request, options: Annotated[Options, Query()]) -> JSONResponse:
        """The most probable classes of one video: what `pptsm predict --json` says of the file."""
        return JSONResponse(await service.predict(request, options))

    @app.get("/metrics")
    async def metrics() -> Response:
        """What the service has counted, for Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _answer_people(app: FastAPI, service: Service) -> None:
    """Pages for a browser. They hold no secret and load nothing from elsewhere."""
    settings, said = service.settings, service.predictor.metadata
    main = pages.main_page(settings.name, len(said.labels), said.warning, has_token=settings.token is not None)

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return HTMLResponse(main.html, headers={"Content-Security-Policy": main.policy})

    @app.get("/docs", include_in_schema=False)
    async def documentation() -> Response:
        shown = pages.documentation(app.openapi())
        return HTMLResponse(shown.html, headers={"Content-Security-Policy": shown.policy})


def _answer_protocol(app: FastAPI, service: Service) -> None:
    """The routes of the Open Inference Protocol, each also with the version that it allows in the address."""
    said, name = service.predictor.metadata, service.settings.name
    platform = {"onnxruntime": "onnxruntime_onnx"}.get(service.predictor.runtime, service.predictor.runtime)

    def require_known(model: str, version: str | None) -> None:
        if model != name:
            raise Refused(404, f"this service has the model {name!r}, and none of the name {model[:100]!r}.")
        if version not in (None, said.revision):
            raise Refused(404, f"the model {name!r} has the version {said.revision!r}, and not {version[:100]!r}.")

    @app.get("/v2")
    @app.get("/v2/", include_in_schema=False)
    async def server() -> dict[str, Any]:
        """What the server is."""
        return {"name": app.title, "version": app.version, "extensions": [protocol.EXTENSION]}

    @app.get("/v2/health/live")
    async def live() -> dict[str, bool]:
        """Whether the server answers."""
        return {"live": True}

    @app.get("/v2/health/ready")
    async def ready() -> JSONResponse:
        """Whether the model answers: status 503 if not."""
        return JSONResponse({"ready": service.ready, "live": True}, 200 if service.ready else 503)

    @app.get("/v2/models/{model}")
    @app.get("/v2/models/{model}/versions/{version}")
    async def metadata(model: str, version: str | None = None) -> dict[str, Any]:
        """What the model takes and gives."""
        require_known(model, version)
        return protocol.model_metadata(name, said.revision, platform, said.clip.shape, len(said.labels))

    @app.get("/v2/models/{model}/ready")
    @app.get("/v2/models/{model}/versions/{version}/ready")
    async def model_ready(model: str, version: str | None = None) -> JSONResponse:
        """Whether the model answers."""
        require_known(model, version)
        return JSONResponse({"name": name, "ready": service.ready}, 200 if service.ready else 503)

    @app.post("/v2/models/{model}/infer", openapi_extra=TENSOR, responses=REFUSALS)
    @app.post("/v2/models/{model}/versions/{version}/infer", openapi_extra=TENSOR, responses=REFUSALS)
    async def infer(request: Request, model: str, version: str | None = None) -> Response:
        """The logits of normalised clips, as the file itself takes them."""
        require_known(model, version)
        return await service.infer(request)
