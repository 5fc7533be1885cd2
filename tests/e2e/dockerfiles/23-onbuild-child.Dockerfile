FROM busybox AS parent
ONBUILD COPY package.txt /deps
ONBUILD RUN sort -r /deps > /sorted
FROM parent
CMD ["cat", "/sorted"]
# expect: right 2.0
# expect: left 1.0
