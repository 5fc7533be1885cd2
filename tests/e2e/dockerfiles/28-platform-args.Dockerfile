FROM --platform=$BUILDPLATFORM busybox AS build
ARG TARGETOS TARGETARCH
RUN echo "$TARGETOS" > /os && test -n "$TARGETARCH"
FROM busybox
COPY --from=build /os /os
CMD ["cat", "/os"]
# expect: linux
