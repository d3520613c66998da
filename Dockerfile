# One recipe for both services:
#
#   docker build --build-arg SERVICE=signup -t counterfoil-signup .
#   docker build --build-arg SERVICE=signup --target migrate -t counterfoil-signup-migrate .
#
# The first runs `api`, `worker` or `keys …`; the second brings that service's database to the newest schema. An image
# holds shared/ and one service, never the other. Needs no BuildKit.

FROM python:3.12-slim AS packages
ARG SERVICE
COPY requirements/${SERVICE}.txt /requirements.txt
# Hashes: what was locked or nothing. Wheels only: a build that compiles is one that nobody has tested.
RUN python -m venv /packages \
 && /packages/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary :all: --require-hashes \
      -r /requirements.txt \
 && /packages/bin/pip uninstall --yes --quiet pip

FROM python:3.12-slim AS code
ARG SERVICE
WORKDIR /code
COPY shared/ app/shared/
COPY services/__init__.py app/services/
COPY services/${SERVICE}/ app/services/${SERVICE}/
# Signup's console shows the runbook.
COPY docs/operating.md app/docs/
COPY migrations/*.py migrations/alembic.ini schema/migrations/
COPY migrations/${SERVICE}/ schema/migrations/${SERVICE}/
# Readable for the image's user, whatever umask the checkout was made under; and compiled here, because a read-only
# container can keep no bytecode.
RUN python -m compileall -q app schema && chmod -R u=rwX,go=rX .

FROM python:3.12-slim AS runtime
ARG SERVICE
# A name for the uid: `keys` writes into history who called it. The fixed number is what volumes and policies refer to.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin counterfoil
ENV SERVICE=${SERVICE} \
    PATH=/packages/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
COPY --from=packages /packages /packages
COPY --from=code /code/app /app
WORKDIR /app
USER 10001:10001

FROM runtime AS migrate
COPY --from=code /code/schema /app
ENTRYPOINT ["sh", "-c", "exec alembic -c migrations/alembic.ini -n \"$SERVICE\" \"$@\"", "alembic"]
CMD ["upgrade", "head"]

# The last stage is what `docker build` makes unless told otherwise.
FROM runtime AS service
# The shell is replaced at once: the service itself is process 1 and gets SIGTERM.
ENTRYPOINT ["sh", "-c", "exec python -m \"services.$SERVICE\" \"$@\"", "service"]
CMD ["api"]
