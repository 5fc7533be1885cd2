# The shape of every compiled language: tools in one stage, the result in the next.
FROM busybox AS build
WORKDIR /src
COPY src/ .
RUN mkdir /out && (echo '#!/bin/sh'; cat lib/greet.sh; grep greet' ' main.sh) > /out/app && chmod 755 /out/app
FROM busybox
COPY --from=build /out/app /usr/bin/app
USER nobody
CMD ["app"]
# expect: hello world
