# args: --build-arg VERSION=9 --build-arg UNSET_HERE=seen
ARG VERSION=1
ARG BASE=busybox
FROM ${BASE} AS first
RUN echo "first:$VERSION" > /out
ARG VERSION
RUN echo "declared:$VERSION" >> /out

FROM first
RUN echo "inherited:$VERSION" >> /out
ARG UNSET_HERE=default
ENV UNSET_HERE=from-env
RUN echo "env wins:$UNSET_HERE" >> /out
# run: cat /out
# expect: first:
# expect: declared:9
# expect: inherited:9
# expect: env wins:from-env
