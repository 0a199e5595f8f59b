# The application: migrations, the dashboard, and the stand-in S3 server.
FROM python:3.11-slim-bookworm
WORKDIR /opt/stronglens
COPY requirements.lock ./
RUN grep -v '# no-deps' requirements.lock > /tmp/with.txt \
    && grep '# no-deps' requirements.lock > /tmp/without.txt \
    && pip install --no-cache-dir -r /tmp/with.txt \
    && pip install --no-cache-dir --no-deps -r /tmp/without.txt \
    && rm /tmp/with.txt /tmp/without.txt
COPY . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation -e . \
    && useradd --system --create-home stronglens \
    && install -d -o stronglens /srv/stronglens
ENV STRONGLENS_HOME=/srv/stronglens
USER stronglens
