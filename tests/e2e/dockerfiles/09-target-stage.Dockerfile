FROM busybox AS base
RUN echo base > /stages
FROM base AS test
RUN echo test >> /stages && false
FROM base AS release
RUN echo release >> /stages
FROM release AS debug
RUN echo debug >> /stages
# args: --target release
# run: cat /stages
# expect: base
# expect: release
