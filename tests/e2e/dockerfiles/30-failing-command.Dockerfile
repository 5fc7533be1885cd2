FROM busybox
RUN echo about to fail && exit 3
# fails: returned a non-zero code: 3
