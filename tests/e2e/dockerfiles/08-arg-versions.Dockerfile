ARG BASE=busybox
ARG TAG=latest
FROM ${BASE}:${TAG}
ARG VERSION=1.0
ARG CHANNEL
LABEL org.opencontainers.image.version="$VERSION" channel=${CHANNEL:-stable}
ENV VERSION=${VERSION}
RUN echo "$VERSION ${CHANNEL:-stable}" > /version
CMD cat /version
# args: --build-arg VERSION=2.5 --build-arg CHANNEL=edge
# expect: 2.5 edge
