"""Answer requests: pages as HTML and as JSON, downloads, the stream of changes, and the start of an audit."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from bcfl.errors import BcflError, BundleError, ConfigError, LedgerError
from bcfl.explorer.auditing import Auditing
from bcfl.explorer.facts import Statements, keep_up, prepare
from bcfl.explorer.measuring import Measuring
from bcfl.explorer.page import NotFound, Page
from bcfl.explorer.reader import Crowded, Reader, StillReading
from bcfl.explorer.security import LOOPBACK, Guard
from bcfl.explorer.stream import Stream
from bcfl.explorer.target import Identity, Target, identify
from bcfl.explorer.views import contracts, models, overview, parties, rounds
from bcfl.federation.query import Query
from bcfl.ledger.artifact import artifact
from bcfl.pages import environment as pages
from bcfl.pages.texts import json_text

HERE: Final = Path(__file__).parent
TEMPLATES: Final = HERE / "templates"
TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
TABS: Final = {"devices": "parties", "miners": "parties"} | {
    name: name for name in ("rounds", "parties", "models", "contract", "events", "audit")
}  # by the beginning of a path
LINES: Final = 200  # of an audit: the last, and as many earlier ones in which something is wrong
STATUS: Final = (
    (NotFound, 404),
    (Crowded, 503),
    (StillReading, 503),
    (ConfigError, 400),
    (BundleError, 400),
    (LedgerError, 502),
)
PATIENCE: Final = 0.4  # seconds that a page waits for the first reading before it says how far that has come
DATA_PATIENCE: Final = 10.0  # that JSON waits for it
Handler = Callable[[Request], Awaitable[Response]]


class Explorer:
    """A federation shown in a browser; `app` is the ASGI application."""

    def __init__(
        self, target: Target, *, hosts: Iterable[str] = (), any_address: bool = False, measures: bool = True
    ) -> None:
        self.target, self.measures = target, measures
        self.reader, self.worker = Reader(target, prepare), Reader(target)
        self.stream = Stream(self.reader, lambda query, cache: keep_up(query, cache, self._said))
        self.measuring = Measuring(self.worker, self.stream.changed)
        self.auditing = Auditing(target, self._changed)
        self.identity: Identity = self.reader.opened(identify)
        self.assets = {
            name: data for folder in (pages.STATIC, HERE / "static") for name, data in _files(folder)
        }
        self.edition = hashlib.sha256(b"".join(self.assets.values())).hexdigest()[:12]
        self._loop: asyncio.AbstractEventLoop | None = None
        guard = Middleware(Guard, hosts={*LOOPBACK, *hosts}, any_address=any_address)
        self.app = Starlette(
            routes=list(self._routes()),
            middleware=[guard],
            lifespan=self._lifespan,
            exception_handlers={
                HTTPException: self._no_page,
                BcflError: self._refusal,
                Exception: self._defect,
            },
        )

    def close(self) -> None:
        """Close what is open; for an explorer that was never served."""
        self.auditing.stop()
        self.reader.close()
        self.worker.close()

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        is_live = self.identity.kind != "bundle"
        jobs = [asyncio.create_task(self.stream.watch() if is_live else self.stream.begin())]
        if self.measures and is_live:
            jobs.append(asyncio.create_task(self._measure()))
        try:
            yield
        finally:
            for job in jobs:
                job.cancel()
            for job in jobs:
                with suppress(asyncio.CancelledError):
                    await job
            await asyncio.to_thread(self.close)

    async def _measure(self) -> None:
        """Find out how good the models are, once pages can be shown: both would read at the same time."""
        await self.stream.is_begun.wait()
        await self.measuring.follow()

    def _changed(self) -> None:
        """Tell pages that there is more to show, from another thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.stream.changed)

    def _routes(self) -> Iterable[Route]:
        for path, handler in (
            ("/rounds", self._rounds),
            ("/rounds/{number:int}", self._round),
            ("/parties", self._parties),
            ("/devices/{name}", self._device),
            ("/miners/{name}", self._miner),
            ("/models", self._models),
            ("/models/{number:int}", self._model),
            ("/models/{number:int}/check", self._check),
            ("/contract", self._contract),
            ("/events", self._events),
            ("/audit", self._audit),
        ):
            yield Route(path + ".json", handler)
            yield Route(path, handler)
        yield Route("/", self._overview)
        yield Route("/overview.json", self._overview)
        yield Route("/contract/abi.json", self._abi)
        yield Route("/models/{number:int}/stored.safetensors", self._stored)
        yield Route("/models/{number:int}/model.safetensors", self._floats)
        yield Route("/find", self._find)
        yield Route("/audit", self._start_audit, methods=["POST"])
        yield Route("/live", self._live)
        yield Route("/static/{name:path}", self._asset)

    async def _overview(self, request: Request) -> Response:
        return await self._show(
            request, lambda query: overview.overview(query, self.reader.cache, self._said)
        )

    async def _rounds(self, request: Request) -> Response:
        params = dict(request.query_params)
        return await self._show(
            request, lambda query: overview.rounds_page(query, self.reader.cache, self._said, params)
        )

    async def _round(self, request: Request) -> Response:
        number, params = request.path_params["number"], dict(request.query_params)
        return await self._show(
            request, lambda query: rounds.round_page(query, self.reader.cache, self._said, number, params)
        )

    async def _parties(self, request: Request) -> Response:
        params = dict(request.query_params)
        return await self._show(
            request, lambda query: parties.parties_page(query, self.reader.cache, self._said, params)
        )

    async def _device(self, request: Request) -> Response:
        name, params = request.path_params["name"], dict(request.query_params)
        return await self._show(
            request, lambda query: parties.device_page(query, self.reader.cache, self._said, name, params)
        )

    async def _miner(self, request: Request) -> Response:
        name, params = request.path_params["name"], dict(request.query_params)
        return await self._show(
            request, lambda query: parties.miner_page(query, self.reader.cache, self._said, name, params)
        )

    async def _models(self, request: Request) -> Response:
        params = dict(request.query_params)
        return await self._show(request, lambda query: models.models_page(query, params))

    async def _model(self, request: Request) -> Response:
        number = request.path_params["number"]
        return await self._show(request, lambda query: models.model_page(query, number))

    async def _check(self, request: Request) -> Response:
        number = request.path_params["number"]
        return await self._show(request, lambda query: models.check_page(query, number), self.worker)

    async def _contract(self, request: Request) -> Response:
        params = dict(request.query_params)
        return await self._show(request, lambda query: contracts.contract_page(query, params))

    async def _events(self, request: Request) -> Response:
        params = dict(request.query_params)
        return await self._show(request, lambda query: contracts.events_page(query, params))

    async def _audit(self, request: Request) -> Response:
        view = self.auditing.view()
        rounds = view["rounds"]
        shown = [item for item in rounds[:-LINES] if not item["passed"]][-LINES:] + rounds[-LINES:]
        extra = {"shown": shown, "not_opened": any(view["sealed"].values())}
        page = Page("audit.html", "Audit", view, "audit", extra)
        return await self._show(request, lambda _: page)

    async def _start_audit(self, _: Request) -> Response:
        self.auditing.start()
        return RedirectResponse("/audit", 303)

    async def _abi(self, _: Request) -> Response:
        return _json(artifact()["abi"])

    async def _stored(self, request: Request) -> Response:
        number = request.path_params["number"]
        data = await self.worker.ask(lambda query: models.stored_bytes(query, number))
        return _download(data, f"model-{number}-stored.safetensors")

    async def _floats(self, request: Request) -> Response:
        number = request.path_params["number"]
        data = await self.worker.ask(lambda query: models.as_floats(query, number))
        return _download(data, f"model-{number}.safetensors")

    async def _find(self, request: Request) -> Response:
        text = request.query_params.get("q", "").strip()[:100]
        return RedirectResponse(await self.reader.ask(lambda query: find(query, text)), 303)

    async def _live(self, _: Request) -> Response:
        if self.stream.is_full:
            raise Crowded("too many pages listen already: close some")
        return StreamingResponse(self.stream.listen(), media_type="text/event-stream")

    async def _asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        kind = TYPES.get(Path(name).suffix)
        if name not in self.assets or kind is None:
            raise NotFound(f"there is no file {name}")
        return Response(self.assets[name], media_type=kind, headers={"Cache-Control": "max-age=3600"})

    @property
    def _said(self) -> Statements:
        return self.measuring.statements

    async def _show(
        self, request: Request, make: Callable[[Query], Page], reader: Reader | None = None
    ) -> Response:
        """Return a page as its address asks for it: as JSON or as HTML."""
        version = self.stream.version  # before anything is read, so that no change is missed
        is_data = request.url.path.endswith(".json")

        def answer(query: Query) -> Response:
            page = make(query)
            return _json(page.view) if is_data else self._html(request, page, query, version)

        try:
            return await (reader or self.reader).ask(answer, DATA_PATIENCE if is_data else PATIENCE)
        except StillReading as waiting:
            view = {"error": str(waiting), "reading": asdict(waiting.progress)}
            if is_data:
                return _json(view, 503)
            tab = TABS.get(request.url.path.split("/")[1], "overview")
            page = Page("reading.html", "Still reading", view, tab, {"progress": waiting.progress})
            return self._html(request, page, None, version)

    def _html(
        self, request: Request, page: Page, query: Query | None, version: int, status: int = 200
    ) -> Response:
        path = request.url.path
        text = pages.render(
            TEMPLATES,
            page.template,
            page=page,
            view=page.view,
            site=self.identity,
            edition=self.edition,
            version=version,
            path=path,
            json_path=("/overview" if path == "/" else path) + ".json" if status == 200 else None,
            query_string=request.url.query,
            devices={} if query is None else query.history.indices,
            miners={} if query is None else query.history.miners,
            away=self.reader.away,
            problem=self.measuring.problem,
            measures=self.measures and self.identity.kind == "run",
            is_live=self.identity.kind != "bundle",
            **page.extra,
        )
        return Response(text, status, media_type="text/html; charset=utf-8")

    async def _no_page(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        words = {404: "there is nothing at this address", 405: "this explorer only reads"}
        return self._error(request, status, words.get(status, "this cannot be answered"))

    async def _refusal(self, request: Request, error: Exception) -> Response:
        status = next((code for kind, code in STATUS if isinstance(error, kind)), 500)
        return self._error(request, status, str(error))

    async def _defect(self, request: Request, error: Exception) -> Response:
        del error  # the server prints it
        return self._error(request, 500, "a defect of bcfl: please report what the terminal shows")

    def _error(self, request: Request, status: int, text: str) -> Response:
        if request.url.path.endswith(".json"):
            return _json({"error": text}, status)
        page = Page("error.html", "Not found" if status == 404 else "Error", {"error": text})
        return self._html(request, page, None, self.stream.version, status)


def find(query: Query, text: str) -> str:
    """Return the address of what a text names: a round, an account, a CID or a root; raises NotFound."""
    if text.isascii() and text.isdecimal() and len(text) <= 9 and int(text) in query.history.rounds:
        return f"/rounds/{int(text)}"
    wanted = text.lower()
    if len(wanted) >= 6:
        for account in query.history.miners:
            if account.lower().startswith(wanted):
                return f"/miners/{account}"
        for index, account in enumerate(query.history.devices):
            if account.lower().startswith(wanted):
                return f"/devices/{index}"
        for block in query.history.blocks:
            if query.model_cid(block.round, block.cid) == text or f"0x{block.root.hex()}".startswith(wanted):
                return f"/models/{block.round}"
        for number, round_ in query.history.rounds.items():
            if any(f"0x{name.hex()}".startswith(wanted) for name in round_.transactions):
                return f"/rounds/{number}"
    raise NotFound(
        f"nothing here is called {text}: a round's number, an address, a root, a CID or a transaction"
    )


def _json(content: object, status: int = 200) -> Response:
    return Response(json_text(content, indent=1), status, media_type="application/json")


def _download(data: bytes, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(data, media_type="application/octet-stream", headers=headers)


def _files(folder: Path) -> Iterable[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.suffix in TYPES:
            yield path.relative_to(folder).as_posix(), path.read_bytes()
