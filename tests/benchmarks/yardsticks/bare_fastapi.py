"""FastAPI answering a constant, under the server options of the signup API (`services/signup/__main__.py`)."""

import sys

import uvicorn
from fastapi import FastAPI
from starlette.responses import Response

app = FastAPI()


@app.post("/v1/signups")
async def post_signup() -> Response:
    # The cheapest endpoint: reads no body and serializes nothing.
    return Response(b'{"status":"accepted"}\n', 202, media_type="application/json")


@app.post("/as-usual/v1/signups", status_code=202)
async def post_signup_as_usual() -> dict[str, str]:
    # The usual style: FastAPI validates and serializes the returned value. It reads no body either.
    return {"status": "accepted"}


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
    )
