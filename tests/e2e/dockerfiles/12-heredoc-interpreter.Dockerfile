FROM busybox
RUN <<AWK
#!/bin/awk -f
BEGIN { for (i = 1; i < 4; i++) print i * i > "/squares" }
AWK
CMD ["cat", "/squares"]
# expect: 1
# expect: 4
# expect: 9
